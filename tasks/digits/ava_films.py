"""The files of moving_digits_ava, in the formats of AVA, rendered on first use.

    moving_digits_ava/v1/full/rendering.json
    moving_digits_ava/v1/full/annotations/ava_train_v2.2.csv ...
    moving_digits_ava/v1/full/detections/ava_val_predicted_boxes.csv ...
    moving_digits_ava/v1/full/videos/train_0000.mp4 ... val_0047.mp4

`small` has the first films of `full`. The task `ava` can read both folders, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from bench.files import write_whole
from tasks.digits.ava_lists import (
    ACTIONS,
    DETECTOR,
    EXCLUDED_EVERY,
    SPLITS,
    TOWER,
    Corners,
    KeyFrame,
    ListSplit,
    key_frames,
    video_name,
)
from tasks.digits.ava_scenes import FILM_LOOK, FPS, NUM_KEYS, TRIES, film, render_film
from tasks.digits.rendered_files import CODEC, claim, encode_video, ensure_rendered
from tasks.digits.scenes import Size, digest_of, scans

DetectionFormat = Literal["slowfast", "alphaction", "mmaction2"]

FOLDER = "moving_digits_ava/v1"
NUM_FILMS: dict[Size, dict[ListSplit, int]] = {
    "full": {"train": 96, "val": 48},
    "small": {"train": 16, "val": 8},
}
MATCHED = 0.5  # IoU from which a detected training box gets the true labels
DETECTIONS: dict[DetectionFormat, str] = {
    "slowfast": "ava_val_predicted_boxes.csv",
    "alphaction": "ava_val_det_person_bbox.json",
    "mmaction2": "ava_dense_proposals_val.json",
}


def ensure_films(data: Path, size: Size) -> Path:
    """Return the folder of a size below `data`, rendering missing files.

    Raises:
        DataError: the folder has files rendered with other settings.
        BenchError: the files cannot be written.
    """
    root = data / FOLDER / size
    claim(root, _facts(size), what="films of moving digits")
    _ensure_lists(root, size)
    scans()  # fills the cache before the threads start
    for split, num_films in NUM_FILMS[size].items():
        names = [f"{video_name(split, number)}.mp4" for number in range(num_films)]
        make = partial(_film, split)
        ensure_rendered(root / "videos", names, make, what=f"{split} films")
    return root


def _film(split: ListSplit, number: int) -> bytes:
    return encode_video(render_film(film(SPLITS[split], number)), fps=FPS)


def _facts(size: Size) -> dict[str, Any]:
    """Return everything that the files depend on."""
    look = asdict(FILM_LOOK)
    return {
        "digest": digest_of(look),
        "look": look,
        "films": NUM_FILMS[size],
        "keys": NUM_KEYS,
        "tries": TRIES,
        "fps": FPS,
        "codec": CODEC,
        "detector": asdict(DETECTOR),
        "actions": [asdict(action) for action in ACTIONS],
        "tower": TOWER,
        "excluded_every": EXCLUDED_EVERY,
        "matched": MATCHED,
    }


# ------------------------------------------------------------------------------------------- lists
def _ensure_lists(root: Path, size: Size) -> None:
    @cache
    def frames(split: ListSplit) -> list[KeyFrame]:
        return key_frames(split, NUM_FILMS[size][split])

    # Text lines, or the content of a JSON file.
    lists: dict[str, Callable[[], Iterable[Any]]] = {
        "annotations/ava_action_list_v2.2.pbtxt": _all_actions,
        "annotations/ava_action_list_v2.2_for_activitynet_2019.pbtxt": _evaluated_actions,
        "annotations/ava_included_timestamps_v2.2.txt": lambda: (
            f"{second:04d}" for second in range(1, NUM_KEYS + 1)
        ),
        "annotations/ava_train_v2.2.csv": lambda: _truth(frames("train")),
        "annotations/ava_val_v2.2.csv": lambda: _truth(frames("val")),
        "annotations/ava_train_excluded_timestamps_v2.2.csv": lambda: _excluded(frames("train")),
        "annotations/ava_val_excluded_timestamps_v2.2.csv": lambda: _excluded(frames("val")),
        f"detections/{DETECTIONS['slowfast']}": lambda: _slowfast(frames("val")),
        f"detections/{DETECTIONS['alphaction']}": lambda: _alphaction(frames("val")),
        f"detections/{DETECTIONS['mmaction2']}": lambda: {
            _key(frame): [[*box.corners, box.score] for box in frame.found]
            for frame in frames("val")
        },
        "detections/ava_val_v2.2_min.json": lambda: _alphaction_truth(frames("val")),
        "detections/ava_detection_train_boxes_and_labels_v2.2.csv": lambda: _labelled(
            frames("train")
        ),
    }
    for name, make in lists.items():
        path = root / name
        if not path.is_file():
            content = make()
            is_json = path.suffix == ".json"
            text = json.dumps(content) if is_json else "".join(f"{line}\n" for line in content)
            write_whole(path, text.encode())


def _all_actions() -> Iterable[str]:
    for action in ACTIONS:
        yield f'label {{\n  name: "{action.name}"\n  label_id: {action.id}'
        yield f"  label_type: {action.kind}\n}}"


def _evaluated_actions() -> Iterable[str]:
    for action in ACTIONS:
        if action.evaluated:
            yield f'item {{\n  name: "{action.name}"\n  id: {action.id}\n}}'


def _truth(frames: Sequence[KeyFrame]) -> Iterable[str]:
    for frame in frames:
        for box in frame.truth:
            for action in box.actions:
                yield f"{_key(frame)},{_format(box.corners)},{action},{box.person}"


def _excluded(frames: Sequence[KeyFrame]) -> Iterable[str]:
    return (_key(frame) for frame in frames if frame.is_excluded)


def _slowfast(frames: Sequence[KeyFrame]) -> Iterable[str]:
    for frame in frames:
        for box in frame.found:
            yield f"{_key(frame)},{_format(box.corners)},,{box.score:.6f}"


def _labelled(frames: Sequence[KeyFrame]) -> Iterable[str]:
    """Yield SlowFast's training list; boxes that match no true box have label -1."""
    for frame in frames:
        for box in frame.found:
            truth = None if box.truth is None else frame.truth[box.truth]
            is_match = truth is not None and iou(box.corners, truth.corners) >= MATCHED
            for action in truth.actions if truth is not None and is_match else (-1,):
                yield f"{_key(frame)},{_format(box.corners)},{action},{box.score:.6f}"


