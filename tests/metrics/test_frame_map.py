"""Frame mAP of AVA: the golden cases of three evaluators, and plain Python on random files."""

import heapq
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.boxes.ava_csv import Boxes, read_boxes, read_excluded
from bench.data.boxes.ava_labels import read_action_list
from bench.data.boxes.regions import FrameTruth
from bench.errors import DataError
from bench.metrics import frame_map as metric
from bench.metrics.frame_map import FrameMap
from bench.metrics.frame_matching import average_precision, best_of_frames, iou
from bench.metrics.frame_rules import OFFICIAL, RULES
from benchmarks.plain_frame_map import plain_frame_map

GOLDEN = Path(__file__).parents[1] / "fixtures" / "ava"
CASES = ("case1_random", "case2_duplicates_ties", "case3_excluded_and_outside")
CLASSES = {1: "stand", 3: "sit", 8: "run"}


def frame_map(
    boxes: Any, detections: Any, classes: Any, *, rules: Any = OFFICIAL, excluded: Any = None
) -> Any:
    ids = np.array(sorted(classes))
    truth = FrameTruth(boxes=boxes, excluded=excluded, classes=classes, ids=ids, rules=rules.name)
    return metric.frame_map(truth, detections, rules)


def score(
    case: str,
    rules: str = "official",
    *,
    truth: str = "gt.csv",
    detections: Path | None = None,
    excluded: bool = False,
) -> FrameMap:
    folder = GOLDEN / case
    return frame_map(
        read_boxes(folder / truth, "ground truth"),
        read_boxes(detections or folder / "detections.csv", "detections"),
        read_action_list(folder / "labelmap.pbtxt"),
        rules=RULES[rules],
        excluded=read_excluded(folder / "excluded_timestamps.csv") if excluded else None,
    )


def agrees(found: FrameMap, expected: dict[str, Any]) -> None:
    assert found.mean_ap == pytest.approx(expected["mAP@0.5"], abs=1e-9)
    assert {str(one.id) for one in found.classes} == set(expected["AP"]) | {
        str(one.id) for one in found.classes if one.ap is None
    }
    for one in found.classes:
        ap = expected["AP"].get(str(one.id))
        assert (one.ap is None) if ap is None else one.ap == pytest.approx(ap, abs=1e-9)


