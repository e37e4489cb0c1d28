"""The embedded AVA: films, lists in three formats, files and the task."""

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from scipy import stats

from bench import registry
from bench.config import Machine, RunConfig
from bench.data.boxes.ava_csv import read_boxes, read_excluded
from bench.data.boxes.ava_labels import read_action_list
from bench.data.decode.decode import read_frames
from bench.errors import DataError, UsageError
from bench.evaluate.evaluate import evaluate, prepared_runs
from bench.types import Silent
from tasks.ava import ava
from tasks.digits import ava_films as files
from tasks.digits import ava_lists as lists
from tasks.digits import ava_scenes as scenes
from tasks.digits.scenes import ink, scans
from tasks.moving_digits_ava import moving_digits_ava
from tests.tasks.killed import render_until_killed

FEW = {"full": {"train": 4, "val": 3}, "small": {"train": 2, "val": 1}}
FORMATS = ("slowfast", "alphaction", "mmaction2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few films of both sizes."""
    folder = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "NUM_FILMS", FEW)
        for size in FEW:
            files.ensure_films(folder, size)
    return folder


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tasks.digits.ava_films", "tasks.moving_digits_ava"):
        monkeypatch.setattr(f"{module}.NUM_FILMS", FEW)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def shots_of(split: str, num_films: int) -> Iterator[tuple[scenes.Shot, tuple[int, ...]]]:
    """Yield (shot, cast) of the key frames of the first films."""
    for number in range(num_films):
        content = scenes.film(split, number)
        for shot in content.shots[1:]:
            yield shot, content.cast


def plain_overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """IoU of two boxes by counting the points of a fine grid."""
    grid = (np.arange(1000) + 0.5) / 1000  # corners have three decimals
    across, down = (
        [(low <= grid) & (grid < high) for low, high in ((b[i], b[i + 2]) for b in (one, other))]
        for i in (0, 1)
    )
    first, second = (np.outer(y, x) for y, x in zip(down, across, strict=True))
    return (first & second).sum() / (first | second).sum()


# ----------------------------------------------------------------------------------------- scenes
def test_rendering_is_the_same_every_time_and_everywhere() -> None:
    def digest(*which: tuple[str, int]) -> str:
        frames = (scenes.render_film(scenes.film(*one)).tobytes() for one in which)
        return hashlib.sha256(b"".join(frames)).hexdigest()

    # A change here changes every number that was measured on the films: they need a new folder.
    assert (
        digest(("train", 0), ("test", 47))
        == "e36bd9c02e7a4f9075ece686d1dfa8b81546671c3cc9298cfb36acf468d3b5ac"
    )
    assert digest(("train", 0)) != digest(("test", 0))


def test_frames_are_wide_colour_pictures_with_a_key_frame_a_second() -> None:
    frames = scenes.render_film(scenes.film("train", 3))
    assert frames.shape == (scenes.NUM_KEYS * 24 + 12, 64, 128, 3) and frames.dtype == np.uint8
    assert scenes.FPS == scenes.FILM_LOOK.look.num_frames == 24


def test_no_scan_is_in_both_splits_and_casts_are_two_to_four() -> None:
    casts = {
        split: [scenes.film(split, number).cast for number in range(30)]
        for split in ("train", "test")
    }
    train, test = ({scan for cast in casts[split] for scan in cast} for split in casts)
    assert not train & test and not (train | test) - set(range(len(scans()[0])))
    assert {len(cast) for both in casts.values() for cast in both} == {2, 3, 4}


def test_boxes_are_tight_around_each_digit_on_the_key_frame() -> None:
    content = scenes.film("test", 0)
    shown = scenes.render_film(content)
    for second, actor in ((1, 0), (2, len(content.cast) - 1), (4, 1)):
        x1, y1, x2, y2 = content.shots[second].boxes[actor].astype(int)
        without = scenes.render_film(hidden(content, second, actor))
        changed = (shown != without).any(axis=-1)
        ys, xs = np.nonzero(changed[24 * second])
        assert x1 <= xs.min() and xs.max() < x2 and y1 <= ys.min() and ys.max() < y2
        # Faint ink at the rim may round to no change at all.
        found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert np.abs(np.subtract(found, (x1, y1, x2, y2))).max() <= 1
        # The shot holds the clip of 22 frames around its key frame, and nothing else does.
        first = 24 * second - 12
        shown_in = np.flatnonzero(changed.any(axis=(1, 2))).tolist()
        assert shown_in == list(range(first, first + 24))


