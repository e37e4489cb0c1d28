"""One command on many processes: under torchrun on this machine, or through submitit on Slurm.

The processes find each other through the environment that torchrun sets (see
`bench.distributed`), and each runs the same `python -m bench ...`.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import BenchError, UsageError

STOPPED = 128 + signal.SIGTERM  # how a command ends that was asked to stop and saved its state
SECONDS_TO_SAVE = 600
SECONDS_TO_END = 60
MAX_TURNS = 50  # turns that a job may take after running into its time limit
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def launch(arguments: Sequence[str], *, gpus: int | None = None, module: str = "bench") -> int:
    """Run `python -m bench ARGUMENTS` in `gpus` processes under torchrun; return an exit code.

    None is one process for every GPU of this machine; without GPUs the processes share the CPU. The
    code is 0 if all processes ended well, else that of the process that failed first (128 + N for
    one that signal N killed); torchrun alone would make 1 of it. SIGTERM and SIGINT are passed on,
    the processes have ten minutes to save (30 seconds before torch 2.12), and the code is 128 + the
    signal.

    Raises:
        UsageError: no GPU, or a number of processes that cannot be.
    """
    # torch: only where it is needed, for the command line answers without it.
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    words = [
        f"--nproc-per-node={_num_processes(gpus)}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",  # any free port
        f"--rdzv-id={uuid.uuid4()}",
        "--module",
        module,
        *arguments,
    ]
    # A variable and no option of torchrun, since torch 2.11 does not know the option.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_SAVE))
    config, command, rest = torchrun.config_from_args(torchrun.parse_args(words))  # type: ignore[no-untyped-call]
    with _own_signal_handlers():
        try:
            elastic_launch(config, command)(*rest)
        except SignalException as stopped:
            return 128 + int(stopped.sigval)
        except ChildFailedError as failed:
            code = failed.get_first_failure()[1].exitcode
            return code if code > 0 else 128 - code
    return 0


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What to ask of Slurm: `nodes` machines with `gpus` each, one process a GPU, for `hours`.

    `folder` takes logs and the pickled command and must be seen by all nodes. `cpus_per_gpu` decode
    for a process. `seconds_to_save` before its time ends the job is told to save. `cluster` `local`
    is the same through submitit on this machine, to try it out.

    Raises:
        UsageError: numbers that cannot be asked for.
    """

    folder: Path
    nodes: int = 1
    gpus: int = 8
    hours: float = 24.0
    partition: str | None = None
    cpus_per_gpu: int = 8
    seconds_to_save: int = 180
    cluster: Literal["slurm", "local"] = "slurm"

    def __post_init__(self) -> None:
        if min(self.nodes, self.gpus, self.cpus_per_gpu, self.seconds_to_save) < 1:
            raise UsageError("a Slurm job needs at least 1 node, GPU, CPU and second to save.")
        if self.hours * 3600 <= self.seconds_to_save:
            raise UsageError(
                f"a Slurm job of {self.hours} hours has no time left before the"
                f" {self.seconds_to_save} seconds to save; give it more hours."
            )


def submit(arguments: Sequence[str], options: SlurmOptions, *, module: str = "bench") -> Any:
    """Submit `python -m bench ARGUMENTS` to Slurm and return submitit's job.

    `job.job_id` names it and `job.paths` says where its logs are. The job saves and queues again
    before its time is over and when it is preempted, and goes on with `--resume`.

    Raises:
        UsageError: submitit or Slurm is missing here.
    """
    # Optional: only those who submit to Slurm have it.
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            "submitting to Slurm needs submitit: pip install 'frozenbench[slurm]'."
        ) from error
    folder = options.folder.absolute()
    if options.cluster == "local":
        executor: Any = submitit.LocalExecutor(folder, max_num_timeout=MAX_TURNS)
    else:
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_TURNS)
        except RuntimeError as error:
            raise UsageError(
                "there is no Slurm here (srun is missing): submit from a login node of the cluster,"
                " or use --gpus to run on this machine."
            ) from error
    executor.update_parameters(**_parameters(options))
    with submitit.helpers.clean_env():
        return executor.submit(SlurmTask(arguments, module, options.seconds_to_save))