def expected_of(case: str) -> dict[str, dict[str, Any]]:
    return json.loads((GOLDEN / case / "expected.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_of_the_official_program(case: str) -> None:
    agrees(score(case), expected_of(case)["activitynet_official"])


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_of_slowfast(case: str) -> None:
    agrees(score(case, "slowfast", excluded=True), expected_of(case)["slowfast"])


@pytest.mark.parametrize("case", [CASES[0], CASES[2]])
def test_golden_cases_of_mmaction2(case: str) -> None:
    agrees(score(case, "mmaction2", excluded=True), expected_of(case)["mmaction2"])


def test_golden_case_of_mmaction2_stops_at_the_inverted_box_and_goes_on_without(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"inverted .*: 1, .* 0.5, 0.0, 0.0, 0.5 .* second 904"):
        score(CASES[1], "mmaction2")
    rows = [line.split(",") for line in (GOLDEN / CASES[1] / "detections.csv").open()]
    kept = [row for row in rows if float(row[2]) < float(row[4])]
    assert len(rows) - len(kept) == 2
    (tmp_path / "kept.csv").write_text("".join(map(",".join, kept)))
    found = score(CASES[1], "mmaction2", detections=tmp_path / "kept.csv")
    agrees(found, expected_of(CASES[1])["mmaction2_after_dropping_inverted_boxes"])


def test_golden_variants_with_exclusions_and_declared_frames() -> None:
    expected = expected_of(CASES[2])
    agrees(score(CASES[2], excluded=True), expected["activitynet_official_rows_prefiltered"])
    declared = score(CASES[2], truth="gt_with_two_column_rows.csv")
    agrees(declared, expected["activitynet_official_two_column_gt"])
    assert declared.num_frames == score(CASES[2]).num_frames + 2


def test_the_tie_class_is_within_its_interval() -> None:
    ties = json.loads((GOLDEN / CASES[1] / "tie_sensitivity_class17.json").read_text())
    [found] = [one.ap for one in score(CASES[1]).classes if one.id == 17]
    assert ties["worst_case_fp_first"] <= found <= ties["best_case_tp_first"]
    assert found == pytest.approx(ties["stable_descending_input_order"], abs=1e-9)


# ---------------------------------------------------------------------------- against plain Python
BOXES = [
    *["0,0,0.5,0.5", "0,0,0.50,0.3", "0.1,0,0.6,0.5", "0.1,0.2,0.5,0.6", "0,0,1,1"] * 10,
    *["0,0.1,0.4,0.7", "0,0.1,0.2,0.7"] * 6,  # half as float64, less as float32
    "0.5,0.5,0.5,0.9",  # no width
    "0.2,0.7,0.9,0.7",  # no height
    "0,0.3,1,0.25",  # inverted, which no ground truth may be
]
FRAME = st.sampled_from(["a,0902", "a,902", "a,902.0", '"a", 903', "b-c,1e3", '"d,e",903.50'])
ACTION = st.sampled_from(["1", "1", "3", "8", "2", "-1"])


@st.composite
def rows(draw: Callable[..., Any], *, last: st.SearchStrategy, most: int, boxes: list[str]) -> str:
    """Draw the lines of a file, now and then of 2 or 7 columns; some stand there twice."""
    lines = []
    for _ in range(draw(st.integers(1, most))):
        width = draw(st.sampled_from([2, 7, 8, 8, 8, 8, 8]))
        cells = [draw(FRAME)]
        if width > 2:
            cells += [draw(st.sampled_from(boxes)), draw(ACTION), str(draw(last))][: width - 5]
        lines += [",".join(cells)] * draw(st.sampled_from([1, 1, 1, 2]))
    return "".join(line + "\n" for line in lines)


@settings(max_examples=250, deadline=None)
@given(
    truth=rows(last=st.integers(0, 2), most=12, boxes=BOXES[:-1]),
    detections=rows(last=st.sampled_from([0.1, 0.2, 0.20000000001, 0.9]), most=30, boxes=BOXES),
    excluded=st.none() | st.lists(FRAME, max_size=3),
    rules=st.sampled_from(sorted(RULES)),
)
def test_random_files_score_as_plain_python_does(
    tmp_path_factory: pytest.TempPathFactory,
    truth: str,
    detections: str,
    excluded: list[str] | None,
    rules: str,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "gt.csv").write_text(truth)
    (folder / "det.csv").write_text(detections)
    out = None
    if excluded is not None:
        out = folder / "out.csv"
        out.write_text("".join(f"{frame}\n" for frame in excluded))
    chosen = RULES[rules] if rules != "official" else replace(OFFICIAL, best_of_frame=4)

    def ours() -> FrameMap | None:
        return frame_map(
            read_boxes(folder / "gt.csv", "ground truth"),
            read_boxes(folder / "det.csv", "detections"),
            CLASSES,
            rules=chosen,
            excluded=read_excluded(out) if out else None,
        )

    try:
        mean, per_class = plain_frame_map(
            folder / "gt.csv",
            folder / "det.csv",
            CLASSES,
            rules=rules,
            excluded=out,
            best_of_frame=4,
        )
    except ValueError:
        with pytest.raises(DataError, match="inverted"):
            ours()
        return
    if math.isnan(mean):
        with pytest.raises(DataError, match="belong together"):
            ours()
        return
    found = ours()
    assert found.mean_ap == pytest.approx(mean, abs=1e-12)
    for one in found.classes:
        assert (one.ap is None) == (per_class[one.id] is None)
        assert one.ap is None or one.ap == pytest.approx(per_class[one.id], abs=1e-12)
    for fate in (found.truth, found.detections):
        count, *parts = fate.model_dump().values()
        assert count == sum(parts) and min(parts) >= 0
    assert sum(one.num_detections for one in found.classes) == found.detections.scored


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_the_best_rows_of_a_frame_are_those_that_the_official_heap_keeps(
    seed: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    num = 300
    frame, action = rng.integers(0, 4, num), rng.integers(1, 4, num)
    scores = rng.integers(0, rng.integers(2, 40), num) / 40
    corners = rng.integers(0, 3, (num, 4)) / 2
    heaps = {}
    for row in range(num):
        x1, y1, x2, y2 = corners[row].tolist()
        heap = heaps.setdefault(int(frame[row]), [])
        entry = (scores[row], action[row], y1, x1, y2, x2)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        elif scores[row] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    kept = best_of_frames(frame, scores, action, corners, most)
    for number, heap in heaps.items():
        mine = np.flatnonzero(kept & (frame == number))
        entries = [(scores[row], action[row], *corners[row][[1, 0, 3, 2]].tolist()) for row in mine]
        assert sorted(entries) == sorted(heap)


# ---------------------------------------------------------------------------------- worked by hand
def test_average_precision_worked_by_hand() -> None:
    # Ranked: right, wrong, right, wrong, right; 4 boxes to find. Precision at the right ones is
    # 1/1, 2/3, 3/5, which falls already, and the fourth step of recall is never made.
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, False, True, False, True])
    assert average_precision(scores, right, 4) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4, abs=1e-15)
    # Equal scores keep their order: wrong first is 1/2, and right first is 1.
    assert average_precision(np.array([0.5, 0.5]), np.array([False, True]), 1) == 0.5
    assert average_precision(np.array([0.5, 0.5]), np.array([True, False]), 1) == 1.0
    # Precision that rises later lifts the steps before it: 1/2 and 2/3 are both 2/3.
    assert average_precision(scores[:3], np.array([False, True, True]), 2) == pytest.approx(2 / 3)
    assert average_precision(scores[:0], right[:0], 3) == 0.0


