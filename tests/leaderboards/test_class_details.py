"""Classes of a record against counts by hand over the rows of real prediction files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.records.record import Record, RecordError
from leaderboards.rows.class_details import class_details, compact_json, details_of
from tests.kept_records import kept_clips, kept_predictions
from tests.sound_record import box_record

ROWS = 60


def drawn_record(
    folder: Path,
    classes: int = 6,
    seed: int = 0,
    *,
    unreadable: tuple[int, ...] = (),
    on_unreadable: str = "wrong",
) -> tuple[Record, list[int], list[int | None]]:
    """Write a record with random predictions; return it with its labels and predictions."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes - 1, ROWS)  # the last class has no rows
    probabilities = random.dirichlet(np.ones(classes), ROWS).astype(np.float32)
    record = kept_predictions(
        folder,
        labels,
        probabilities,
        classes=[f"<digit> {c}" for c in range(classes)],
        unread=unreadable,
        on_unreadable=on_unreadable,
        encoder=f"encoder {seed}",
    )
    predicted = [None if i in unreadable else int(p) for i, p in enumerate(probabilities.argmax(1))]
    return record, labels.tolist(), predicted


def by_hand(labels: Sequence[int], predicted: Sequence[int | None]) -> list[tuple[int, float, int]]:
    """Return (class, share right, rows), worst first, counted row by row."""
    rows = Counter(labels)
    right = Counter(a for a, b in zip(labels, predicted, strict=True) if a == b)
    found = [(c, right[c] / n, n) for c, n in rows.items()]
    return sorted(found, key=lambda one: (one[1], -one[2], one[0]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classes_are_those_counted_row_by_row(seed: int, tmp_path: Path) -> None:
    record, labels, predicted = drawn_record(tmp_path, seed=seed)
    details = class_details(record, tmp_path)
    assert [(s.place, s.value, s.count) for s in details.scores] == by_hand(labels, predicted)
    assert details.metric == "accuracy"
    assert details.names == tuple(f"<digit> {c}" for c in range(6))


def test_confusions_are_those_counted_row_by_row(tmp_path: Path) -> None:
    record, labels, predicted = drawn_record(tmp_path, unreadable=(0, 1, 2))
    details = class_details(record, tmp_path)
    assert sum(one.lost for one in details.confusions) == 3
    for one in details.confusions:
        own = [p for a, p in zip(labels, predicted, strict=True) if a == one.place]
        counts = Counter(p for p in own if p not in (None, one.place))
        assert one.count == len(own)
        assert one.lost == own.count(None)
        expected = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
        assert list(one.taken) == expected
    assert [one.place for one in details.confusions] == [s.place for s in details.scores][:5]


def test_unreadable_rows_are_wrong_or_left_out_as_the_record_counts_them(tmp_path: Path) -> None:
    unreadable = (3, 4, 5, 6)
    wrong, labels, predicted = drawn_record(tmp_path / "a", unreadable=unreadable)
    assert sum(s.count for s in class_details(wrong, tmp_path / "a").scores) == ROWS
    skipped, _, _ = drawn_record(tmp_path / "b", unreadable=unreadable, on_unreadable="skip")
    pairs = [(a, p) for a, p in zip(labels, predicted, strict=True) if p is not None]
    found = class_details(skipped, tmp_path / "b")
    assert [(s.place, s.value, s.count) for s in found.scores] == by_hand(*zip(*pairs, strict=True))
    assert sum(one.lost for one in found.confusions) == 0


def test_a_class_that_is_always_right_is_not_confused(tmp_path: Path) -> None:
    record = kept_clips(tmp_path, np.arange(40) % 10 != 3)
    details = class_details(record, tmp_path)
    assert [s.place for s in details.scores if s.value < 1] == [3]
    [only] = details.confusions
    assert (only.place, only.count, only.taken) == (3, 4, ((4, 4),))


def test_classes_of_boxes_are_the_ap_on_record(tmp_path: Path) -> None:
    details = class_details(box_record(0.25), tmp_path)
    assert details.metric == "AP"
    assert [(s.place, s.value, s.count) for s in details.scores] == [(0, 0.25, 20), (1, 0.25, 20)]
    assert details.names == ("stand", "sit")


def test_predictions_of_another_file_tell_no_classes(tmp_path: Path) -> None:
    record, _, _ = drawn_record(tmp_path / "a")
    other, _, _ = drawn_record(tmp_path / "b", seed=1)
    (tmp_path / "b" / f"{other.id}.parquet").replace(tmp_path / "a" / f"{record.id}.parquet")
    with pytest.raises(RecordError, match="was changed after record"):
        class_details(record, tmp_path / "a")
    found, failed = details_of([record, box_record(0.5)], tmp_path / "a", 10)
    assert len(found) == 1 and record.id not in found
    assert "was changed after record" in failed[0]


def test_of_many_classes_the_page_has_the_worst_and_the_best(tmp_path: Path) -> None:
    record, labels, predicted = drawn_record(tmp_path, classes=40)
    text = compact_json({record.id: class_details(record, tmp_path)})
    assert "<" not in text
    held = json.loads(text)
    own = held["records"][record.id]
    expected = [[c, round(v, 4), n] for c, v, n in by_hand(labels, predicted)]
    assert own["classes"] == len(expected) > 24
    assert own["worst"] == expected[:10] and own["best"] == expected[-10:]
    assert held["names"][own["names"]][7] == "<digit> 7"


def test_only_so_many_records_carry_their_classes(tmp_path: Path) -> None:
    records = [drawn_record(tmp_path, seed=seed)[0] for seed in range(2)]
    found, failed = details_of([*records, box_record(0.5)], tmp_path, 1)
    assert list(found) == [records[0].id] and not failed