def _alphaction(frames: Sequence[KeyFrame]) -> list[dict[str, Any]]:
    return [
        {"image_id": number, "bbox": _pixels(box.corners), "score": box.score}
        for number, frame in enumerate(frames, start=1)
        for box in frame.found
    ]


def _alphaction_truth(frames: Sequence[KeyFrame]) -> dict[str, Any]:
    height, width = FILM_LOOK.shape
    images = [
        {
            "id": number,
            "movie": frame.video,
            "timestamp": frame.second,
            "width": width,
            "height": height,
        }
        for number, frame in enumerate(frames, start=1)
    ]
    boxes = [
        {"image_id": number, "bbox": _pixels(box.corners), "action_ids": list(box.actions)}
        for number, frame in enumerate(frames, start=1)
        for box in frame.truth
    ]
    numbered = [{"id": number, **box} for number, box in enumerate(boxes, start=1)]
    return {"images": images, "annotations": numbered}


def iou(one: Corners, other: Corners) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def _key(frame: KeyFrame) -> str:
    return f"{frame.video},{frame.second:04d}"


def _format(corners: Corners) -> str:
    return ",".join(f"{value:.3f}" for value in corners)


def _pixels(corners: Corners) -> list[float]:
    """Return x, y, width and height in pixels, exact for fractions of three decimals."""
    height, width = FILM_LOOK.shape
    x1, y1, x2, y2 = corners
    return [
        round(value, 6)
        for value in (x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height)
    ]