def hidden(film: scenes.Film, second: int, actor: int) -> scenes.Film:
    """The film without one digit in one shot."""
    shot = film.shots[second]
    courses = list(shot.courses)
    courses[actor] = replace(courses[actor], contrast=np.zeros(24))
    shots = list(film.shots)
    shots[second] = replace(shot, courses=tuple(courses))
    return replace(film, shots=tuple(shots))


def test_digits_do_not_cover_each_other_on_key_frames() -> None:
    for shot, _ in shots_of("train", 40):
        covered = np.zeros((64, 128), dtype=int)
        for x1, y1, x2, y2 in shot.boxes.astype(int).tolist():
            assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 64
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1


def test_looking_only_where_a_digit_comes_by_loses_no_ink() -> None:
    for shot, cast in shots_of("test", 6):
        for scan, one in zip(cast, shot.courses, strict=True):
            whole = ink(scan, one, (64, 128))
            np.testing.assert_array_equal(scenes._ink(scan, one, (64, 128)), whole)


def test_gaps_are_distances_between_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [13, 2, 20, 12], [4, 15, 9, 30], [5, 5, 12, 12]], float)
    assert scenes.gaps(boxes).tolist() == [
        [np.inf, 3, 5, -5],
        [3, np.inf, 4, 1],
        [5, 4, np.inf, 3],
        [-5, 1, 3, np.inf],
    ]


def test_no_key_frame_tells_the_motion_or_the_speed() -> None:
    """Place, angle, size and distance are spread alike whatever a digit does."""
    told, does, hurries = [], [], []
    for shot, _ in shots_of("train", 160):
        near = scenes.gaps(shot.boxes).min(axis=1)
        for actor, one in enumerate(shot.courses):
            x1, y1, x2, y2 = shot.boxes[actor]
            told.append((x1 + x2, y1 + y2, one.angle[12], one.side[12], x2 - x1, near[actor]))
            does.append(shot.motions[actor])
            hurries.append(shot.speeds[actor])
    columns = np.array(told).T
    for labels in (np.array(does), np.array(hurries)):
        assert min(Counter(labels.tolist()).values()) > 150
        for label in np.unique(labels):
            for values in columns:
                ours, others = values[labels == label], values[labels != label]
                limit = 1.95 * np.sqrt(1 / len(ours) + 1 / len(others))  # exceeded in 0.1 %
                assert stats.ks_2samp(ours, others).statistic < limit, label


def test_fast_digits_cross_their_range_twice_as_often() -> None:
    turns = {speed: [] for speed in scenes.SPEEDS}
    for shot, _ in shots_of("test", 40):
        for motion, speed, one in zip(shot.motions, shot.speeds, shot.courses, strict=True):
            if motion in ("left", "right"):
                turns[speed].append(np.median(np.abs(np.diff(one.x))))
    # A range of 24 pixels in 24 frames: pixels a frame are crossings a shot.
    assert min(turns["slow"]) >= 0.7 and max(turns["slow"]) <= 1.0
    assert min(turns["fast"]) >= 1.8 and max(turns["fast"]) <= 2.4


