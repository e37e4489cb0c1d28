"""Whole runs of `bench pretrain` that take seconds, in this process or in one of their own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.cli.main import main
from tests.media import write_video

TINY = {
    "encoder.depth": 1,
    "encoder.width": 48,
    "predictor.depth": 1,
    "predictor.width": 24,
    "batch_size": 4,
    "mask_batch": 4,
    "warmup_steps": 3,
    "clip_after": 5,
}
EVERY = {"--log-every": 1, "--watch-every": 5, "--save-every": 3, "--workers": 0}
PATIENCE = 240  # seconds, on a machine that has a lot else to do
# Sends its own process a signal, `calls` calls after `step` is in the journal.
SIGNAL_AT_STEP = """
import os, sys
from bench.pretrain.journal import Journal
write, left = Journal.write, {calls}
def count(*_):
    global left
    left -= 1
    if left <= 0:
        sys.setprofile(None)
        os.kill(os.getpid(), {number})
def write_and_count(self, entry):
    write(self, entry)
    if entry["step"] == {step}:
        sys.setprofile(count)
Journal.write = write_and_count
"""
# Kills its own process when `saves` checkpoints are whole and half of the next one is written.
KILL_IN_A_SAVE = """
import os, signal
fsync, left = os.fsync, {saves}
def fsync_or_die(handle):
    global left
    if os.readlink(f"/proc/self/fd/{{handle}}").count("latest.pth.tar"):
        left -= 1
        if left < 0:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = fsync_or_die
"""


def write_videos(folder: Path, count: int = 6) -> Path:
    """Videos of different lengths and sizes, small ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        size = [(64, 48), (48, 64)][number % 2]
        write_video(folder / f"{number:02d}.mp4", 24 + 2 * number, size=size)
    return folder


def words(
    data: str | Path | Sequence[Path], out: Path, *more: object, steps: int = 20, **settings: Any
) -> list[str]:
    """The command line of a run; `more` words win over the defaults, `settings` are `--set`."""
    given = {str(word) for word in more}
    every = {key: value for key, value in EVERY.items() if key not in given}
    values = {**TINY, "num_steps": steps, **{k.replace("__", "."): v for k, v in settings.items()}}
    lists = [data] if isinstance(data, (str, Path)) else data
    line = ["pretrain", "digits_tiny", "--out", out, "--device", "cpu"]
    line += [word for name in lists for word in ("--data", name)]
    line += [word for pair in every.items() for word in pair]
    line += [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return [str(word) for word in (*line, *more)]


def run_here(line: list[str]) -> int:
    """Run the command in this process, on one thread as the others, and return its exit code."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        main(line)
    except SystemExit as ended:
        return ended.code or 0
    finally:
        torch.set_num_threads(threads)
    return 0


@contextlib.contextmanager
def running(line: list[str], first: str = "") -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own that runs the code `first`, killed at the block's end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{first}\nfrom bench.cli.main import main\nmain()", *line],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], condition: Callable[[], Any]) -> None:
    """Wait until the condition holds; the process must be alive until then."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def entries(run: Path) -> list[dict]:
    path = run / "log.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def last_step(run: Path) -> int:
    return max((entry["step"] for entry in entries(run)), default=-1)


def unreadable(run: Path) -> list[str]:
    path = run / "unreadable.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted(Path(json.loads(line)["path"]).name for line in lines)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Everything that training goes on from, by name: both encoders, predictor, optimizer."""
    held = torch.load(run / "latest.pth.tar", weights_only=True)
    found = {
        f"{part}.{name}": value
        for part in ("encoder", "predictor", "target_encoder")
        for name, value in held[part].items()
    }
    for number, state in held["opt"]["state"].items():
        found |= {f"opt.{number}.{key}": torch.as_tensor(v) for key, v in state.items()}
    return found


def encoder_files(run: Path) -> dict[str, bytes]:
    """Bytes of the weights of every encoder that was kept, by folder."""
    return {p.parent.name: p.read_bytes() for p in (run / "encoders").glob("*/model.safetensors")}


def assert_same_bits(run: Path, reference: Path) -> None:
    """Both runs ended with the same weights, optimizer and encoder, bit by bit."""
    mine, theirs = tensors(run), tensors(reference)
    assert mine.keys() == theirs.keys() and len(mine) > 100
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not different
    last = max(encoder_files(reference))
    assert encoder_files(run)[last] == encoder_files(reference)[last]


def assert_logged_once(run: Path, steps: int) -> None:
    assert [entry["step"] for entry in entries(run)] == list(range(steps + 1))
