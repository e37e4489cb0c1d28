"""Boxes of persons in the formats of SlowFast, AlphAction and mmaction2, read as one."""

import csv
import json
import pickle
import random
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.data.boxes.person_boxes import PersonBoxes, read_person_boxes, read_truth, together
from bench.errors import DataError

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats" / "ava"
SLOWFAST = FORMATS / "slowfast"
ALPHACTION = FORMATS / "alphaction_videomae"


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def listed(
    boxes: PersonBoxes,
) -> list[tuple[str, float, tuple[float, float, float, float], float, list[int]]]:
    """Return every box as (video, second, corners, score, labels), as read."""
    frames = boxes.frames
    labels = [[] for _ in range(len(boxes))]
    for row, label in zip(boxes.label_row.tolist(), boxes.label.tolist(), strict=True):
        labels[row].append(label)
    return [
        (frames.videos[v], m / 1e6, tuple(c), s, found)
        for v, m, c, s, found in zip(
            frames.video.tolist(),
            frames.micros.tolist(),
            boxes.corners.tolist(),
            boxes.score.tolist(),
            labels,
            strict=True,
        )
    ]


# ---------------------------------------------------------------------------------------- formats
def test_slowfast_rows_of_one_box_are_merged_with_their_labels() -> None:
    path = SLOWFAST / "person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv"
    boxes = read_person_boxes(path)
    assert listed(boxes) == [
        ("yyMadeUpVid", 902.0, (0.036, 0.098, 0.55, 0.979), 0.995518, [12, 79]),
        ("yyMadeUpVid", 903.0, (0.01, 0.02, 0.2, 0.3), 0.412, []),
    ]
    assert boxes.format == "SlowFast CSV"
    assert boxes.counts == {
        "rows": 3,
        "clipped": 0,
        "without_area": 0,
        "repeated": 1,
        "of_several_scores": 0,
        "boxes": 2,
    }


def test_slowfast_boxes_without_labels() -> None:
    boxes = read_person_boxes(SLOWFAST / "ava_val_predicted_boxes.csv")
    assert [one[3] for one in listed(boxes)] == [0.995518, 0.977824, 0.412]
    assert not len(boxes.label)


def test_alphaction_boxes_are_pixels_of_the_sizes_beside_them(tmp_path: Path) -> None:
    boxes = read_person_boxes(ALPHACTION / "ava_val_det_person_bbox.json")
    assert boxes.images == ALPHACTION / "ava_val_v2.2_min.json"
    # [23, 35.3, 329, 317.2] of 640 x 360: 23 / 640, 35.3 / 360, 352 / 640, 352.5 / 360
    corners = (0.035938, 0.098056, 0.55, 0.979167)
    assert listed(boxes) == [("yyMadeUpVid", 902.0, corners, 0.9955, [])]
    elsewhere = tmp_path / "boxes.json"
    elsewhere.write_bytes((ALPHACTION / "ava_val_det_person_bbox.json").read_bytes())
    with pytest.raises(DataError, match=r"_min\.json .*next to it, but there is none"):
        read_person_boxes(elsewhere)
    again = read_person_boxes(elsewhere, images=boxes.images)
    assert listed(again) == listed(boxes)


def test_mmaction2_proposals(tmp_path: Path) -> None:
    content = {
        "v,1,0902": [[0.1, 0.2, 0.5, 0.6, 0.9], [0, 0, 1, 1, 0.2]],
        "w,903": [],
        "w,904.5": [],
    }
    content["w,904.5"] = [[0.25, 0.25, 0.5, 0.5, 1.0]]
    boxes = read_person_boxes(text(tmp_path / "p.json", json.dumps(content)))
    assert listed(boxes) == [
        ("v,1", 902.0, (0.1, 0.2, 0.5, 0.6), 0.9, []),
        ("v,1", 902.0, (0.0, 0.0, 1.0, 1.0), 0.2, []),
        ("w", 904.5, (0.25, 0.25, 0.5, 0.5), 1.0, []),
    ]


def test_three_formats_of_the_same_boxes_agree(tmp_path: Path) -> None:
    """Random boxes on a grid of pixels, written by hand-made writers, come back the same."""
    chance = random.Random(5)
    rows = []
    for video in ("b", "a"):
        for second in (902, 903):
            for _ in range(4):
                x1, y1 = chance.randrange(0, 50), chance.randrange(0, 30)
                x2, y2 = x1 + chance.randrange(1, 50), y1 + chance.randrange(1, 20)
                rows.append((video, second, x1, y1, x2, y2, round(chance.random(), 4)))
    lines = [f"{v},{s},{a / 100},{b / 50},{c / 100},{d / 50},,{p}" for v, s, a, b, c, d, p in rows]
    slow = read_person_boxes(text(tmp_path / "s.csv", "\n".join(lines)))
    proposals, images, items = {}, [], []
    for v, s, a, b, c, d, p in rows:
        proposals.setdefault(f"{v},{s:04d}", []).append([a / 100, b / 50, c / 100, d / 50, p])
        key = f"{v}/{s}"
        size = {"width": 200, "height": 200}
        if key not in [image["id"] for image in images]:
            images.append({"id": key, "movie": v, "timestamp": s, **size})
        box = [2 * a, 4 * b, 2 * (c - a), 4 * (d - b)]
        items.append({"image_id": key, "bbox": box, "score": p})
    text(tmp_path / "x_min.json", json.dumps({"images": images, "annotations": []}))
    alpha = read_person_boxes(text(tmp_path / "a.json", json.dumps(items)))
    mm = read_person_boxes(text(tmp_path / "m.json", json.dumps(proposals)))
    assert len(slow) > 10
    assert listed(slow) == listed(alpha) == listed(mm)