# ------------------------------------------------------------------------------------------ lists
def test_labels_are_those_of_the_scene() -> None:
    counts = Counter()
    frames = lists.key_frames("val", 16)
    assert len(frames) == 16 * 4
    for frame in frames:
        shot = scenes.film("test", int(frame.video[-4:])).shots[frame.second]
        for actor, box in enumerate(frame.truth):
            names = {action.name for action in lists.ACTIONS if action.id in box.actions}
            counts.update(names)
            motion = {
                "left": "move left",
                "right": "move right",
                "clockwise": "turn clockwise",
                "counterclockwise": "turn counterclockwise",
            }.get(shot.motions[actor], shot.motions[actor])
            assert motion in names and box.person == actor
            assert ("hurry (fast)" in names) == (shot.speeds[actor] == "fast")
            assert ("take time (slow)" in names) == (shot.speeds[actor] == "slow")
            x1, y1, x2, y2 = shot.boxes[actor]
            # Grown by 4 pixels on every side it touches another box, or not.
            is_near = any(
                x1 - 4 <= ox2 and ox1 <= x2 + 4 and y1 - 4 <= oy2 and oy1 <= y2 + 4
                for other, (ox1, oy1, ox2, oy2) in enumerate(shot.boxes)
                if other != actor
            )
            assert ("be near (another)" in names) == is_near == ("be alone" not in names)
            assert ("touch (e.g., the edge)" in names) == (min(x1, y1, 128 - x2, 64 - y2) == 0)
            heights = sorted(y4 - y3 for _, y3, _, y4 in shot.boxes)
            towers = y2 - y1 == heights[-1] and heights[-1] >= 1.5 * heights[-2]
            assert ("tower over all" in names) == towers
            np.testing.assert_allclose(
                box.corners, shot.boxes[actor] / (128, 64, 128, 64), atol=5.01e-4
            )
    rare = {action.name for action in lists.ACTIONS if not action.evaluated}
    assert set(counts) == {action.name for action in lists.ACTIONS}
    assert max(counts[name] for name in rare) * 3 < min(
        count for name, count in counts.items() if name not in rare
    )


def test_detector_misses_slips_and_sees_what_is_not_there() -> None:
    frames = lists.key_frames("val", 48)
    found = [box for frame in frames for box in frame.found]
    truths = sum(len(frame.truth) for frame in frames)
    real = [box for box in found if box.truth is not None]
    assert 0.02 < 1 - len(real) / truths < 0.07
    assert 0.12 < (len(found) - len(real)) / len(frames) < 0.28
    overlaps = np.array(
        [
            plain_overlap(box.corners, frame.truth[box.truth].corners)
            for frame in frames
            for box in frame.found
            if box.truth is not None
        ]
    )
    assert 0.9 < (overlaps >= 0.5).mean() < 0.99
    below = np.mean([box.score < 0.8 for box in real])
    assert 0.04 < below < 0.13
    for frame in frames:
        scores = [box.score for box in frame.found]
        assert scores == sorted(scores, reverse=True)
    bad = [box for box in found if box.truth is None and box.score >= 0.8]
    assert len(bad) >= 3


def test_overlap_is_that_of_counted_points() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = np.round(np.sort(rng.random((2, 2, 2)), axis=1).reshape(2, 4), 3)
        assert files.iou(tuple(one), tuple(other)) == pytest.approx(
            plain_overlap(one, other), abs=1e-9
        )


def test_ground_truth_has_a_row_for_every_label(home: Path) -> None:
    folder = home / files.FOLDER / "full" / "annotations"
    for split, num_films in FEW["full"].items():
        rows = rows_of(folder / f"ava_{split}_v2.2.csv")
        expected = [
            (frame.video, frame.second, *box.corners, action, box.person)
            for frame in lists.key_frames(split, num_films)
            for box in frame.truth
            for action in box.actions
        ]
        assert [(r[0], int(r[1]), *map(float, r[2:6]), int(r[6]), int(r[7])) for r in rows] == (
            expected
        )
        assert rows[0][:2] == [f"{split}_0000", "0001"]
        assert len(read_boxes(folder / f"ava_{split}_v2.2.csv", "ground truth")) == len(rows)
    excluded = [
        (frame.video, f"{frame.second:04d}")
        for frame in lists.key_frames("train", 4)
        if frame.is_excluded
    ]
    path = folder / "ava_train_excluded_timestamps_v2.2.csv"
    assert [tuple(row) for row in rows_of(path)] == excluded and len(excluded) == 1
    assert len(read_excluded(path)) == 1
    assert (folder / "ava_included_timestamps_v2.2.txt").read_text() == "0001\n0002\n0003\n0004\n"


