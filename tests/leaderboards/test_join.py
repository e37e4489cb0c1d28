"""The join of records into a table, against tables worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from bench.errors import UsageError
from bench.publish.leaderboard import Column, Leaderboard
from bench.records.record import Record
from leaderboards.rows.join import join
from leaderboards.rows.notes import notes_on
from leaderboards.rows.provenance import facts_of
from leaderboards.rows.sections import legend
from leaderboards.rows.table import Table, TableRow, percent
from tests.leaderboards.tables import markdown
from tests.sound_record import box_record, digest, id_of, sound_fields, sound_record


def board(*columns: Column) -> Leaderboard:
    return Leaderboard(name="small", title="Small board", columns=columns)


def column(probe: str = "attentive", task: str = "what", **facts: Any) -> Column:
    return Column(title=probe, task=task, probe=probe, **{"protocol": "honest@1", **facts})


def row(table: Table, name: str) -> TableRow:
    [found] = [row for row in table.rows if row.name == name]
    return found


def shown(table: Table) -> dict[str, list[str | None]]:
    return {row.name: [percent(cell.value) for cell in row.cells] for row in table.rows}


def test_rows_are_encoders_then_floors_then_chance_and_columns_come_from_the_board() -> None:
    records = [
        sound_record(encoder="a", task="what", correct=71),
        sound_record(encoder="b", task="what", correct=80),
        sound_record(encoder="a", task="what", probe="knn", correct=60),
        sound_record(encoder="random", is_floor=True, task="what", correct=15),
        sound_record(encoder="a", task="not on the board", correct=99),
    ]
    table = join(board(column(), column("knn")), records)
    assert shown(table) == {
        "b": ["80.0", None],
        "a": ["71.0", "60.0"],
        "random": ["15.0", None],
        "chance": ["10.0", "10.0"],
    }
    assert [r.kind for r in table.rows] == ["encoder", "encoder", "floor", "chance"]
    best = {(r.name, i) for r in table.rows for i, c in enumerate(r.cells) if c.is_best}
    assert best == {("b", 0), ("a", 1)}
    assert table.notes == ()


@pytest.mark.parametrize(
    ("encoder", "floor", "expected"),
    [
        (40, 30, {"a"}),
        (40, 50, set()),  # the floor is the best, and nobody has won
        (100, 100, set()),  # all at the top
        (15, 9, set()),  # Wilson: 9.3 to 23.3 %, with a chance of 10 %
        (20, 9, {"a"}),  # 13.3 to 28.9 %
    ],
)
def test_bold_is_an_encoder_above_chance_and_above_the_floors(
    encoder: int, floor: int, expected: set[str]
) -> None:
    records = [
        sound_record(encoder="a", task="what", correct=encoder),
        sound_record(encoder="random", is_floor=True, task="what", correct=floor),
    ]
    table = join(board(column()), records)
    assert {r.name for r in table.rows if r.cells[0].is_best} == expected
    assert ("**" in markdown(table)) == bool(expected)


def test_equal_weights_names_share_a_row_and_other_weights_get_their_own() -> None:
    records = [
        sound_record(encoder="a", weights="one", task="what", correct=50),
        sound_record(encoder="a", weights="two", task="what", correct=60),
        sound_record(encoder="a", weights="two", task="what", probe="knn", correct=40),
    ]
    table = join(board(column(), column("knn")), records)
    names = [r.name for r in table.rows if r.kind == "encoder"]
    assert len(set(names)) == 2 and all(name.startswith("a (") for name in names)
    assert [[percent(c.value) for c in r.cells] for r in table.rows][:2] == [
        ["60.0", "40.0"],
        ["50.0", None],
    ]


def with_config(record: Record, **changes: Any) -> Record:
    """The record of a run that was asked for with other settings."""
    fields = record.model_dump()
    fields["config"] |= changes
    return Record.model_validate({**fields, "id": id_of(fields)})


def test_the_newest_complete_record_wins_even_if_an_older_one_scored_higher() -> None:
    suspect = {"status": "suspect", "reasons": ("constant predictions",)}
    records = [
        with_config(sound_record(task="what", correct=correct, created=day, **facts), decoder=name)
        for correct, day, name, facts in (
            (90, "2025-01-01T00:00:00Z", "decord", {}),
            (70, "2025-01-02T00:00:00Z", "pyav", {}),
            (95, "2025-01-03T00:00:00Z", "torchcodec", suspect),
        )
    ]
    cell = join(board(column()), records).rows[0].cells[0]
    assert percent(cell.value) == "70.0"
    assert cell.others == 2
    assert cell.notes == ()


def test_a_record_of_another_protocol_stands_in_with_a_mark_and_is_never_best() -> None:
    records = [
        sound_record(encoder="a", task="what", correct=50),
        sound_record(encoder="b", task="what", correct=90, protocol="vjepa@1"),
    ]
    table = join(board(column()), records)
    assert table.notes == ("protocol vjepa@1; the column uses honest@1",)
    assert row(table, "b").cells[0].notes == (1,)
    assert not row(table, "b").cells[0].is_best
    assert row(table, "a").cells[0].is_best


def test_a_protocol_with_a_column_of_its_own_never_stands_in() -> None:
    columns = [column(), column(protocol="vjepa@1")]
    table = join(board(*columns), [sound_record(encoder="b", task="what", protocol="vjepa@1")])
    assert shown(table)["b"] == [None, "71.0"]
    assert table.notes == ()


def test_the_protocol_of_a_free_column_is_the_most_frequent_one() -> None:
    records = [
        sound_record(encoder="a", task="what", protocol="vjepa@1"),
        sound_record(encoder="b", task="what", protocol="vjepa@1"),
        sound_record(encoder="c", task="what", protocol="honest@1"),
    ]
    table = join(board(column(protocol=None)), records)
    assert table.heads[0].protocol == "vjepa@1"
    assert row(table, "c").cells[0].notes == (1,)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"split": "validation"}, "scored on validation; the column uses test"),
        ({"manifest": "another list"}, "different list of test samples (100 rows, manifest "),
        ({"deviations": ("epochs 5 instead of 20",)}, "deviates from honest@1: epochs 5 instead"),
        ({"fraction": 0.1}, "10 % of the training labels, draw 0 (40 rows)"),
        (
            {"status": "suspect", "reasons": ("constant predictions",)},
            "suspect: constant predictions",
        ),
    ],
)
def test_what_does_not_compare_is_marked_and_not_best(change: dict[str, Any], note: str) -> None:
    records = [
        sound_record(encoder="a", task="what", correct=50),
        sound_record(encoder="b", task="what", correct=51),
        sound_record(encoder="c", task="what", correct=90, **change),
    ]
    table = join(board(column()), records)
    [said] = table.notes
    assert said.startswith(note)
    assert row(table, "c").cells[0].notes == (1,)
    assert [r.name for r in table.rows if r.cells[0].is_best] == ["b"]


def test_rows_not_scored_are_marked_once_for_all_who_share_the_count() -> None:
    records = [
        sound_record(encoder="a", task="what", correct=70, unreadable=2),
        sound_record(encoder="b", task="what", correct=60, unreadable=2),
        sound_record(encoder="c", task="what", correct=50),
    ]
    table = join(board(column()), records)
    assert table.notes == (
        "scored 98 of 100 rows (2 undecodable, counted as wrong); the rest could change the result"
        " by up to 2.0 points",
    )
    assert [r.cells[0].notes for r in table.rows] == [(1,), (1,), (), ()]


def test_rows_missing_from_the_annotation_file_are_marked() -> None:
    table = join(board(column()), [sound_record(task="what", rows=100, expected=125)])
    assert table.notes == (
        "scored 100 of 125 rows (25 not in the annotation file); the rest could change the result"
        " by up to 20.0 points",
    )


def test_unreportable_records_are_left_out_and_counted_unless_asked_for() -> None:
    records = [
        sound_record(encoder="a", task="what"),
        sound_record(
            encoder="b", task="what", status="not_reportable", reasons=("limited to 10 rows",)
        ),
    ]
    table = join(board(column()), records)
    assert "b" not in shown(table) and table.hidden == 1
    table = join(board(column()), records, include_unreportable=True)
    assert table.hidden == 0
    assert table.notes == ("not reportable: limited to 10 rows",)
    assert row(table, "b").cells[0].notes == (1,)


def test_a_board_without_columns_gets_every_task_protocol_and_probe_found() -> None:
    records = [
        sound_record(task="what", probe="knn"),
        sound_record(task="how"),
        sound_record(task="what", protocol="vjepa@1"),
    ]
    table = join(board(), records)
    assert [head.label for head in table.heads] == [
        "how/attentive@honest@1",
        "what/knn@honest@1",
        "what/attentive@vjepa@1",
    ]
    assert join(board(), []).heads == ()


def test_the_join_does_not_depend_on_the_order_of_the_records() -> None:
    records = [
        sound_record(encoder=e, task="what", seed=s, correct=50 + s, protocol=p)
        for e in "abc"
        for s, p in enumerate(("honest@1", "honest@1", "vjepa@1"))
    ]
    assert join(board(column()), records) == join(board(column()), records[::-1])


def test_a_metric_that_records_lack_is_refused_with_the_closest_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'top1'"):
        join(board(column(metric="top-1")), [])


def test_released_heads_are_told_with_what_put_their_classes_in_order() -> None:
    fitted = sound_record()
    for order, said in ((None, "scored as is"), ("names 3f2a", "reordered to match the task")):
        probe = fitted.probe.model_copy(update={"released_sha256": "ab" * 32, "head_order": order})
        data = fitted.data.model_copy(update={"fit": None})
        released = fitted.model_copy(update={"train_labels": None, "data": data, "probe": probe})
        [note] = notes_on(released, fitted, "honest@1")
        assert note.startswith("released probe") and note.endswith(said)
        assert any("names 3f2a" in line for line in facts_of(released)["Head"]) == bool(order)


# ---------------------------------------------------------------------------- rows, plans, options
def skipping(record: Record) -> Record:
    """The record of the same run when it was told to leave out what it cannot read."""
    fields = record.model_dump()
    fields["config"]["on_unreadable"] = "skip"
    fields["metrics"]["top1"] = record.metrics.correct / record.metrics.scored
    return Record.model_validate({**fields, "id": id_of(fields)})


def test_rows_left_out_of_the_count_do_not_compete_with_rows_counted_as_wrong() -> None:
    records = [
        sound_record(encoder="counts", task="what", correct=70, unreadable=20),
        skipping(sound_record(encoder="skips", task="what", correct=70, unreadable=20)),
        skipping(sound_record(encoder="skips too", task="what", correct=60, unreadable=20)),
        skipping(sound_record(encoder="none lost", task="what", correct=65)),
    ]
    table = join(board(column()), records)
    # 70 of 80 scored rows are 87.5 %, which is another number than 70 of 100.
    assert [(r.name, percent(r.cells[0].value), r.cells[0].is_best) for r in table.rows[:4]] == [
        ("skips", "87.5", False),
        ("skips too", "75.0", False),
        ("counts", "70.0", True),
        ("none lost", "65.0", False),
    ]
    assert row(table, "none lost").cells[0].notes == ()
    assert "20 undecodable, excluded from the score" in table.notes[0]
    assert "20 undecodable, counted as wrong" in table.notes[1]


def test_where_all_leave_out_the_same_rows_they_compete() -> None:
    records = [
        skipping(sound_record(encoder=name, task="what", correct=correct, unreadable=20))
        for name, correct in (("a", 70), ("b", 60))
    ]
    others = skipping(sound_record(encoder="c", task="what", correct=72, unreadable=19))
    table = join(board(column()), [*records, others])
    assert [r.name for r in table.rows if r.cells[0].is_best] == ["a"]


def with_plan(record: Record, score: str) -> Record:
    plan = record.plan.model_copy(update={"score": score})
    return record.model_copy(update={"plan": plan})


def test_a_column_of_a_plan_takes_its_clips_and_views_and_tells_other_frames() -> None:
    records = [
        with_plan(sound_record(encoder="a", task="what", correct=50), "16x8x3@4"),
        with_plan(sound_record(encoder="b", task="what", correct=60), "16x1x1@4"),
        with_plan(sound_record(encoder="c", task="what", correct=70), "8x8x3@2"),
    ]
    columns = [column(plan="16x8x3"), column(plan="16x8x3@4"), column(plan="16x1x1@4")]
    table = join(board(*columns), records)
    assert shown(table) == {
        "c": ["70.0", None, None],
        "a": ["50.0", "50.0", None],
        "b": [None, None, "60.0"],
        "chance": ["10.0", "10.0", "10.0"],
    }
    assert table.notes == ("clips of 8 frames; the column uses 16",)
    labels = [head.label.removeprefix("what/attentive@honest@1") for head in table.heads]
    assert labels == [":16x8x3", ":16x8x3@4", ":16x1x1@4"]


def test_a_record_with_a_column_of_its_own_options_stands_there_alone() -> None:
    records = [
        with_options(sound_record(encoder="a", task="what", correct=50), size="full"),
        sound_record(encoder="b", task="what", correct=60),
    ]
    columns = [column(), column(task_options={"size": "full"})]
    assert shown(join(board(*columns), records)) == {
        "b": ["60.0", None],
        "a": [None, "50.0"],
        "chance": ["10.0", "10.0"],
    }
    # Without such a column it stands with the others.
    assert shown(join(board(column()), records))["a"] == ["50.0"]


def test_options_of_a_probe_are_compared_with_what_the_run_asked_for_or_was_given() -> None:
    asked = with_config(
        sound_record(encoder="a", task="what", correct=50), probe_options={"epochs": 5}
    )
    usual = sound_record(encoder="b", task="what", correct=60)  # of 20 epochs, by its settings
    columns = [column(probe_options={"epochs": 5}), column(probe_options={"epochs": 20})]
    table = shown(join(board(*columns), [asked, usual]))
    assert table["a"] == ["50.0", None] and table["b"] == [None, "60.0"]


def test_what_verification_refused_is_handed_on() -> None:
    refused = ("ab.json failed verification: top1 is 0.9, the predictions give 0.1",)
    table = join(replace(board(column()), refused=refused), [sound_record(task="what")])
    assert table.refused == refused
    assert legend(table)[-1] == f"Refused: {refused[0]}."


@pytest.mark.parametrize("rows", [10, 1000])
def test_intervals_are_those_of_wilson(rows: int) -> None:
    records = [sound_record(encoder="a", task="what", correct=7, rows=rows)]
    cell = join(board(column()), records).rows[0].cells[0]
    low, high = proportion_confint(7, rows, method="wilson")
    assert cell.interval is not None
    assert (cell.interval.low, cell.interval.high) == pytest.approx((low, high))


# ------------------------------------------------------------------------------------------- boxes
BOXES = column("linear", "ava", metric="mean_ap")


def test_a_column_of_boxes_stands_beside_the_others_and_has_no_chance() -> None:
    records = [
        sound_record(encoder="a", task="what", correct=71),
        box_record(0.251, encoder="a", probe="linear"),
        box_record(0.305, encoder="b", probe="linear"),
        box_record(0.018, encoder="random", weights=None, is_floor=True, probe="linear"),
    ]
    table = join(board(column(), BOXES), records)
    assert shown(table) == {
        "a": ["71.0", "25.1"],
        "b": [None, "30.5"],
        "random": [None, "1.8"],
        "chance": ["10.0", None],
    }
    assert row(table, "b").cells[1].is_best and not row(table, "a").cells[1].is_best
    assert table.notes == ()
    assert table.heads[1].label == "ava/linear@honest@1:mean_ap"


def test_columns_that_are_found_show_the_metric_of_their_task() -> None:
    table = join(board(), [sound_record(task="what"), box_record(0.25, probe="linear")])
    assert [(h.column.task, h.column.metric) for h in table.heads] == [
        ("ava", "mean_ap"),
        ("what", "top1"),
    ]


@pytest.mark.parametrize(
    ("metric", "task", "record"),
    [("top1", "ava", box_record(0.3)), ("mean_ap", "what", sound_record(task="what"))],
)
def test_a_metric_that_the_records_of_a_task_lack_is_refused(
    metric: str, task: str, record: Record
) -> None:
    with pytest.raises(UsageError, match=f"shows {metric} of {task}, whose records have"):
        join(board(column(task=task, metric=metric)), [record])


def with_options(record: Record, **options: Any) -> Record:
    task = record.task.model_copy(update={"options": {**record.task.options, **options}})
    return record.model_copy(update={"task": task})


@pytest.mark.parametrize(
    ("other", "notes"),
    [
        (
            with_options(box_record(0.9, encoder="c", probe="linear"), threshold=0.5),
            ["threshold 0.5; the column uses 0.8"],
        ),
        (
            with_options(
                box_record(0.9, encoder="c", probe="linear", rules="slowfast"), rules="slowfast"
            ),
            ["rules slowfast; the column uses official"],
        ),
        (
            box_record(0.9, encoder="c", probe="linear", files={"detections": digest("other")}),
            [
                f"different detections file (sha256 {digest('other')[:8]}; the column uses"
                f" sha256 {digest('boxes')[:8]})"
            ],
        ),
        (
            box_record(0.9, encoder="c", probe="linear", lost=10),
            [
                "scored 90 of 100 boxes (10 undecodable, counted as wrong); the rest could change"
                " the result by up to 10.0 points"
            ],
        ),
    ],
)
def test_other_rules_thresholds_and_files_of_boxes_are_marked(
    other: Record, notes: list[str]
) -> None:
    usual = {"rules": "official", "threshold": 0.8, "detections": "/here/boxes.csv"}
    files = {"detections": digest("boxes")}
    records = [
        with_options(box_record(value, encoder=name, probe="linear", files=files), **usual)
        for name, value in (("a", 0.2), ("b", 0.3))
    ]
    fields = {**other.task.options}
    other = with_options(other, **{**usual, "detections": "/there.csv", **fields})
    if not other.task.files.get("detections"):
        task = other.task.model_copy(update={"files": records[0].task.files})
        other = other.model_copy(update={"task": task})
    table = join(board(BOXES), [*records, other])
    assert list(table.notes) == notes
    best = [r.name for r in table.rows if r.cells[0].is_best]
    assert best == (["c"] if notes[0].startswith("scored") else ["b"])


def test_boxes_left_out_of_the_count_are_told() -> None:
    record = box_record(0.5, lost=10)
    config = {**record.config, "on_unreadable": "skip"}
    [note] = notes_on(record.model_copy(update={"config": config}), record, "honest@1")
    assert "10 undecodable, excluded from the score" in note


def test_facts_of_a_record_of_boxes_have_all_rules_and_every_class() -> None:
    facts = facts_of(box_record(0.25, lost=10))
    assert facts["Result"] == [
        "frame mAP at IoU 0.5: 25.00 by the official rules (90 boxes scored)",
        "by the rules of official 25.00, slowfast 25.00, mmaction2 25.00",
        "over all 100 boxes between 22.50 and 32.50",
        "30 annotated key frames",
        "ground truth: 40 of 40 rows compared",
        "detections: 180 of 180 rows compared",
    ]
    assert facts["Classes"] == ["25.0 stand (1), 20 true boxes", "25.0 sit (3), 20 true boxes"]
    assert "threshold 0.8, boxes 100, key_frames 2, videos 1" in facts["Scored rows"]
    assert "Classes" not in facts_of(sound_record())


def test_head_that_the_scored_rows_chose_is_marked_in_cells_and_facts() -> None:
    def record(rule: str, scores: list[float | None]) -> Record:
        fields = sound_fields(task="what", correct=63, rows=100, protocol="vjepa2@1")
        fields["probe"]["selection"] = {
            "rule": rule,
            "holdout_rows": 0,
            "holdout_scores": [],
            "score_split_scores": scores,
        }
        return Record.model_validate(fields)

    peeked = record("best_on_score", [0.5, 0.63])
    mark = "best of 2 heads, chosen on the scored rows themselves: optimistically biased"
    table = join(board(column(protocol="vjepa2@1")), [peeked])
    assert table.notes == (mark,)
    assert table.rows[0].cells[0].notes == (1,)
    head = facts_of(peeked)["Head"]
    assert f"{mark}; they score 50.0 to 63.0 % there, median 56.5 %" in head
    assert not any("would have added" in line for line in head)
    # Scores that are only kept to show the gap choose nothing, and mark nothing.
    honest = record("honest", [0.65, 0.63])
    assert "the scored rows themselves" not in " ".join(notes_on(honest, honest, "vjepa2@1"))
    assert "on the scored rows instead would have added 2.0 points" in str(facts_of(honest))


def test_released_head_is_not_told_by_settings_that_fitted_nothing() -> None:
    fields = sound_fields(task="what", correct=63, rows=100)
    fields["probe"] |= {"released_sha256": digest("probe"), "log": {"head": 3}}
    fields |= {"train_labels": None}
    fields["data"]["fit"] = None
    fields["features"]["fit_key"] = None
    fields["id"] = id_of(fields)
    [line, *_] = facts_of(Record.model_validate(fields))["Head"]
    assert "head 3 of its file" in line and "lr" not in line


def test_one_network_at_two_inputs_has_two_rows_that_say_so() -> None:
    def at(size: int, **facts: Any) -> Record:
        fields = sound_fields(encoder="a", **facts)
        fields["encoder"]["image_size"] = size
        return Record.model_validate(fields)

    records = [at(224, task="what"), at(384, task="how", correct=80), at(224, task="how")]
    records.append(sound_record(encoder="b", task="what", correct=50))
    table = join(board(column(), column(task="how")), records)
    assert shown(table) == {
        "a (16 x 224²)": ["71.0", "71.0"],
        "b": ["50.0", None],
        "a (16 x 384²)": [None, "80.0"],
        "chance": ["10.0", "10.0"],
    }


def test_a_probe_with_settings_of_its_own_is_marked_and_never_the_best() -> None:
    def probed(name: str, correct: int, **options: Any) -> Record:
        fields = sound_fields(encoder=name, task="what", probe="linear", correct=correct)
        fields["config"]["probe_options"] = options
        fields["id"] = id_of(fields)
        return Record.model_validate(fields)

    records = [probed("a", 50), probed("b", 51), probed("c", 90, epochs=500, lr=[0.1])]
    table = join(board(column("linear")), records)
    assert [row(table, name).cells[0].is_best for name in "abc"] == [False, True, False]
    assert table.notes == (
        "linear with epochs 500, lr [0.1]; the column uses the default settings",
    )
    assert row(table, "c").cells[0].notes == (1,)
