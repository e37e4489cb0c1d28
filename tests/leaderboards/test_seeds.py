"""Records that differ in the seed or the draw alone, against means worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.publish.leaderboard import Column, Leaderboard
from bench.records.record import Record
from leaderboards.rows.join import join
from leaderboards.rows.table import TableCell, percent
from tests.leaderboards.tables import markdown
from tests.sound_record import digest, id_of, sound_fields, sound_record

WHOLE = digest("train list")


def board(*columns: Column) -> Leaderboard:
    return Leaderboard(name="small", title="Small board", columns=columns)


ALL = Column(title="attentive", task="what", probe="attentive", protocol="honest@1")
TENTH = Column(title="10 %", task="what", probe="attentive", protocol="honest@1",
               task_options={"fraction": 0.1})  # fmt: skip


def drawn(correct: int, draw: int, *, seed: int = 0, fraction: float = 0.1, **facts: Any) -> Record:
    """A record on a share of the training labels, as a draw of them."""
    fields = sound_fields(task="what", correct=correct, fraction=fraction, seed=seed, **facts)
    fields["config"]["task_options"] = {"fraction": fraction, "draw": draw}
    fields["task"]["options"] |= {"fraction": fraction, "draw": draw, "whole_sha256": WHOLE}
    fields["data"]["fit"]["digest"] = digest(f"{fraction} {draw}")
    fields["train_labels"]["draw"] = draw
    return Record.model_validate({**fields, "id": id_of(fields)})


def only_cell(records: list[Record], column: Column = ALL) -> TableCell:
    table = join(board(column), records)
    [row] = [row for row in table.rows if row.kind == "encoder"]
    return row.cells[0]


def test_records_that_differ_in_the_seed_are_one_number_with_a_spread() -> None:
    cell = only_cell([sound_record(task="what", correct=c, seed=s) for c, s in
                      ((60, 0), (63, 1), (66, 2))])  # fmt: skip
    assert cell.seeds is not None and cell.seeds.values == {0: 0.60, 1: 0.63, 2: 0.66}
    assert cell.value == pytest.approx(0.63)
    assert cell.seeds.std == pytest.approx(0.03) and cell.seeds.over == "seeds"
    assert cell.others == 0
    # Wilson at 60, 63 and 66 of 100 is 50.2 to 69.1, 53.2 to 71.8 and 56.3 to 74.5: the mean of the
    # ends, not an interval of 300 rows, which would be 57.4 to 68.3.
    assert cell.interval is not None
    assert [percent(cell.interval.low), percent(cell.interval.high)] == ["53.2", "71.8"]
    text = markdown(join(board(ALL), [sound_record(task="what", correct=c, seed=s) for c, s in
                                      ((60, 0), (66, 1))]))  # fmt: skip
    assert "**63.0** ±9.8, 2 seeds ±4.2 |" in text
    assert "seeds ±: the number is the mean over seeds" in text


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "other"},
        {"manifest": "another list"},
        {"deviations": ("epochs 5 instead of 20",)},
        {"protocol": "vjepa@1"},
        {"status": "suspect", "reasons": ("constant predictions",)},
        {"fraction": 0.5},
    ],
)
def test_what_differs_in_more_than_the_seed_is_not_averaged(change: dict[str, Any]) -> None:
    records = [
        sound_record(task="what", correct=60, seed=0),
        sound_record(task="what", correct=70, seed=1, **change),
    ]
    table = join(board(ALL), records)
    assert all(row.cells[0].seeds is None for row in table.rows)
    assert {percent(row.cells[0].value) for row in table.rows if row.kind == "encoder"} <= {
        "60.0",
        "70.0",
    }


def test_the_probe_settings_must_be_the_same_too() -> None:
    fields = sound_fields(task="what", correct=70, seed=1)
    fields["probe"]["heads"][0]["lr"] = 0.5
    other = Record.model_validate({**fields, "id": id_of(fields)})
    assert only_cell([sound_record(task="what", correct=60, seed=0), other]).seeds is None


def test_of_two_records_of_one_seed_the_newer_counts() -> None:
    records = [
        sound_record(task="what", correct=10, seed=0, created="2025-01-01T00:00:00Z"),
        sound_record(task="what", correct=60, seed=1, created="2025-01-02T00:00:00Z"),
    ]
    fields = records[0].model_dump() | {"created": "2025-01-03T00:00:00Z"}
    fields["metrics"] |= {"top1": 0.62, "correct": 62, "bounds": {"low": 0.62, "high": 0.62}}
    again = Record.model_validate(fields)
    cell = only_cell([records[0], again, records[1]])
    assert cell.seeds is not None and cell.seeds.values == {0: 0.62, 1: 0.60}
    assert cell.others == 1


def test_a_column_of_a_share_has_the_mean_over_its_draws() -> None:
    records = [drawn(20, 0), drawn(22, 1), drawn(27, 2), sound_record(task="what", correct=71)]
    table = join(board(TENTH, ALL), records)
    tenth, whole = table.rows[0].cells
    assert tenth.seeds is not None and tenth.seeds.over == "draws"
    assert tenth.value == pytest.approx(0.23)
    # Deviations from 23 are -3, -1 and 4: the square root of 26 / 2.
    assert tenth.seeds.std == pytest.approx(math.sqrt(13) / 100)
    assert percent(whole.value) == "71.0" and whole.seeds is None
    assert table.notes == ()
    assert "3 draws ±3.6" in markdown(table)
    assert [head.label for head in table.heads] == [
        "what/attentive@honest@1:fraction=0.1",
        "what/attentive@honest@1",
    ]


def test_draws_of_one_share_compete_and_one_draw_alone_is_told() -> None:
    table = join(
        board(TENTH),
        [drawn(20, 0, encoder="a"), drawn(26, 1, encoder="a"), drawn(24, 1, encoder="b")],
    )
    assert [(row.name, row.cells[0].is_best) for row in table.rows[:2]] == [
        ("b", True),
        ("a", False),
    ]
    assert table.notes == ("draw 1 only",) and table.rows[0].cells[0].notes == (1,)


def test_a_mean_over_draws_in_a_column_of_all_labels_is_marked_as_such() -> None:
    table = join(board(ALL), [drawn(20, 0), drawn(26, 1), sound_record(task="what", encoder="b")])
    [row] = [row for row in table.rows if row.name == "vjepa_vitl16"]
    assert percent(row.cells[0].value) == "23.0"
    assert table.notes == ("10 % of the training labels, mean over draws 0, 1 (40 rows)",)
    assert not row.cells[0].is_best
