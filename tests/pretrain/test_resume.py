"""A run that is killed, stopped or limited goes on and ends as if nothing had happened."""

import random
import signal
from pathlib import Path

import pytest

from tests.pretrain.tiny_run import (
    KILL_IN_A_SAVE,
    SIGNAL_AT_STEP,
    assert_logged_once,
    assert_same_bits,
    entries,
    last_step,
    run_here,
    running,
    tensors,
    words,
    write_videos,
)

STEPS = 25


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """The run that nothing happens to."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert run_here(words(videos, run, steps=STEPS)) == 0
    return run


def finish(videos: Path, run: Path, reference: Path, *more: object) -> None:
    assert run_here(words(videos, run, "--resume", *more, steps=STEPS)) == 0
    assert_same_bits(run, reference)
    assert_logged_once(run, STEPS)
    # Measurements are made on the same clips before and after, and do not touch training.
    mine, theirs = (
        {e["step"]: e["health"] for e in entries(r) if "health" in e} for r in (run, reference)
    )
    assert {step: mine[step] for step in theirs} == theirs and len(theirs) == 1 + STEPS // 5
    assert not list(run.rglob("*.partial"))


def kill_somewhere(line: list[str], run: Path, seed: int) -> None:
    """Start the command, let it make a few steps more, and kill it somewhere in the next ones."""
    draw = random.Random(seed)
    step = last_step(run) + draw.randrange(2, 5)
    number = int(signal.SIGKILL)
    with running(
        line, SIGNAL_AT_STEP.format(step=step, calls=draw.randrange(20_000), number=number)
    ) as process:
        assert process.wait() == -signal.SIGKILL


def kill_while_saving(line: list[str], run: Path) -> None:
    """Kill the command at a moment when a checkpoint is half written."""
    with running(line, KILL_IN_A_SAVE.format(saves=2)) as process:
        assert process.wait() == -signal.SIGKILL
    assert list(run.glob("latest.pth.tar.*.partial"))


@pytest.mark.parametrize("workers", [0, 1])
def test_killed_at_a_random_step_and_resumed_gives_equal_bits(
    videos: Path, reference: Path, tmp_path: Path, workers: int
) -> None:
    run, more = tmp_path / "run", ("--workers", workers)
    kill_somewhere(words(videos, run, *more, steps=STEPS), run, seed=workers)
    finish(videos, run, reference, *more)


def test_killed_while_a_checkpoint_is_written_and_resumed_gives_equal_bits(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kill_while_saving(words(videos, run, "--save-every", 1, steps=STEPS), run)
    finish(videos, run, reference)


@pytest.mark.slow
def test_killed_again_and_again_gives_equal_bits(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for number in range(4):
        line = words(
            videos, run, "--resume", "--save-every", 2, "--workers", number % 2, steps=STEPS
        )
        kill_somewhere(line, run, seed=number)
    for _ in range(2):
        line = words(videos, run, "--resume", "--save-every", 1, "--workers", 1, steps=STEPS)
        kill_while_saving(line, run)
    finish(videos, run, reference, "--workers", 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_the_step_it_came_in_and_the_run_goes_on(
    videos: Path, reference: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    line = words(videos, run, "--save-every", 1000, "--workers", 1, steps=STEPS)
    with running(line, SIGNAL_AT_STEP.format(step=2, calls=0, number=int(number))) as process:
        out, err = process.communicate()
        assert process.returncode == code, err
    assert not out and "Traceback" not in err
    stopped = last_step(run)
    assert 2 <= stopped < STEPS and f"step {stopped}" in err.splitlines()[-1] and "--resume" in err
    steps = {int(v) for name, v in tensors(run).items() if name.endswith(".step")}
    assert steps == {stopped}
    assert not (run / "encoders").exists()
    finish(videos, run, reference)


def test_stopped_early_by_steps_leaves_the_schedules_and_goes_on(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert run_here(words(videos, run, "--steps", 7, steps=STEPS)) == 0
    assert last_step(run) == 7
    assert (run / "encoders/step_000000007/model.safetensors").exists()
    finish(videos, run, reference)


def test_resumed_after_its_end_a_run_is_left_as_it_is(
    videos: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def content() -> dict[Path, tuple[int, bytes]]:
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in reference.rglob("*.*")}

    before = content()
    capsys.readouterr()
    assert run_here(words(videos, reference, "--resume", steps=STEPS)) == 0
    assert capsys.readouterr().out == f"{reference}/encoders/step_{STEPS:09d}\n"
    assert content() == before


def test_encoder_that_a_kill_took_is_written_when_resumed(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert run_here(words(videos, run, steps=STEPS)) == 0
    folder = run / f"encoders/step_{STEPS:09d}"
    folder.rename(folder.with_name(f".{folder.name}.unfinished"))
    finish(videos, run, reference)


def test_run_killed_before_its_first_checkpoint_begins_anew(
    videos: Path, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert run_here(words(videos, run, "--steps", 2, steps=STEPS)) == 0
    (run / "latest.pth.tar").unlink()
    finish(videos, run, reference)
