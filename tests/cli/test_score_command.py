"""`bench score ava`: what it prints, and what it refuses with a sentence."""

import csv
import hashlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.boxes import ava_csv
from bench.data.boxes.ava_csv import read_boxes, read_excluded
from bench.data.boxes.ava_labels import read_action_list
from tests.commands import Bench

GOLDEN = Path(__file__).parents[1] / "fixtures" / "ava"
FORMATS = GOLDEN / "formats"
ROUNDED = GOLDEN.parent / "cases" / "ava"
CASE = GOLDEN / "case3_excluded_and_outside"
ITEMS = 'item {\n  name: "stand"\n  id: 12\n}\nitem {\n  name: "listen"\n  id: 79\n}\n'
TRUTH = "a,0902,0.1,0.1,0.5,0.5,12,0\na,0903,0.1,0.1,0.5,0.5,79,1\n"
FOUND = "a,0902,0.1,0.1,0.5,0.5,12,0.9\na,0903,0.1,0.1,0.5,0.5,79,0.8\n"


@pytest.fixture
def score(bench: Bench, tmp_path: Path) -> Bench:
    """Write files and score them; returns (exit code, stdout, stderr)."""

    def call(
        *more: object,
        gt: str = TRUTH,
        detections: str = FOUND,
        label_map: str = ITEMS,
        excluded: bytes | str | None = None,
        name: str = "det.csv",
    ) -> tuple[int, str, str]:
        contents = {"gt.csv": gt, name: detections, "map.pbtxt": label_map, "out.csv": excluded}
        for file, content in contents.items():
            if isinstance(content, str):
                content = content.encode()
            if content is not None:
                (tmp_path / file).write_bytes(content)
        words = ["--gt", tmp_path / "gt.csv", "--detections", tmp_path / name]
        words += ["--label-map", tmp_path / "map.pbtxt", *more]
        words += [] if excluded is None else ["--excluded", tmp_path / "out.csv"]
        return bench("score", "ava", *words)

    return call


def of_case(case: Path, *more: object) -> list[Any]:
    files = {"--gt": "gt.csv", "--detections": "detections.csv", "--label-map": "labelmap.pbtxt"}
    return ["score", "ava", *(w for k, v in files.items() for w in (k, case / v)), *more]


def test_json_holds_every_digit_every_class_and_the_fate_of_every_row(bench: Bench) -> None:
    out = CASE / "excluded_timestamps.csv"
    code, said, _ = bench(*of_case(CASE, "--excluded", out, "--json"))
    found = json.loads(said)
    expected = json.loads((CASE / "expected.json").read_text())
    expected = expected["activitynet_official_rows_prefiltered"]
    assert code == 0 and found["rules"] == "official"
    assert found["mAP@0.5"] == pytest.approx(expected["mAP@0.5"], abs=1e-9)
    assert {str(one["id"]): one["AP"] for one in found["classes"]} == pytest.approx(expected["AP"])
    assert found["classes"][0]["name"] == "made-up action 01 (x/y)"

    # Counted without our readers: excluded first, then other classes, then frames without truth.
    frames = {tuple(row) for row in csv.reader(out.open())}
    known = {one["id"] for one in found["classes"]}
    truth, given = (list(csv.reader((CASE / name).open())) for name in ("gt.csv", "detections.csv"))
    kept = [row for row in given if tuple(row[:2]) not in frames]
    classed = [row for row in kept if int(row[6]) in known]
    on = {tuple(row[:2]) for row in truth}
    scored = [row for row in classed if tuple(row[:2]) in on]
    assert found["detections"] == {
        "rows": len(given),
        "excluded": len(given) - len(kept),
        "other_classes": len(kept) - len(classed),
        "frames_without_truth": len(classed) - len(scored),
        "beyond_best": 0,
        "without_area": 0,
        "scored": len(scored),
    }
    boxes = [row for row in truth if tuple(row[:2]) not in frames and int(row[6]) in known]
    for one in found["classes"]:
        assert one["ground_truth"] == sum(int(row[6]) == one["id"] for row in boxes)
        assert one["detections"] == sum(int(row[6]) == one["id"] for row in scored)
    assert found["ground_truth"]["scored"] == len(boxes)
    digest = hashlib.sha256((CASE / "detections.csv").read_bytes()).hexdigest()
    assert found["files"]["detections"]["sha256"] == digest


