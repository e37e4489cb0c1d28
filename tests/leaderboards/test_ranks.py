"""Places and intervals in a table, from files of predictions that are really there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from bench.publish.leaderboard import Column, Leaderboard
from bench.records.record_files import RecordError
from leaderboards.render.write_all import write
from leaderboards.rows.join import join
from leaderboards.rows.table import Table
from tests.kept_records import kept_clips
from tests.leaderboards.tables import markdown

ROWS = 200


def board(folder: Path, *, metric: str = "top1") -> Leaderboard:
    columns = [
        Column(
            title="attentive", task="what", probe="attentive", protocol="honest@1", metric=metric
        )
    ]
    return Leaderboard(name="small", title="Small board", columns=columns, records=folder)


def first(count: int, at: int = 0) -> np.ndarray:
    """Rows `at` to `at + count` are right."""
    right = np.zeros(ROWS, dtype=bool)
    right[at : at + count] = True
    return right


def places(table: Table) -> dict[str, tuple[int, int] | None]:
    return {row.name: row.cells[0].rank for row in table.rows if row.kind != "chance"}


def test_encoders_that_cannot_be_told_apart_share_their_places(tmp_path: Path) -> None:
    records = [
        kept_clips(tmp_path, first(160), encoder="a", task="what"),
        # 155 of the same and 3 others: 5 rows against 3, which says nothing.
        kept_clips(tmp_path, first(155) | first(3, 180), encoder="b", task="what"),
        kept_clips(tmp_path, first(60), encoder="c", task="what"),
    ]
    assert binomtest(3, 8).pvalue > 0.05 / 3
    assert binomtest(0, 95).pvalue < 0.05 / 3
    table = join(board(tmp_path), records)
    assert places(table) == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    lines = markdown(table).splitlines()
    assert lines[6].startswith("| #   | encoder")
    assert [line.split("|")[1].strip() for line in lines[8:12]] == ["1-2", "1-2", "3", ""]
    assert any(line.startswith("#: the places") for line in lines)
    frame = pd.read_csv(write(board(tmp_path), records, tmp_path / "tables")[1])
    label = "what/attentive@honest@1"
    assert frame[f"{label}:place"].tolist()[:3] == [1, 1, 3]
    assert frame[f"{label}:place_to"].tolist()[:3] == [2, 2, 3]


def test_all_that_share_the_first_place_are_bold_or_none_if_a_floor_is_among_them(
    tmp_path: Path,
) -> None:
    b = {"right": first(155) | first(3, 180), "encoder": "b", "task": "what"}  # 5 against 3 rows
    records = [
        kept_clips(tmp_path, first(160), encoder="a", task="what"),
        kept_clips(tmp_path, **b),
        kept_clips(tmp_path, first(60), encoder="c", task="what"),
    ]
    table = join(board(tmp_path), records)
    assert [r.name for r in table.rows if r.cells[0].is_best] == ["a", "b"]
    assert markdown(table).count("**") == 4
    records[1] = kept_clips(tmp_path, **{**b, "encoder": "random", "is_floor": True})
    table = join(board(tmp_path), records)
    assert places(table) == {"a": (1, 2), "c": (3, 3), "random": None}
    assert not any(r.cells[0].is_best for r in table.rows)
    for text in (markdown(table), write(board(tmp_path), records, tmp_path / "t")[2].read_text()):
        assert "**" not in text and "textbf" not in text


def test_a_saturated_column_has_no_winner_beside_a_floor(tmp_path: Path) -> None:
    floor = {"encoder": "random", "is_floor": True}
    records = [kept_clips(tmp_path, first(ROWS), task="what", **how)
               for how in ({"encoder": "a"}, {"encoder": "b"}, floor)]  # fmt: skip
    table = join(board(tmp_path), records[:2])
    assert [r.cells[0].is_best for r in table.rows[:2]] == [True, True]
    assert not any(r.cells[0].is_best for r in join(board(tmp_path), records).rows)


def test_what_does_not_compete_has_no_place(tmp_path: Path) -> None:
    records = [
        kept_clips(tmp_path, first(160), encoder="a", task="what"),
        kept_clips(tmp_path, first(60), encoder="b", task="what"),
        kept_clips(tmp_path, first(200), encoder="c", task="what", protocol="vjepa@1"),
        kept_clips(
            tmp_path, first(199), encoder="d", task="what", status="suspect", reasons=("odd",)
        ),
    ]
    assert places(join(board(tmp_path), records)) == {
        "c": None,
        "d": None,
        "a": (1, 1),
        "b": (2, 2),
    }


def test_without_the_folder_or_a_second_number_there_are_no_places(tmp_path: Path) -> None:
    records = [
        kept_clips(tmp_path, first(160), encoder="a", task="what"),
        kept_clips(tmp_path, first(60), encoder="b", task="what"),
    ]
    table = join(replace(board(tmp_path), records=None), records)
    assert places(table) == {"a": None, "b": None} and table.remarks == ()
    assert "#" not in markdown(table).splitlines()[6]
    assert places(join(board(tmp_path), records[:1])) == {"a": None}


def test_a_record_without_predictions_has_no_place_and_the_table_says_so(tmp_path: Path) -> None:
    bare = kept_clips(tmp_path, first(180), encoder="c", task="what")
    none = bare.artifacts.model_copy(update={"predictions": None})
    records = [
        kept_clips(tmp_path, first(160), encoder="a", task="what"),
        kept_clips(tmp_path, first(60), encoder="b", task="what"),
        bare.model_copy(update={"artifacts": none}),
    ]
    table = join(board(tmp_path), records)
    assert places(table) == {"c": None, "a": (1, 1), "b": (2, 2)}
    assert [r.name for r in table.rows if r.cells[0].is_best] == ["c"]  # no test says more
    assert table.remarks == (
        "Places of what/attentive@honest@1 do not include c, whose predictions were not kept.",
    )


def test_predictions_that_are_not_those_of_the_record_are_refused(tmp_path: Path) -> None:
    records = [
        kept_clips(tmp_path, first(160), encoder="a", task="what"),
        kept_clips(tmp_path, first(60), encoder="b", task="what"),
    ]
    file = tmp_path / f"{records[0].id}.parquet"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(RecordError, match="was changed after"):
        join(board(tmp_path), records)


def test_rows_that_all_left_out_are_not_tested(tmp_path: Path) -> None:
    lost = {"unread": range(190, ROWS)}
    records = [
        kept_clips(tmp_path, first(160), on_unreadable="skip", **lost, encoder="a", task="what"),
        kept_clips(tmp_path, first(60), on_unreadable="skip", **lost, encoder="b", task="what"),
        # Counts them as wrong, and does not compete: the others do not either, then.
        kept_clips(tmp_path, first(100), **lost, encoder="c", task="what"),
    ]
    assert places(join(board(tmp_path), records[:2])) == {"a": (1, 1), "b": (2, 2)}
    assert places(join(board(tmp_path), records)) == {"a": None, "c": None, "b": None}
