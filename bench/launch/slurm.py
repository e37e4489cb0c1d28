"""One command as a job of many processes on Slurm, through submitit.

The job sets the environment that torchrun would (see `bench.launch.distributed`). Before its time
limit, or when preempted, it saves, queues again and continues with `--resume`.
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
from bench.registry import convert, split_setting

STOPPED = 128 + signal.SIGTERM  # exit code of a command that was asked to stop and saved its state
SECONDS_TO_END = 60
MAX_TIMEOUTS = 50  # how often a job may be queued again after its time limit
PREEMPTION = "SUBMITIT_PREEMPT_SIGNAL"  # submitit's variable to replace USR2


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What to request: `nodes` machines with `gpus` each, one process per GPU, for `hours`.

    `folder` is for logs and the pickled command and must be visible to all nodes. `cpus_per_gpu`
    CPUs decode for each process. The job is asked to save `seconds_to_save` before its time limit.
    `cluster="local"` does the same through submitit on this machine, for a trial.

    Raises:
        UsageError: numbers that cannot be requested.
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
                f"a Slurm job of {self.hours} hours leaves no time to run before the"
                f" {self.seconds_to_save} seconds to save; request more hours."
            )


def parse_slurm(text: str) -> SlurmOptions:
    """Parse `nodes=2,gpus=8,hours=72,partition=NAME`; every field of `SlurmOptions` is a key.

    Raises:
        UsageError: an unknown key or an invalid value.
    """
    hints, values = typing.get_type_hints(SlurmOptions), dict[str, Any]()
    for part in filter(None, text.split(",")):
        key, value = split_setting(part, "--slurm KEY=VALUE,KEY=VALUE")
        hint = hints[known("--slurm key", key, list(hints))]
        values[key] = convert(value, hint, f"--slurm {key}")
    return SlurmOptions(**values)


def submit(arguments: Sequence[str], options: SlurmOptions, *, module: str = "bench") -> Any:
    """Submit `python -m bench ARGUMENTS` to Slurm; return submitit's job (`job_id`, `paths`).

    Raises:
        UsageError: submitit or Slurm is missing here.
    """
    try:  # optional dependency
        import submitit
    except ImportError as error:
        raise UsageError(
            "submitting to Slurm needs submitit: pip install 'frozenbench[slurm]'."
        ) from error
    local = options.cluster == "local"
    make = submitit.LocalExecutor if local else submitit.SlurmExecutor
    try:
        executor = make(options.folder.absolute(), max_num_timeout=MAX_TIMEOUTS)
    except RuntimeError as error:
        raise UsageError(
            "there is no Slurm here (srun is missing): submit from a login node of the cluster,"
            " or use --gpus to run on this machine."
        ) from error
    executor.update_parameters(**_parameters(options))
    with submitit.helpers.clean_env():
        return executor.submit(SlurmTask(arguments, module, options.seconds_to_save))


class SlurmTask:
    """One process of a job: submitit pickles it, calls it, and asks it for a checkpoint.

    The command runs in a child process, so that it can be asked to save while submitit's process
    stays alive to queue the job again.
    """

    def __init__(self, arguments: Sequence[str], module: str, seconds_to_save: int) -> None:
        self.arguments, self.module = tuple(arguments), module
        self.seconds_to_save = seconds_to_save
        self._command: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command and return 0, or its code if it was asked to stop.

        Raises:
            BenchError: it failed, or it stopped without being asked to.
        """
        from submitit.helpers import TorchDistributedEnvironment

        # Every process sees all GPUs of its node, as under torchrun, and takes that of its rank.
        env = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        arguments = self.arguments
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")):  # Slurm itself requeued the job
            arguments = resumed(arguments)
        self._command = subprocess.Popen(
            [sys.executable, "-m", self.module, *arguments], preexec_fn=_ignore_preemption
        )
        code = self._command.wait()
        if code == STOPPED and env.rank == 0:
            # Slurm stops all processes of a job at once, including this command. What follows is
            # either a signal that interrupts this sleep with `checkpoint`, or the end of the job.
            time.sleep(SECONDS_TO_END)
        if code and not (code == STOPPED and env.rank):
            raise BenchError(
                f"process {env.rank} of {env.world_size} exited with code {code}; its output is in"
                " the log next to this one."
            )
        return code

    def checkpoint(self) -> Any:
        """Let the command save its state, and return the task that resumes it."""
        from submitit.helpers import DelayedSubmission

        if self._command is not None and self._command.returncode is None:
            self._stop(self._command)
        task = SlurmTask(resumed(self.arguments), self.module, self.seconds_to_save)
        return DelayedSubmission(task)

    def _stop(self, command: subprocess.Popen[bytes]) -> None:
        """Send SIGTERM and wait for most of the time that is left.

        This runs in a signal handler during `command.wait()`, so it must not take the same lock.
        """
        last = time.monotonic() + 0.8 * self.seconds_to_save
        look = os.WEXITED | os.WNOWAIT | os.WNOHANG
        with suppress(ProcessLookupError, ChildProcessError):  # it has already exited
            os.kill(command.pid, signal.SIGTERM)
            while time.monotonic() < last and not os.waitid(os.P_PID, command.pid, look):
                time.sleep(0.1)


def resumed(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments that resume a command."""
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
        # Otherwise the others would wait for a crashed process until the job's time limit.
        "srun_args": ["--kill-on-bad-exit=1"],
    }


def _ignore_preemption() -> None:
    # Slurm sends the preemption signal to all processes, and it would kill this one.
    signal.signal(getattr(signal, f"SIG{os.environ.get(PREEMPTION, 'USR2')}"), signal.SIG_IGN)