def test_merging_equals_a_plain_loop_over_rows(tmp_path: Path) -> None:
    chance, lines = random.Random(3), []
    for _ in range(400):
        box = chance.choice(
            ["0.1,0.1,0.5,0.5", "0.1,0.1,0.5,0.6", "0.100,0.1,0.50,0.5", "0.3,0,0.3,1"]
        )
        frame = f"{chance.choice('ba')},{chance.choice(['0902', '902.0', '903'])}"
        lines.append(f"{frame},{box},{chance.choice([-1, '', 3, 12])},{chance.choice([0.5, 0.9])}")
    boxes = read_person_boxes(text(tmp_path / "b.csv", "\n".join(lines)))
    expected: dict = {}
    several, flat = set(), 0
    for video, second, *corners, action, score in csv.reader(lines):
        x1, y1, x2, y2 = map(float, corners)
        if x1 >= x2:
            flat += 1
            continue
        key = (video, float(second), (x1, y1, x2, y2))
        found = expected.setdefault(key, [float(score), []])
        several |= {key} if found[0] != float(score) else set()
        found[0] = max(found[0], float(score))
        if action not in ("", "-1") and int(action) not in found[1]:
            found[1].append(int(action))
    assert listed(boxes) == [(*key, score, labels) for key, (score, labels) in expected.items()]
    assert boxes.counts["without_area"] == flat > 0
    assert boxes.counts["of_several_scores"] == len(several) > 0
    assert boxes.counts["repeated"] == 400 - flat - len(expected)


# ---------------------------------------------------------------------------------- ground truth
def test_both_ground_truths_give_the_same_boxes() -> None:
    truth, boxes = read_truth(FORMATS / "ava_val_v2.2.csv")
    assert (len(truth), boxes.format) == (3, "ground truth CSV")
    assert [(one[1], one[4], one[3]) for one in listed(boxes)] == [
        (902.0, [12, 79], 1.0),
        (1798.0, [17], 1.0),
    ]
    rows, other = read_truth(ALPHACTION / "ava_val_v2.2_min.json")
    assert rows.action.tolist() == [12, 79]
    assert listed(other)[0][4] == [12, 79]
    np.testing.assert_allclose(other.corners[0], boxes.corners[0], atol=1e-3)
    assert rows.corners.tolist() == [other.corners[0].tolist()] * 2


def test_lists_together_make_one_box_of_equal_ones(tmp_path: Path) -> None:
    a = read_person_boxes(text(tmp_path / "a.csv", "v,902,0,0,0.5,0.5,3,0.7\nw,902,0,0,1,1,4,1\n"))
    b = read_person_boxes(text(tmp_path / "b.csv", "w,902,0,0,0.1,1,,1\nv,902,0,0,0.5,0.5,5,0.9\n"))
    assert listed(together([a, b])) == [
        ("v", 902.0, (0.0, 0.0, 0.5, 0.5), 0.9, [3, 5]),
        ("w", 902.0, (0.0, 0.0, 1.0, 1.0), 1.0, [4]),
        ("w", 902.0, (0.0, 0.0, 0.1, 1.0), 1.0, []),
    ]


def test_some_boxes_keep_their_labels(tmp_path: Path) -> None:
    lines = ["v,902,0,0,0.5,0.5,3,1", "v,902,0,0,0.6,0.5,4,1", "v,902,0,0,0.6,0.5,5,1"]
    boxes = read_person_boxes(text(tmp_path / "a.csv", "\n".join(lines)))
    assert [one[4] for one in listed(boxes.at(np.array([1, 0])))] == [[4, 5], [3]]
    assert [one[4] for one in listed(boxes.at(np.array([False, True])))] == [[4, 5]]
    assert not len(boxes.without_labels.label)


