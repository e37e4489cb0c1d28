"""One command as a job of many processes on Slurm, through submitit.

The job says to every process what torchrun would say (see `bench.launch.distributed`), saves and
queues again before its time is over and when it is preempted, and goes on with `--resume`.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
import typing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import BenchError, UsageError, known
from bench.registry import convert

STOPPED = 128 + signal.SIGTERM  # how a command ends that was asked to stop and saved its state
SECONDS_TO_END = 60
MAX_TURNS = 50  # turns that a job may take after running into its time limit
PREEMPTION = "SUBMITIT_PREEMPT_SIGNAL"  # submitit's variable, should USR2 be taken


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What to ask of Slurm: `nodes` machines with `gpus` each, one process a GPU, for `hours`.

    `folder` takes logs and the pickled command and must be seen by all nodes. `cpus_per_gpu` decode
    for a process. `seconds_to_save` before its time ends the job is told to save. `cluster` `local`
    is the same through submitit on this machine, to try it out.

    Raises:
        UsageError: numbers that cannot be asked for.
    """

    folder: Path = Path("slurm_jobs")
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


def parse_slurm(text: str) -> SlurmOptions:
    """Read `nodes=2,gpus=8,hours=72,partition=NAME`; every field of `SlurmOptions` is a key.

    Raises:
        UsageError: an unknown key or a value that cannot be.
    """
    hints, values = typing.get_type_hints(SlurmOptions), dict[str, Any]()
    for part in filter(None, text.split(",")):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise UsageError(f"--slurm {part!r} has no '='; write --slurm KEY=VALUE,KEY=VALUE.")
        hint = hints[known("--slurm key", key, list(hints))]
        values[key] = convert(value, hint, f"--slurm {key}")
    return SlurmOptions(**values)


def submit(arguments: Sequence[str], options: SlurmOptions, *, module: str = "bench") -> Any:
    """Submit `python -m bench ARGUMENTS` to Slurm and return submitit's job.

    `job.job_id` names it and `job.paths` says where its logs are.

    Raises:
        UsageError: submitit or Slurm is missing here.
    """
    try:  # optional: only those who submit to Slurm have it
        import submitit
    except ImportError as error:
        raise UsageError(
            "submitting to Slurm needs submitit: pip install 'frozenbench[slurm]'."
        ) from error
    local = options.cluster == "local"
    make = submitit.LocalExecutor if local else submitit.SlurmExecutor
    try:
        executor = make(options.folder.absolute(), max_num_timeout=MAX_TURNS)
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
