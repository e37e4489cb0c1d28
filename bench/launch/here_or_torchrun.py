"""One command on many processes: under torchrun on this machine, or as a job on Slurm.

The processes find each other through the environment that torchrun sets (see
`bench.launch.distributed`), and each runs the same `python -m bench ...`.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.errors import UsageError
from bench.launch.slurm import SlurmOptions, submit
from bench.launch.slurm import parse_slurm as parse_slurm

SECONDS_TO_SAVE = 600
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def launch(
    arguments: Sequence[str],
    *,
    gpus: int | None = None,
    slurm: SlurmOptions | None = None,
    module: str = "bench",
) -> int:
    """Run `python -m bench ARGUMENTS` in several processes and return an exit code.

    `gpus` is their number on this machine (None: one per GPU). With `slurm` they are submitted as a
    job instead: its id is printed, and 0 means that it was accepted.

    Raises:
        UsageError: no GPU, an impossible number of processes, or no Slurm.
    """
    with safe_path():
        if slurm is None:
            return _launch_here(arguments, _num_processes(gpus), module)
        if gpus is not None:
            raise UsageError("--gpus is for this machine; for a job use --slurm gpus=N.")
        job = submit(arguments, slurm, module=module)
    print(f"job {job.job_id}; its logs: {job.paths.folder}")
    return 0


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep processes that are started from importing out of the working directory first."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def _launch_here(arguments: Sequence[str], num_processes: int, module: str) -> int:
    """Run `python -m bench ARGUMENTS` in processes under torchrun and return an exit code.

    The code is 0 if all processes succeeded, else that of the process that failed first (128 + N if
    killed by signal N; torchrun alone would return 1). SIGTERM and SIGINT are forwarded, the
    processes have ten minutes to save (30 seconds before torch 2.12), and the code is 128 + the
    signal.
    """
    # torch: only where needed, because the command line must start without it.
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    words = [
        f"--nproc-per-node={num_processes}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",  # any free port
        f"--rdzv-id={uuid.uuid4()}",
        "--module",
        module,
        *arguments,
    ]
    # A variable instead of an option, which torch 2.11 does not have.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_SAVE))
    parsed = torchrun.parse_args(words)  # type: ignore[no-untyped-call]
    config, command, rest = torchrun.config_from_args(parsed)
    before = {number: signal.getsignal(number) for number in HANDLED}
    try:
        elastic_launch(config, command)(*rest)
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except ChildFailedError as failed:
        code = failed.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    finally:
        for number, handler in before.items():  # torchrun replaces them
            signal.signal(number, handler)
    return 0


def _num_processes(gpus: int | None) -> int:
    if gpus is None:
        import torch  # only where needed

        gpus = torch.cuda.device_count()
        if not gpus:
            raise UsageError("torch finds no GPU here; --gpus N starts N processes on the CPU.")
    if gpus < 1:
        raise UsageError(f"--gpus {gpus}: it must be at least 1.")
    return gpus