def test_overlap_worked_by_hand() -> None:
    box = np.array([[0.0, 0.0, 0.5, 0.5]] * 3)
    others = np.array([[0.0, 0.0, 0.25, 0.5], [0.25, 0.25, 0.75, 0.75], [0.5, 0.0, 1.0, 0.5]])
    # 1/8 of 1/4; 1/16 of (1/4 + 1/4 - 1/16); they only touch.
    assert iou(box, others).tolist() == pytest.approx([0.5, 1 / 7, 0.0], abs=1e-15)


def test_rules_worked_by_hand(tmp_path: Path) -> None:
    def files(truth: str, detections: str) -> list[Boxes]:
        (tmp_path / "gt.csv").write_text(truth)
        (tmp_path / "det.csv").write_text(detections)
        pair = (tmp_path / "gt.csv", "ground truth"), (tmp_path / "det.csv", "detections")
        return [read_boxes(path, what) for path, what in pair]

    # The better of two detections of one box is second in the file: SlowFast matches the first.
    box = "0.1,0.1,0.5,0.5,3"
    pair = files(f"a,902,{box},0\n", f"a,902,{box},0.2\na,902,{box},0.7\n")
    results = {name: frame_map(*pair, CLASSES, rules=rules) for name, rules in RULES.items()}
    assert [results[name].mean_ap for name in ("official", "slowfast", "mmaction2")] == [1, 0.5, 1]
    # A class without detections is 0 for the official program, and forgotten by mmaction2. A frame
    # without ground truth is ignored by both, and its detection wrong for SlowFast.
    truth = f"a,902,{box},0\na,902,0.1,0.1,0.5,0.5,8,0\n"
    pair = files(truth, f"a,903,{box},0.9\na,902,{box},0.5\n")
    results = {name: frame_map(*pair, CLASSES, rules=rules) for name, rules in RULES.items()}
    assert [results[name].mean_ap for name in ("official", "slowfast", "mmaction2")] == [
        0.5, 0.25, 1.0,
    ]  # fmt: skip
    assert results["official"].detections.frames_without_truth == 1
    assert results["slowfast"].num_wrong_by_frame == 1
    # The first detection overlaps both boxes by 3/5, the second is the first box. The higher person
    # goes first, but for SlowFast the file; a taken box is never replaced by the other.
    truth = "a,902,0.125,0,0.625,1,3,0\na,902,0.375,0,0.875,1,3,1\n"
    detections = "a,902,0.25,0,0.75,1,3,0.9\na,902,0.125,0,0.625,1,3,0.8\n"
    pair = files(truth, detections)
    results = {name: frame_map(*pair, CLASSES, rules=rules) for name, rules in RULES.items()}
    assert [results[name].mean_ap for name in ("official", "slowfast", "mmaction2")] == [1, 0.5, 1]
    # With equal persons the file decides for all.
    pair = files(truth.replace(",1\n", ",0\n"), detections)
    assert {frame_map(*pair, CLASSES, rules=rules).mean_ap for rules in RULES.values()} == {0.5}
    # Decimals: half of the larger box as float64, 0.4999999988 as float32.
    pair = files("a,902,0,0.1,0.4,0.7,3,0\n", "a,902,0,0.1,0.2,0.7,3,0.9\n")
    results = {name: frame_map(*pair, CLASSES, rules=rules) for name, rules in RULES.items()}
    assert [results[name].mean_ap for name in ("official", "slowfast", "mmaction2")] == [1, 1, 0]


def test_fifty_rows_of_a_frame_count_and_one_more_does_not(tmp_path: Path) -> None:
    # 50 rows of another evaluated class are better than the only right one of class 3.
    lines = [f"a,902,0.1,0.1,0.5,0.5,1,0.{99 - row}" for row in range(50)]
    right = "a,902,0.1,0.1,0.5,0.5,3,0.01"
    (tmp_path / "gt.csv").write_text("a,902,0.1,0.1,0.5,0.5,3,0\n")
    truth = read_boxes(tmp_path / "gt.csv", "ground truth")
    for before, ap in (([*lines[:49], right], 1.0), ([*lines, right], 0.0)):
        (tmp_path / "det.csv").write_text("\n".join(before))
        found = frame_map(truth, read_boxes(tmp_path / "det.csv", "detections"), CLASSES)
        assert found.mean_ap == ap and found.detections.beyond_best == len(before) - 50
        # Of a class outside of the label map they would not have taken a place.
        assert frame_map(truth, read_boxes(tmp_path / "det.csv", "detections"), {3: "sit"}).mean_ap
