import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.launch.here_or_torchrun import launch
from bench.launch.slurm import SlurmOptions, parse_slurm, resumed, submit

ROOT = Path(__file__).parents[2]
# What the launched processes run.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path

folder, deed = Path(sys.argv[1]), sys.argv[2]
rank = int(os.environ["RANK"])

def note(name, content=""):
    whole = folder / f".{name}{rank}"
    whole.write_text(json.dumps(content))
    whole.rename(folder / f"{name}{rank}")

def save(number, frame):
    time.sleep(0.3)
    note("saved", os.getppid())
    sys.exit(143)

if deed == "gather":
    from bench.launch.distributed import any_rank, gather_objects, join
    with join("cpu") as world:
        ranks = gather_objects(world, (world.rank, world.local_rank, world.size))
        flags = [any_rank(world, world.rank == 1), any_rank(world, False)]
    note("gathered", [ranks, flags, sys.argv[3:]])
elif deed in ("exit", "signal") and rank == 1:
    os.kill(os.getpid(), int(sys.argv[3])) if deed == "signal" else sys.exit(int(sys.argv[3]))
elif deed in ("exit", "signal"):
    time.sleep(float(sys.argv[4]))
elif "--resume" in sys.argv:
    note("resumed", sys.argv[1:])
else:
    signal.signal(signal.SIGTERM, save)
    note("ready", [os.getpid(), os.getppid()])
    while not (folder / "saved0").exists():  # a loop that agrees to stop
        time.sleep(0.05)
    note("stopped")
    sys.exit(143)
"""
# torchrun forgets processes that it is only just starting when a signal comes: it notes when it
# watches them.
LAUNCH = """
import sys
from pathlib import Path
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent as Agent
from bench.launch.here_or_torchrun import launch

watch = Agent._monitor_workers
def watch_and_note(*arguments):
    Path(sys.argv[1], "watching").write_text("true")
    return watch(*arguments)