def test_the_text_names_the_rules_and_the_classes(bench: Bench) -> None:
    case = GOLDEN / "case1_random"
    for rules, digits in (("official", "0.617137492137492"), ("mmaction2", "0.6248013098013098")):
        code, said, _ = bench(*of_case(case, "--rules", rules))
        assert code == 0 and said.splitlines()[-1] == f"mAP@0.5 {digits} ({rules} rules)"
    _, said, _ = bench(*of_case(case))
    lines = [" ".join(line.split()) for line in said.splitlines()]
    # All scores differ: 15 and 9 rows of these classes are among the first 50 of their frames.
    assert "9 made-up action 09 (x/y) 0.18181818181818182 2 15" in lines
    assert "4 made-up action 04 (x/y) - 0 9" in lines
    assert "dropped: beyond the best 50 per frame 0 1,230" in lines


def test_spellings_of_a_second_and_of_a_file_agree(score: Bench) -> None:
    swapped = ITEMS.replace("  id: 12", "\t\tlabel_id:12").replace("  name", "name")
    for gt, detections, label_map in (
        (TRUTH.replace("0902", "902"), FOUND.replace("0902", "902.0"), swapped),
        (TRUTH.replace("\n", "\r\n"), "\ufeff" + FOUND.rstrip(), ITEMS.replace("\n", " ")),
        (TRUTH.replace("12,0\n", "12\n"), f"\n{FOUND}a,0904\n\n", f"# AVA\n{ITEMS}"),
    ):
        code, said, err = score("--json", gt=gt, detections=detections, label_map=label_map)
        assert code == 0, err
        found = json.loads(said)
        assert found["mAP@0.5"] == 1.0 and found["detections"]["scored"] == 2
        assert [one["name"] for one in found["classes"]] == ["stand", "listen"]


def test_examples_of_every_layout_are_read() -> None:
    truth = read_boxes(FORMATS / "ava_val_v2.2.csv", "ground truth")
    assert truth.frames.videos == ("yyMadeUpVid",) and truth.action.tolist() == [12, 79, 17]
    assert truth.frames.micros.tolist() == [902_000_000, 902_000_000, 1798_000_000]
    assert truth.corners[2].tolist() == [0.444, 0.054, 0.992, 0.99]
    assert truth.last.tolist() == [1, 1, 0]
    train = read_boxes(FORMATS / "ava_train_v2.2.csv", "ground truth")
    assert train.frames.videos == ("-xMadeUpVid",) and train.action.tolist() == [80, 9, 12]
    given = read_boxes(FORMATS / "submission_detections.csv", "detections")
    assert given.last.tolist() == [0.81, 0.04]
    labelled = read_boxes(FORMATS / "ava_detection_val_boxes_and_labels.csv", "detections")
    assert labelled.action.tolist() == [12, 79, -1]
    out = read_excluded(FORMATS / "ava_val_excluded_timestamps_v2.2.csv")
    assert out.micros.tolist() == [905_000_000, 1203_000_000]
    names = {1: "bend/bow (at the waist)", 2: "crawl"}
    assert read_action_list(FORMATS / "ava_action_list_v2.2.pbtxt") == names
    short = FORMATS / "ava_action_list_v2.2_for_activitynet_2019.pbtxt"
    assert read_action_list(short) == {1: names[1], 3: "crouch/kneel"}