class SlurmTask:
    """One process of a job: what submitit pickles, calls, and asks for its next turn.

    The command is a process of its own, so that it can be told to save while submitit's process
    stays to queue the job again.
    """

    def __init__(self, arguments: Sequence[str], module: str, seconds_to_save: int) -> None:
        self.arguments, self.module = tuple(arguments), module
        self.seconds_to_save = seconds_to_save
        self._command: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command to its end and return 0, or the code of one that was told to stop.

        Raises:
            BenchError: it failed, or it stopped and nobody asked for another turn.
        """
        from submitit.helpers import TorchDistributedEnvironment

        # Every process sees all GPUs of its node, as under torchrun, and takes that of its rank.
        place = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        arguments = self.arguments
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")):  # Slurm itself began the job again
            arguments = resumed(arguments)
        self._command = subprocess.Popen(
            [sys.executable, "-m", self.module, *arguments], preexec_fn=_ignore_the_next_turn
        )
        code = self._command.wait()
        if code == STOPPED and place.rank == 0:
            # Slurm stops all processes of a job at once, also this command. What decides over the
            # next turn follows: a signal that ends this sleep in `checkpoint`, or the end.
            time.sleep(SECONDS_TO_END)
        if code and not (code == STOPPED and place.rank):
            raise BenchError(
                f"process {place.rank} of {place.world_size} ended with code {code}; what it said"
                " is in the log beside this one."
            )
        return code

    def checkpoint(self) -> Any:
        """Let the command save its state, and return what the next turn is to call."""
        from submitit.helpers import DelayedSubmission

        if self._command is not None and self._command.returncode is None:
            self._stop(self._command)
        task = SlurmTask(resumed(self.arguments), self.module, self.seconds_to_save)
        return DelayedSubmission(task)

    def _stop(self, command: subprocess.Popen[bytes]) -> None:
        """Send SIGTERM and give the command most of the time there is.

        This runs in a signal handler, amid `command.wait()`, whose lock must not be asked for.
        """
        last = time.monotonic() + 0.8 * self.seconds_to_save
        look = os.WEXITED | os.WNOWAIT | os.WNOHANG
        with suppress(ProcessLookupError, ChildProcessError):  # it has ended already
            os.kill(command.pid, signal.SIGTERM)
            while time.monotonic() < last and not os.waitid(os.P_PID, command.pid, look):
                time.sleep(0.1)


def resumed(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of a command that goes on where it stopped."""
    return tuple(arguments) if "--resume" in arguments else (*arguments, "--resume")


def _num_processes(gpus: int | None) -> int:
    if gpus is None:
        import torch  # only where it is needed

        gpus = torch.cuda.device_count()
        if not gpus:
            raise UsageError("torch sees no GPU here; --gpus N starts N processes on the CPU.")
    if gpus < 1:
        raise UsageError(f"--gpus {gpus}: at least one process is needed.")
    return gpus


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put back the handlers that torchrun replaces."""
    before = {number: signal.getsignal(number) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parameters(options: SlurmOptions) -> dict[str, Any]:
    minutes = math.ceil(options.hours * 60)
    shared = {"gpus_per_node": options.gpus, "signal_delay_s": options.seconds_to_save}
    if options.cluster == "local":
        return {**shared, "tasks_per_node": options.gpus, "timeout_min": minutes}
    return {
        **shared,
        "job_name": "bench",
        "nodes": options.nodes,
        "ntasks_per_node": options.gpus,
        "cpus_per_task": options.cpus_per_gpu,
        "partition": options.partition,
        "time": minutes,
        # Else the others would wait for a process that crashed until the job's time is over.
        "srun_args": ["--kill-on-bad-exit=1"],
    }


def _ignore_the_next_turn() -> None:
    # Slurm sends the signal before the next turn to all processes, and it would end this one.
    signal.signal(getattr(signal, f"SIG{os.environ.get(PREEMPTION, 'USR2')}"), signal.SIG_IGN)


PREEMPTION = "SUBMITIT_PREEMPT_SIGNAL"  # submitit's variable, should USR2 be taken