Agent._monitor_workers = watch_and_note
sys.exit(launch(sys.argv[1:], gpus=2, module='worker'))
"""
PATIENCE = 600  # seconds, on a machine that has a lot else to do


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def launched(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, folder, *words], stderr=subprocess.PIPE, text=True
    )


def read(path: Path) -> dict[str, Any]:
    """Wait for a file that another process writes whole."""
    for _ in range(20 * PATIENCE):
        if path.exists() and (text := path.read_text()):
            return json.loads(text)
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


def test_two_processes_join_one_world_and_get_the_same_words(folder: Path) -> None:
    process = launched(folder, "gather", "--x", "a b")
    assert process.wait(PATIENCE) == 0, process.stderr.read()
    for rank in range(2):
        ranks, flags, words = read(folder / f"gathered{rank}")
        assert ranks == [[0, 0, 2], [1, 1, 2]]
        assert flags == [True, False]
        assert words == ["--x", "a b"]


def test_a_process_that_dies_ends_the_other_and_its_code_is_passed_on(folder: Path) -> None:
    process = launched(folder, "signal", str(int(signal.SIGKILL)), str(100 * PATIENCE))
    assert process.wait(PATIENCE) == 128 + signal.SIGKILL, process.stderr.read()


def test_sigterm_lets_the_processes_save_and_exits_143(folder: Path) -> None:
    process = launched(folder, "train")
    workers = [read(folder / f"ready{rank}")[0] for rank in range(2)]
    assert read(folder / "watching")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143, process.stderr.read()
    assert (folder / "saved0").exists()
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_the_command_line_itself_is_launched(folder: Path) -> None:
    code = (
        "import sys; from bench.launch.here_or_torchrun import launch;"
        "sys.exit(launch(['show', 'nothing_of_this_name'], gpus=1))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == UsageError.exit_code
    assert "nothing is called 'nothing_of_this_name'" in made.stderr


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="--gpus 0: it must be at least 1"):
        launch(["ls"], gpus=0)


def test_resuming_is_said_once() -> None:
    assert resumed(["pretrain", "x"]) == ("pretrain", "x", "--resume")
    assert resumed(("pretrain", "--resume", "x")) == ("pretrain", "--resume", "x")


# -------------------------------------------------------------------------------- through submitit
@pytest.fixture
def submitted(folder: Path) -> Callable[..., tuple[Any, type[Exception]]]:
    submitit = pytest.importorskip("submitit")

    def call(*words: str) -> tuple[Any, type[Exception]]:
        options = SlurmOptions(folder=folder / "jobs", gpus=2, hours=0.1, cluster="local")
        job = submit([str(folder), *words], options, module="worker")
        job._cancel_at_deletion = True
        return job, submitit.core.utils.FailedJobError

    return call


def test_a_submitted_job_is_one_world_of_its_tasks(
    folder: Path, submitted: Callable[..., tuple[Any, type[Exception]]]
) -> None:
    job, _ = submitted("gather")
    assert job.results() == [0, 0]
    assert read(folder / "gathered1")[0] == [[0, 0, 2], [1, 1, 2]]


def test_a_submitted_job_fails_with_its_command(
    submitted: Callable[..., tuple[Any, type[Exception]]],
) -> None:
    job, failed = submitted("exit", "4", "0")
    with pytest.raises(failed, match="process 1 of 2 exited with code 4"):
        job.results()


def test_a_job_that_is_stopped_saves_and_goes_on_with_resume(
    folder: Path, submitted: Callable[..., tuple[Any, type[Exception]]]
) -> None:
    job, _ = submitted("train")
    commands = [read(folder / f"ready{rank}") for rank in range(2)]
    # Slurm sends the signal to everything in the job: to the tasks and to their commands.
    os.kill(commands[0][0], signal.SIGUSR2)
    os.kill(commands[1][0], signal.SIGUSR2)
    os.kill(commands[0][1], signal.SIGUSR2)
    assert job.results() == [0, 0]
    assert read(folder / "saved0") == commands[0][1]
    assert read(folder / "resumed0")[-2:] == ["train", "--resume"]
    assert read(folder / "resumed1")[-2:] == ["train", "--resume"]


def test_a_slurm_job_asks_for_what_the_options_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    # Stand-ins for the two programs of Slurm: what is tested is what reaches them.
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("srun", "exit 0"), ("sbatch", 'cp "$1" "$SENT"; echo job 12')):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SENT", str(folder / "sent.sh"))
    options = SlurmOptions(
        folder=folder / "jobs", nodes=3, gpus=4, hours=1.5, partition="big", seconds_to_save=100
    )
    assert launch(["pretrain", "x"], slurm=options) == 0
    assert capsys.readouterr().out.startswith("job 12; its logs: ")
    sent = (folder / "sent.sh").read_text()
    for line in (
        "--nodes=3", "--ntasks-per-node=4", "--gpus-per-node=4", "--time=90", "--partition=big",
        "--signal=USR2@100", "--cpus-per-task=8",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in sent
    assert "--kill-on-bad-exit=1" in sent


def test_without_slurm_there_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(UsageError, match="login node"):
        submit(["ls"], SlurmOptions(folder=folder))


def test_options_of_a_job_are_read_from_one_word() -> None:
    made = parse_slurm("nodes=2, gpus=4,hours=1.5,partition=big,folder=logs/x")
    expected = SlurmOptions(
        nodes=2, gpus=4, hours=1.5, partition="big", folder=Path("logs/x"), cpus_per_gpu=8
    )
    assert made == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nodes", "no '='"),
        ("node=2", "Did you mean 'nodes'"),
        ("gpus=many", "should be"),
        ("gpus=0", "at least 1"),
        ("cluster=pbs", "is not one of slurm, local"),
    ],
)
def test_options_that_cannot_be_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_slurm(text)


def test_a_job_is_not_also_for_this_machine() -> None:
    with pytest.raises(UsageError, match="--slurm gpus=N"):
        launch(["ls"], gpus=2, slurm=SlurmOptions())


def test_a_job_needs_time_beyond_saving(folder: Path) -> None:
    with pytest.raises(UsageError, match="more hours"):
        SlurmOptions(folder=folder, hours=0.04, seconds_to_save=180)


def test_launching_leaves_the_environment_of_this_process_as_it_was() -> None:
    before = dict(os.environ)
    with pytest.raises(UsageError):
        launch(["ls"], gpus=0)
    assert dict(os.environ) == before
