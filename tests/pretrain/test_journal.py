"""The journal: what is on disk after each write, after a kill, and after a resume."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.pretrain.journal import Journal, read_journal


def written(folder: Path, *entries: Mapping[str, Any], step: int = 0) -> None:
    with closing(Journal(folder, step=step)) as journal:
        for entry in entries:
            journal.write(entry)


def steps(folder: Path) -> list[int]:
    return [entry["step"] for entry in read_journal(folder)]


def board_scalars(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """{name: [(step, value)]} as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(e.step, pytest.approx(e.value)) for e in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_entries_come_back_as_they_were_written(tmp_path: Path) -> None:
    entries = [
        {"step": 1, "loss": 0.5, "context_tokens": [80, 40], "health": {"token_std": 0.25}},
        {"step": 2, "loss": 0.25, "alarm": "collapse: ä"},
    ]
    written(tmp_path, *entries)
    assert read_journal(tmp_path) == entries


def test_entry_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write({"step": 1, "loss": 1.0})
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'
    journal.close()


def test_entries_survive_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; from bench.pretrain.journal import Journal;"
        f"journal = Journal(pathlib.Path({str(tmp_path)!r}));"
        "journal.write({'step': 1}); journal.write({'step': 2});"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL and steps(tmp_path) == [1, 2]


def test_torn_last_line_is_not_read_and_is_cut_on_resume(tmp_path: Path) -> None:
    written(tmp_path, {"step": 1}, {"step": 2})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert steps(tmp_path) == [1, 2]
    written(tmp_path, {"step": 3}, step=2)
    assert steps(tmp_path) == [1, 2, 3]


def test_resume_drops_the_entries_of_later_steps(tmp_path: Path) -> None:
    written(tmp_path, *({"step": s, "loss": 1.0} for s in (0, 10, 20, 30)))
    written(tmp_path, {"step": 30, "loss": 2.0}, step=20)
    assert [(e["step"], e["loss"]) for e in read_journal(tmp_path)] == [
        (0, 1.0), (10, 1.0), (20, 1.0), (30, 2.0),
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["log.jsonl"]


def test_run_that_begins_anew_drops_the_old_log(tmp_path: Path) -> None:
    written(tmp_path, {"step": 0}, {"step": 10})
    written(tmp_path, {"step": 0})
    assert steps(tmp_path) == [0]


def test_number_that_is_not_finite_becomes_null(tmp_path: Path) -> None:
    written(tmp_path, {"step": 1, "loss": math.nan, "health": {"token_std": -math.inf}})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {
        "step": 1, "loss": None, "health": {"token_std": None},
    }  # fmt: skip


def test_line_that_is_no_entry_is_refused_with_its_number(tmp_path: Path) -> None:
    for wrong in ("no json", '["step"]', '{"loss": 1}', '{"step": "1"}'):
        (tmp_path / "log.jsonl").write_text(f'{{"step": 1}}\n{wrong}\n{{"step": 2}}\n')
        with pytest.raises(DataError, match="line 2"):
            read_journal(tmp_path)
        with pytest.raises(DataError, match="line 2"):
            Journal(tmp_path, step=1)


def test_run_without_a_log_has_no_entries(tmp_path: Path) -> None:
    assert read_journal(tmp_path) == []


def test_tensorboard_holds_the_same_scalars(tmp_path: Path) -> None:
    written(
        tmp_path,
        {"step": 1, "num_steps": 9, "loss": 0.5, "context_tokens": [8, 4], "health": {"std": 2.0}},
        {"step": 2, "loss": 0.25, "alarm": "collapse"},
    )
    assert board_scalars(tmp_path) == {
        "loss": [(1, 0.5), (2, 0.25)],
        "context_tokens/0": [(1, 8.0)],
        "context_tokens/1": [(1, 4.0)],
        "health/std": [(1, 2.0)],
    }


def test_tensorboard_hides_what_came_after_the_step_of_a_resume(tmp_path: Path) -> None:
    written(tmp_path, *({"step": s, "loss": 1.0} for s in (10, 20, 30)))
    written(tmp_path, {"step": 30, "loss": 2.0}, step=20)
    assert board_scalars(tmp_path) == {"loss": [(10, 1.0), (20, 1.0), (30, 2.0)]}