def test_lists_of_actions_agree_and_leave_out_the_rare_ones(home: Path) -> None:
    folder = home / files.FOLDER / "full" / "annotations"
    known = read_action_list(folder / "ava_action_list_v2.2.pbtxt")
    scored = read_action_list(folder / "ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    assert list(known) == list(range(1, 15)) and len(scored) == 12
    assert set(known) - set(scored) == {4, 11}
    assert all(known[number] == name for number, name in scored.items())
    assert (known[1], known[13]) == ("move left", "be near (another)")


def test_three_formats_hold_the_same_detections(home: Path) -> None:
    folder = home / files.FOLDER / "full" / "detections"
    rows = rows_of(folder / "ava_val_predicted_boxes.csv")
    assert all(len(row) == 8 and row[6] == "" for row in rows)
    slowfast = [(row[0], int(row[1]), *map(float, row[2:6]), float(row[7])) for row in rows]

    proposals = json.loads((folder / "ava_dense_proposals_val.json").read_text())
    mmaction2 = [
        (key[:-5], int(key[-4:]), *box) for key, boxes in proposals.items() for box in boxes
    ]
    images = {
        image["id"]: image
        for image in json.loads((folder / "ava_val_v2.2_min.json").read_text())["images"]
    }
    alphaction = []
    for entry in json.loads((folder / "ava_val_det_person_bbox.json").read_text()):
        image, (x, y, w, h) = images[entry["image_id"]], entry["bbox"]
        assert (image["width"], image["height"]) == (128, 64)
        corners = (x / 128, y / 64, (x + w) / 128, (y + h) / 64)
        alphaction.append((image["movie"], image["timestamp"], *corners, entry["score"]))
    assert mmaction2 == slowfast and len(slowfast) > 20
    assert [row[:2] for row in alphaction] == [row[:2] for row in slowfast]
    np.testing.assert_allclose(
        [row[2:] for row in alphaction], [row[2:] for row in slowfast], atol=1e-12
    )


def test_truth_of_alphaction_is_that_of_the_csv(home: Path) -> None:
    folder = home / files.FOLDER / "full"
    content = json.loads((folder / "detections" / "ava_val_v2.2_min.json").read_text())
    images = {image["id"]: (image["movie"], image["timestamp"]) for image in content["images"]}
    found = Counter()
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        corners = tuple(round(v, 6) for v in (x / 128, y / 64, (x + w) / 128, (y + h) / 64))
        found.update(
            (*images[entry["image_id"]], corners, action) for action in entry["action_ids"]
        )
    rows = rows_of(folder / "annotations" / "ava_val_v2.2.csv")
    assert found == Counter(
        (row[0], int(row[1]), tuple(map(float, row[2:6])), int(row[6])) for row in rows
    )


def test_training_detections_have_the_labels_of_what_they_overlap(home: Path) -> None:
    folder = home / files.FOLDER / "full"
    truth = {}
    for row in rows_of(folder / "annotations" / "ava_train_v2.2.csv"):
        boxes = truth.setdefault((row[0], row[1]), {})
        boxes.setdefault(tuple(map(float, row[2:6])), set()).add(int(row[6]))
    given = {}
    name = "ava_detection_train_boxes_and_labels_v2.2.csv"
    for row in rows_of(folder / "detections" / name):
        labels = given.setdefault((row[0], row[1], *map(float, row[2:6])), set())
        labels.add(int(row[6]))
    assert len(given) > 20
    for (video, second, *corners), labels in given.items():
        overlaps = {box: plain_overlap(corners, box) for box in truth[video, second]}
        best = max(overlaps, key=overlaps.get)
        if overlaps[best] >= 0.5:
            assert labels == truth[video, second][best]
        else:
            assert labels == {-1}


# ------------------------------------------------------------------------------------------ files
def test_files_decode_to_the_rendered_frames(home: Path) -> None:
    path = home / files.FOLDER / "full" / "videos" / "val_0002.mp4"
    frames = scenes.render_film(scenes.film("test", 2))
    shown = read_frames(path, lambda num_frames, fps: np.arange(num_frames)[None]).pixels
    error = np.mean((shown.astype(float) - frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 30
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.frames) == ("h264", 108)
        assert (stream.average_rate, stream.pix_fmt) == (24, "yuv420p")


def test_small_holds_the_first_films_of_full(home: Path) -> None:
    small, full = (home / files.FOLDER / size for size in ("small", "full"))
    names = sorted(path.name for path in (small / "videos").iterdir())
    assert names == ["train_0000.mp4", "train_0001.mp4", "val_0000.mp4"]
    for name in names:
        assert (small / "videos" / name).read_bytes() == (full / "videos" / name).read_bytes()
    for part in ("annotations/ava_train_v2.2.csv", "detections/ava_val_predicted_boxes.csv"):
        assert (full / part).read_text().startswith((small / part).read_text())


def test_encoding_gives_the_same_bytes_every_time() -> None:
    frames = [scenes.render_film(scenes.film("test", number)) for number in range(2)]
    first = [files.encode_video(clip, fps=24) for clip in frames]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(4):
            assert list(pool.map(lambda clip: files.encode_video(clip, fps=24), frames)) == first


def test_files_that_are_there_are_left_alone_and_missing_ones_made(
    home: Path, few: None, tmp_path: Path
) -> None:
    shutil.copytree(home / files.FOLDER, tmp_path / files.FOLDER)
    root = tmp_path / files.FOLDER / "small"

    def content() -> dict[Path, tuple[bytes, int]]:
        return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}

    before = content()
    assert len(before) == 1 + 7 + 5 + 3
    lost = [root / "videos" / "val_0000.mp4", root / "annotations" / "ava_val_v2.2.csv"]
    for path in lost:
        path.unlink()
    assert files.ensure_films(tmp_path, "small") == root
    after = content()
    assert [path for path in before if after[path][1] != before[path][1]] == sorted(
        lost, key=list(before).index
    )
    assert all(after[path][0] == before[path][0] for path in before)


def test_killed_rendering_resumes_with_whole_files(home: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tasks.digits import ava_films as files;"
        "files.NUM_FILMS = {'full': {'train': 4, 'val': 1}};"
        f"files.ensure_films(Path({str(tmp_path)!r}), 'full')"
    )
    folder = tmp_path / files.FOLDER / "full" / "videos"
    render_until_killed(code, films=2)
    kept = {path.name: path.read_bytes() for path in folder.glob("*.mp4")}
    assert len(kept) == 2 and list(folder.glob("*.partial"))
    names = [f"train_{number:04d}.mp4" for number in range(4)]
    paths = files.ensure_rendered(folder, names, partial(files._film, "train"), what="train films")
    assert {path.name for path in folder.iterdir()} == set(names)
    for path in paths:
        whole = (home / files.FOLDER / "full" / "videos" / path.name).read_bytes()
        assert path.read_bytes() == whole == kept.get(path.name, whole)


def test_folder_of_other_settings_is_refused(home: Path, few: None, tmp_path: Path) -> None:
    shutil.copytree(home / files.FOLDER / "small", tmp_path / files.FOLDER / "small")
    note = tmp_path / files.FOLDER / "small" / "rendering.json"
    facts = json.loads(note.read_text())
    note.write_text(json.dumps({**facts, "detector": {**facts["detector"], "jitter": 0.5}}))
    with pytest.raises(DataError, match=r"films.*rendered with other settings.*remove the folder"):
        files.ensure_films(tmp_path, "small")


# ------------------------------------------------------------------------------------------- task
def test_rows_are_the_boxes_of_key_frames_that_count(home: Path, few: None) -> None:
    task = registry.build("tasks", "moving_digits_ava", {"data": str(home)})
    assert (task.unit, task.metric, str(task.fit_plan), task.flip) == (
        "box",
        "mean_ap",
        "8x1x1@3",
        False,
    )
    boxes = [
        (frame.video, frame.second, box)
        for frame in lists.key_frames("train", 4)
        if not frame.is_excluded
        for box in frame.truth
    ]
    at = {}
    for row, name in enumerate(task.fit.ids):
        video, second, *corners = name.split(",")
        at[video, int(second), tuple(map(float, corners))] = row
    assert len(at) == len(task.fit) == len(boxes)
    assert list(task.classes) == [action.name for action in lists.ACTIONS]
    for video, second, box in boxes:
        row = at[video, second, box.corners]
        assert (np.flatnonzero(task.fit.labels[row]) + 1).tolist() == list(box.actions)
        assert Path(task.fit.media[row]).name == f"{video}.mp4"
    kept = [
        box.score
        for frame in lists.key_frames("val", 3)
        if not frame.is_excluded
        for box in frame.found
    ]
    assert len(task.score) == sum(score >= 0.8 for score in kept) < len(kept)
    assert not task.score.labels.any()
    assert list(task.truth.classes) == [a.id for a in lists.ACTIONS if a.evaluated]


def test_boxes_show_digits_at_their_seconds(home: Path, few: None) -> None:
    """The pixels of the decoded key frame are lighter inside the boxes than beside them."""
    task = moving_digits_ava(data=home, score_boxes="ground_truth")
    regions = task.score.regions
    assert regions.start == 0.0
    for key in np.unique(regions.clip):
        rows = np.flatnonzero(regions.clip == key)
        number = round(int(regions.micros[rows[0]]) / 1e6 * scenes.FPS)
        medium = regions.media[int(regions.video[rows[0]])]
        picture = read_frames(medium, lambda n, fps, at=number: np.array([[at]])).pixels[0]
        light = picture.reshape(64, 128, 3).mean(axis=-1)
        inside = np.zeros((64, 128), dtype=bool)
        for x1, y1, x2, y2 in np.rint(regions.corners[rows] * (128, 64, 128, 64)).astype(int):
            inside[y1:y2, x1:x2] = True
            assert np.percentile(light[y1:y2, x1:x2], 80) > np.median(light) + 20
        assert light[inside].max() > light[~inside].max()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_rows(home: Path, few: None, form: str) -> None:
    task, other = (moving_digits_ava(data=home, detections=one) for one in ("slowfast", form))
    assert other.score.digest == task.score.digest and other.fit.digest == task.fit.digest
    assert other.options["detections"] == form
    assert (other.files["detections"] == task.files["detections"]) == (form == "slowfast")


def test_detected_training_boxes_are_added_with_their_labels(home: Path, few: None) -> None:
    plain, both = (
        moving_digits_ava(data=home, fit_boxes=boxes) for boxes in ("ground_truth", "both")
    )
    added = sum(
        box.score >= 0.9
        for frame in lists.key_frames("train", 4)
        if not frame.is_excluded
        for box in frame.found
    )
    assert len(both.fit) == len(plain.fit) + added


def test_subsets_are_whole_films_that_share_the_features_of_all(home: Path, few: None) -> None:
    task = moving_digits_ava(data=home, fraction=0.5, draw=1)
    regions = task.fit.regions
    assert len({regions.videos[video] for video in regions.video.tolist()}) == 2
    assert len(task.fit.root) == len(moving_digits_ava(data=home).fit)


def test_unknown_size_and_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"moving_digits_ava.*'tiny'.*full or small"):
        moving_digits_ava(data=tmp_path, size="tiny")
    with pytest.raises(UsageError, match=r"moving_digits_ava.*'coco'.*slowfast"):
        moving_digits_ava(data=tmp_path, detections="coco")
    assert not list(tmp_path.iterdir())


