"""Columns that show how heads were chosen, against gaps worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import registry
from bench.publish.leaderboard import Column, Leaderboard
from bench.records.record import Record
from leaderboards.frozen_video import frozen_video
from leaderboards.optimism import with_gaps
from leaderboards.rows.join import join
from tests.leaderboards.tables import markdown
from tests.sound_record import box_record, id_of, sound_fields


def swept(
    correct: int,
    scores: list[float | None],
    *,
    selected: int = 1,
    rule: str = "honest",
    **facts: Any,
) -> Record:
    """A record of a sweep whose heads had these scores on the scored rows."""
    fields = sound_fields(correct=correct, **{"task": "what", **facts})
    heads = [{"lr": 10.0**-i} for i in range(len(scores))]
    fields["probe"] |= {"heads": heads, "selected": selected}
    fields["probe"]["selection"] = {
        "rule": rule,
        "holdout_rows": 40,
        "holdout_scores": [0.5] * len(scores),
        "score_split_scores": scores,
        "score_split_fit": "kept",
    }
    return Record.model_validate({**fields, "id": id_of(fields)})


RECORDS = [
    swept(71, [0.66, 0.70, 0.73], encoder="a"),  # 70.0 chosen, 73.0 the best there
    swept(75, [0.60, 0.74], encoder="b"),  # the chosen one is the best
    swept(60, [0.61, 0.58, None, 0.60], encoder="a", probe="knn"),  # one of four diverged
    swept(40, [0.5], selected=0, encoder="c"),  # nothing to choose
    swept(66, [0.6, 0.66], encoder="d", rule="best_on_score", protocol="vjepa2@1"),
]


def test_honest_best_and_gap_stand_side_by_side() -> None:
    board = registry.build("boards", "optimism", {})
    table = with_gaps(board, RECORDS)
    assert [head.column.title for head in table.heads] == [
        "attentive: honest", "best of 2 to 3", "gap", "knn: honest", "best of 3", "gap",
    ]  # fmt: skip
    numbers = {
        row.name: [None if c.value is None else round(100 * c.value, 6) for c in row.cells]
        for row in table.rows
        if row.record
    }
    assert numbers == {
        "b": [74.0, 74.0, 0.0, None, None, None],
        "a": [70.0, 73.0, 3.0, 58.0, 61.0, 3.0],
    }
    cells = [cell for row in table.rows for cell in row.cells]
    assert not any(cell.is_best or cell.interval or cell.rank for cell in cells)
    assert [row.name for row in table.rows] == ["b", "a"]


def test_the_files_of_the_board_tell_what_a_gap_is(tmp_path: Path) -> None:
    board = registry.build("boards", "optimism", {})
    paths = board.write(board, RECORDS, tmp_path)
    text = paths[0].read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith(("| a ", "| b "))] == [
        "| b       |              74.0 |           74.0 | 0.0 |           – |         – |   – |",  # noqa: RUF001
        "| a       |              70.0 |           73.0 | 3.0 |        58.0 |      61.0 | 3.0 |",
    ]
    assert "gap: how many points choosing the head on the scored rows" in text
    assert "Bold" not in text and "95 %" not in text and "*chance*" not in text
    frame = pd.read_csv(paths[1])
    assert frame["what/attentive@honest@1:gap"].tolist() == [0.0, 3.0]
    assert "what/attentive@honest@1:gap:low" not in frame
    fields = json.loads(paths[3].read_text(encoding="utf-8"))
    assert [c["value"] for c in fields["rows"][0]["cells"]][:3] == [0.74, 0.74, 0.0]


def test_without_honest_sweeps_the_board_says_so(tmp_path: Path) -> None:
    board = registry.build("boards", "optimism", {})
    for records in ([], RECORDS[3:]):
        text = board.write(board, records, tmp_path)[0].read_text(encoding="utf-8")
        assert "No records yet" in text


def test_unreportable_records_are_left_out_unless_asked_for() -> None:
    limited = swept(
        71, [0.66, 0.7], encoder="z", status="not_reportable", reasons=("limited to 10 rows",)
    )
    board = registry.build("boards", "optimism", {})
    assert with_gaps(board, [limited]).hidden == 1 and with_gaps(board, [limited]).heads == ()
    assert with_gaps(board, [*RECORDS, limited]).hidden == 1
    assert with_gaps(board, [limited], include_unreportable=True).rows[0].name == "z"


def test_a_gap_stands_beside_the_number_it_belongs_to() -> None:
    columns = [
        Column(title="attentive", task="what", probe="attentive", protocol="honest@1"),
        Column(title="gap", task="what", probe="attentive", protocol="honest@1", shows="gap"),
    ]
    board = Leaderboard(name="small", title="Small", columns=columns)
    older = Record.model_validate(sound_fields(encoder="old", task="what", correct=80))
    lines = markdown(join(board, [RECORDS[0], older])).splitlines()[6:10]
    assert lines == [
        "| encoder  |     attentive | gap |",
        "| :------- | ------------: | --: |",
        "| old      | **80.0** ±8.9 |   – |",  # noqa: RUF001
        "| a        |   71.0   ±9.5 | 3.0 |",
    ]


def test_a_newer_record_that_says_nothing_of_the_gap_does_not_hide_it() -> None:
    column = Column(title="gap", task="what", probe="attentive", protocol="honest@1", shows="gap")
    board = Leaderboard(name="small", title="Small", columns=[column])
    newer = sound_fields(encoder="a", task="what", created="2026-01-01T00:00:00Z")
    cell = join(board, [RECORDS[0], Record.model_validate(newer)]).rows[0].cells[0]
    assert cell.value == pytest.approx(0.03) and cell.record == RECORDS[0]


def test_gaps_of_seeds_are_averaged() -> None:
    records = [swept(71, [0.66, 0.70, 0.70 + gap], encoder="a", seed=s)
               for s, gap in enumerate((0.01, 0.03))]  # fmt: skip
    board = registry.build("boards", "optimism", {})
    gap = with_gaps(board, records).rows[0].cells[2]
    assert gap.value == pytest.approx(0.02) and gap.seeds is not None


def test_frozen_video_has_the_gap_of_its_attentive_probe() -> None:
    heads = join(frozen_video(), []).heads
    gaps = [head.column for head in heads if head.column.shows == "gap"]
    assert [(c.task, c.probe, c.metric) for c in gaps] == [
        ("moving_digits_what", "attentive", "top1"),
        ("moving_digits_how", "attentive", "top1"),
        ("moving_digits_stills", "attentive", "top1"),
    ]
    assert len({head.label for head in heads}) == len(heads)
    join(frozen_video(), [box_record(0.3, task="moving_digits_ava")])


def test_the_title_counts_the_heads_of_the_records_shown_alone() -> None:
    older = swept(60, [0.5, 0.6], encoder="a", created="2024-01-01T00:00:00Z")
    table = with_gaps(registry.build("boards", "optimism", {}), [older, RECORDS[0]])
    assert [head.column.title for head in table.heads] == ["attentive: honest", "best of 3", "gap"]