@pytest.mark.parametrize("block_bytes", [200, 1 << 20])
def test_lines_of_every_width_keep_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(ava_csv, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    expected, declared, lines = [], [], []
    for row in range(300):
        video, second = f"v{rng.integers(30)}", int(rng.integers(900))
        width = int(rng.choice([2, 7, 8]))
        cells = [video, second, 0, 0.25, 1, 0.5, row, 0.5][:width]
        lines.append(",".join(map(str, cells)) + ("\n\n" if row % 7 == 0 else "\n"))
        (declared if width == 2 else expected).append((video, second, row, 0.5 + (width == 7) / 2))
    (tmp_path / "mixed.csv").write_text("".join(lines))
    found = read_boxes(tmp_path / "mixed.csv", "detections")
    for frames, rows in ((found.frames, expected), (found.declared, declared)):
        assert [frames.videos[code] for code in frames.video] == [row[0] for row in rows]
        assert (frames.micros // 10**6).tolist() == [row[1] for row in rows]
    assert found.action.tolist() == [row[2] for row in expected]
    assert found.last.tolist() == [row[3] for row in expected]


def test_a_pickle_is_refused_and_the_named_conversion_makes_it_a_file_that_scores(
    score: Bench, tmp_path: Path
) -> None:
    box = np.array([[0.1, 0.1, 0.5, 0.5, 0.9]], dtype=np.float32)
    outputs = [box if action == 11 else np.empty((0, 5), np.float32) for action in range(80)]
    results = [{"video_id": "a", "timestamp": "0902", "outputs": outputs}]
    code, _, err = score(detections=pickle.dumps(results), name="my results.bin")
    assert code == 4 and "pickle" in err
    command = err[err.index('python -c "') :].strip().replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, check=True)
    converted = (tmp_path / "my results.csv").read_text()
    assert converted == "a,0902,0.1,0.1,0.5,0.5,12,0.9\n"
    code, said, _ = score("--json", detections=converted)
    assert code == 0 and json.loads(said)["mAP@0.5"] == 0.5
    # Older protocols are text; the name tells.
    code, _, err = score(detections=pickle.dumps(results, protocol=0), name="det.pkl")
    assert code == 4 and "pickle" in err


def test_missing_files_and_unknown_rules_are_named(bench: Bench, score: Bench) -> None:
    case = GOLDEN / "case1_random"
    for option in ("--gt", "--detections", "--label-map", "--excluded"):
        code, _, err = bench(*of_case(case), option, case / "nothing.csv")
        assert code == 4 and err.startswith(f"bench: there is no file {case / 'nothing.csv'}; ")
    code, _, err = bench(*of_case(case), "--gt", case)
    assert code == 4 and "cannot read" in err
    code, _, err = score("--rules", "slow_fast")
    assert code == 2 and "Did you mean 'slowfast'?" in err


BAD = {
    "six columns": ({"gt": TRUTH + "a,904,0,0,1,1\n"}, r"gt.csv, line 3: 6 columns .* 2, 7 or 8"),
    "nine columns": ({"detections": FOUND + "\na,9,0,0,1,1,1,1,1\n"}, r"det.csv, line 4: 9 col"),
    "pixels": ({"detections": FOUND + "a,902,10,0,1,1,12,1\n"}, r"line 3: x1 '10' .* fractions"),
    "below 0": ({"gt": TRUTH + "a,902,0,-.1,1,1,12,1\n"}, r"gt.csv, line 3: y1 '-.1' is outside"),
    "text": ({"gt": TRUTH + "a,902,0,0,one,1,12,1\n"}, r"line 3: x2 'one' is not a number"),
    "nan": ({"detections": FOUND + "a,902,0,0,1,nan,12,1\n"}, r"line 3: y2 'nan' is not a number"),
    "header": ({"gt": "video_id,t,x1,y1,x2,y2,a,p\n" + TRUTH}, r"line 1: .*'t' .* no header"),
    "timestamp": ({"detections": FOUND + "a,15:02,0,0,1,1,12,1\n"}, r"line 3: .* '15:02' is no"),
    "date": ({"detections": "a,1700000000,0,0,1,1,12,1\n"}, r"is not a second of a video"),
    "bare timestamp": ({"gt": TRUTH + "a,x\n"}, r"line 3: the timestamp 'x' is not a number"),
    "no video": ({"gt": TRUTH + ",902,0,0,1,1,12,1\n"}, r"line 3: the video has no name"),
    "inverted": ({"gt": TRUTH + "a,902,0.5,0,0.25,1,12,1\n"}, r"line 3: the box 0.5, 0, .*invert"),
    "no score": ({"detections": FOUND + "a,902,0,0,1,1,12,\n"}, r"line 3: the score '' is not a"),
    "person": ({"gt": TRUTH + "a,902,0,0,1,1,12,me\n"}, r"line 3: the person 'me' is not a number"),
    "half a class": ({"detections": FOUND + "a,902,0,0,1,1,1.5,1\n"}, r"action '1.5' is not a"),
    "person boxes": (
        {"detections": (FORMATS / "ava_val_predicted_boxes.csv").read_bytes()},
        r"line 1: the action '' is not a whole number; person boxes alone cannot be scored",
    ),
    "other split": ({"detections": FOUND.replace("a,", "b,")}, r"none of its 1 videos \(b, .*spl"),
    "other exclusions": ({"excluded": "b,902\n"}, r"out.csv: none of its 1 videos .* split"),
    "frame numbers": ({"detections": FOUND.replace("09", "270")}, r"not 27002 to 27003 .* 902"),
    "only declared": ({"detections": "a,902\na,903\n"}, r"no detections, only 2 frames"),
    "empty": ({"detections": ""}, r"det.csv is empty"),
    "other classes": (
        {"detections": FOUND.replace("12", "13").replace("79", "80")},
        r"none of its 2 rows has one of the 2 classes .* 13, 80",
    ),
    "truth of other classes": (
        {"gt": "a,902,0,0,1,1,13,0\n"},
        r"none of the 1 boxes .* counts: 0 on excluded .* 1 outside the 2 mapped classes",
    ),
    "no class": ({"label_map": "a list\n"}, r"map.pbtxt has no classes; .*blocks"),
    "class twice": ({"label_map": ITEMS + ITEMS}, r"line 9: id 12 is already used by 'stand'"),
    "class without id": ({"label_map": 'item {\n name: "id: 3"\n}'}, r"line 1: its id is ''"),
    "cut": ({"label_map": ITEMS[:-3]}, r"block on line 5 is not closed"),
    "excluded boxes": ({"excluded": TRUTH}, r"out.csv, line 1: 8 columns where 2 are expected"),
    "excluded text": ({"excluded": "a,902\na,soon\n"}, r"out.csv, line 2: the timestamp 'soon'"),
    "latin-1": ({"detections": FOUND.encode() + b"\xe9,902,0,0,1,1,12,1\n"}, r"not UTF-8 text"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_with_a_sentence(score: Bench, what: str) -> None:
    files, sentence = BAD[what]
    code, said, err = score(**files)
    assert code == 4 and not said
    assert err.startswith("bench: ") and re.search(sentence, err), err
    assert err.rstrip().endswith(".") and err.count("\n") == 1


# One corner is at -1e-7 and one at 1 + 1e-7, in a box that finds nothing (IoU 0.4); the detections
# of two of the three classes are right.
@pytest.mark.parametrize("rules", ["official", "slowfast", "mmaction2"])
def test_corners_beyond_the_frame_by_rounding_are_clipped_and_counted(
    bench: Bench, rules: str
) -> None:
    files = {"--gt": "gt.csv", "--detections": "det_neg.csv", "--label-map": "lm.pbtxt"}
    words = [word for option, name in files.items() for word in (option, ROUNDED / name)]
    code, said, _ = bench("score", "ava", *words, "--rules", rules, "--json")
    found = json.loads(said)
    assert code == 0
    assert found["mAP@0.5"] == 2 / 3
    assert found["clipped_boxes"] == 1
    boxes = read_boxes(ROUNDED / "det_neg.csv", "detections")
    assert boxes.corners.tolist()[2] == [0.0, 0.1, 1.0, 0.9]


def test_a_rounded_corner_may_be_a_millionth_beyond_and_no_more(score: Bench) -> None:
    rounded = "a,902,-1e-6,0,1.000001,1,12,1\n"
    # The second line has another width, so it is read one by one.
    code, said, _ = score(detections=FOUND + rounded + "a,903,-5e-7,0,1,1,79\n")
    assert code == 0 and "clipped: 2\n" in said
    code, said, _ = score(gt=TRUTH + rounded)
    assert code == 0 and "clipped: 1\n" in said
    for beyond in ("-2e-6", "1.000002", "nan", "-inf"):
        code, _, err = score(detections=FOUND + rounded.replace("-1e-6", beyond))
        assert code == 4 and f"line 3: x1 '{beyond}' is" in err


def test_inverted_detections_stop_mmaction2_and_are_counted_by_the_others(score: Bench) -> None:
    inverted = FOUND + "a,902,0.5,0,0.25,1,12,1\na,902,0.5,0,0.5,1,12,1\n"
    code, _, err = score("--rules", "mmaction2", detections=inverted)
    assert code == 4 and "inverted boxes among the detections: 1" in err
    for rules in ("official", "slowfast"):
        _, said, _ = score("--rules", rules, "--json", detections=inverted)
        assert json.loads(said)["detections"]["without_area"] == 2