# --------------------------------------------------------------------------- what is wrong, and how
def test_boxes_a_little_out_of_the_frame_are_clipped_and_counted(tmp_path: Path) -> None:
    lines = ["v,902,-0.01,0,0.5,1.04,,1", "v,902,1.01,0.1,1.02,0.5,,1", "v,902,0,0,1,1,,1"]
    boxes = read_person_boxes(text(tmp_path / "a.csv", "\n".join(lines)))
    assert boxes.corners.tolist() == [[0, 0, 0.5, 1], [0, 0, 1, 1]]
    assert (boxes.counts["clipped"], boxes.counts["without_area"]) == (2, 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("v,902,0.5,0,0.4,1,,1", r"line 2: the box 0.5, 0, 0.4, 1 is inverted"),
        ("v,902,12,30,200,310,,1", r"line 2: the box 12, .* extends far beyond its frame"),
        ("v,902,0,0,1,1,,12", r"line 2: the score '12' is not between 0 and 1"),
        ("v,902,0,0,1,1,,", r"line 2: the score '' is not between"),
        ("v,902,0,0,1,1,0.5,1", r"line 2: the action '0.5' is not a class id"),
        ("v,902,0,0,1,1,0,1", r"line 2: the action '0' is not a class id"),
        ("v,902,0,0,1,1,nan,1", r"line 2: the action 'nan' is not a class id"),
        ("v,902,0,0,1,x,,1", r"line 2: the box 0, 0, 1, x does not consist of four numbers"),
        ("v,902,0,0,1,nan,,1", r"line 2: the box 0, 0, 1, nan does not consist of four numbers"),
        ("v,x,0,0,1,1,,1", r"line 2: the timestamp 'x' is not a number"),
        (",902,0,0,1,1,,1", r"line 2: the video has no name"),
        ("v,902,0,0,1,1,1", r"line 2: 7 columns instead of 8"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    path = text(tmp_path / "a.csv", f"v,902,0,0,1,1,,1\n{line}\n")
    with pytest.raises(DataError, match=said):
        read_person_boxes(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: the timestamp 'second' .* have no header"):
        header = "video,second,x1,y1,x2,y2,action,score\n"
        read_person_boxes(text(tmp_path / "h.csv", header + "v,902,0,0,1,1,,1\n"))
    with pytest.raises(DataError, match="is empty: it lists no boxes"):
        read_person_boxes(text(tmp_path / "e.csv", "\n \n"))
    with pytest.raises(DataError, match="there is no file"):
        read_person_boxes(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is not JSON"):
        read_person_boxes(text(tmp_path / "a.json", '{"v,902": ['))
    for content, said in (
        ({"v902": [[0, 0, 1, 1, 1]]}, "the key 'v902' is not a key frame"),
        ({"v,902": [[0, 0, 1, 1]]}, "boxes have 4 numbers instead of 5"),
        ({"v,902": [[0, 0, 1, 1, 1], [0, 0, 1]]}, "a value is not a list of boxes"),
        (
            {"v,902": [[0, 0, 1, 1, 1], [0.5, 0, 0.2, 1, 1]]},
            r"box 2 \(v, second 902\): .* inverted",
        ),
    ):
        with pytest.raises(DataError, match=said):
            read_person_boxes(text(tmp_path / "b.json", json.dumps(content)))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ({"image_id": 7}, r"1 of 1 boxes are on key frames that .*x_min.json does not list.* 7;"),
        ({"bbox": [0, 0, 1]}, "lacks an image_id or a bbox of four numbers"),
        ({"bbox": [300, 0, 30, 10]}, r"box 1 \(v, second 902\): .* extends far beyond its frame"),
        ({"score": None}, "score"),
        ({"bbox": [3, 3, -2, 1]}, "is inverted"),
    ],
)
def test_wrong_boxes_of_alphaction_are_named(
    tmp_path: Path, box: dict[str, int | list[int] | None], said: str
) -> None:
    images = [{"id": 1, "movie": "v", "timestamp": 902, "width": 100, "height": 50}]
    text(tmp_path / "x_min.json", json.dumps({"images": images}))
    content = [{"image_id": 1, "bbox": [0, 0, 10, 10], "score": 0.5, **box}]
    with pytest.raises(DataError, match=said):
        read_person_boxes(text(tmp_path / "d.json", json.dumps(content)))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickle_is_refused_with_the_line_that_turns_it_into_json(
    tmp_path: Path, protocol: int
) -> None:
    """The line is run as it is printed, on a pickle of arrays as mmaction2 ships them."""
    path = tmp_path / "ava dense.pkl"
    proposals = {
        "v,0902": np.array([[0.1, 0.2, 0.5, 0.6, 0.9]], dtype=np.float32),
        "w,0903": np.zeros((0, 5)),
    }
    path.write_bytes(pickle.dumps(proposals, protocol=protocol))
    with pytest.raises(DataError, match="is a pickle, and reading one runs") as refused:
        read_person_boxes(path)
    command = shlex.split(str(refused.value).partition(": python ")[2])
    subprocess.run([sys.executable, *command], check=True)
    boxes = read_person_boxes(tmp_path / "ava dense.json")
    [(video, second, corners, score, labels)] = listed(boxes)
    assert (video, second, labels) == ("v", 902.0, [])
    assert corners == (0.1, 0.2, 0.5, 0.6), "the rounding removes what float32 added"
    assert score == pytest.approx(0.9, abs=1e-7)