def test_the_folder_is_read_by_the_task_of_ava(home: Path, few: None) -> None:
    ours = moving_digits_ava(data=home)
    root = home / files.FOLDER / "full"
    with pytest.raises(DataError, match=r"detections.*differ.*task\.detections"):
        ava(data=root, start=0.0)
    for form in FORMATS:
        theirs = ava(data=root, detections=Path("detections") / files.DETECTIONS[form], start=0.0)
        for mine, other in ((ours.fit, theirs.fit), (ours.score, theirs.score)):
            assert list(other.ids) == list(mine.ids) and list(other.media) == list(mine.media)
            np.testing.assert_array_equal(other.labels, mine.labels)
        assert theirs.truth.classes == ours.truth.classes


def test_a_run_scores_every_box_against_the_whole_truth(
    home: Path, few: None, tmp_path: Path
) -> None:
    """Untrained features on a few films: the record holds together, whatever the number."""
    config = RunConfig(
        encoder="random:digits_tiny",
        task="moving_digits_ava",
        probe="linear",
        protocol="vjepa@1",
        task_options={"data": home},
        probe_options={"epochs": 1},
    )
    [outcome] = evaluate(prepared_runs([config], Machine(home=tmp_path), Silent()))
    metrics, task = outcome.record.metrics, moving_digits_ava(data=home)
    assert (metrics.scored, metrics.expected) == (len(task.score), len(task.score))
    assert [one.id for one in metrics.classes] == list(task.truth.classes)
    assert outcome.record.task.unit == "box" and outcome.record.task.metric == "mean_ap"
    counted = sum(
        action in task.truth.classes
        for frame in lists.key_frames("val", 3)
        if not frame.is_excluded
        for box in frame.truth
        for action in box.actions
    )
    assert sum(one.num_truth for one in metrics.classes) == counted
