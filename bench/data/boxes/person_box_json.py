"""Person boxes in JSON: AlphAction's lists in pixels and mmaction2's proposals in fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.boxes.ava_csv import FloatArray, KeyFrames, frames_of
from bench.data.boxes.ava_csv_lines import parse_micros
from bench.data.boxes.person_box_rows import (
    ListedBoxes,
    are_boxes,
    are_scores,
    box_fault,
    first_character,
)
from bench.errors import DataError
from bench.files import parse_json

IMAGES = "*_min.json"
_ENTRIES = 'entries are {"image_id": 1, "bbox": [x, y, width, height], "score": 0.9}'


def read_json(path: Path, *, images: Path | None) -> ListedBoxes:
    """Read any of the three JSON layouts, detected from the content.

    Raises:
        DataError: not JSON, none of the layouts, a box on a key frame that is not listed, boxes or
            scores out of range.
    """
    content = _load(path)
    if isinstance(content, list):
        return _detections(path, content, _images(path, images))
    if isinstance(content, dict) and "images" in content:
        return _annotations(path, content)
    if isinstance(content, dict):
        return _proposals(path, content)
    raise DataError(f"{path} has no boxes but {str(content)[:40]!r}; check the file.")


# -------------------------------------------------------------------------- AlphAction and VideoMAE
@dataclass(frozen=True, kw_only=True, eq=False)
class _Images:
    """Key frames by the id that boxes refer to: row `place[id]` of `frames` and `sizes`."""

    path: Path
    place: Mapping[Any, int]
    frames: KeyFrames
    sizes: FloatArray  # width and height in pixels, [images, 2]


def _detections(path: Path, items: list[Any], images: _Images) -> ListedBoxes:
    try:
        score = np.array([item["score"] for item in items], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: an entry has no score ({error!r}); {_ENTRIES}.") from error
    frames, corners = _in_pixels(path, items, images)
    listed = ListedBoxes(frames=frames, corners=corners, score=score, format="AlphAction JSON")
    return replace(_checked(path, listed), images=images.path)


def _annotations(path: Path, content: dict[str, Any]) -> ListedBoxes:
    items = content.get("annotations")
    if not isinstance(items, list) or not items:
        raise DataError(
            f"{path} lists key frames but no annotations; a ground truth needs boxes with"
            " action_ids."
        )
    try:
        actions = [item["action_ids"] for item in items]
        sizes = np.array([len(ids) for ids in actions], dtype=np.int64)
        flat = np.array(list(chain.from_iterable(actions)), dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: an annotation has no list of action_ids ({error!r}); see AlphAction's files."
        ) from error
    if not ((flat >= 1) & (flat == np.rint(flat))).all():
        raise DataError(f"{path}: an id in action_ids is not a whole number from 1.")
    frames, corners = _in_pixels(path, items, _images_of(path, content))
    listed = ListedBoxes(
        frames=frames,
        corners=corners,
        score=np.ones(len(items)),
        row=np.repeat(np.arange(len(items), dtype=np.int64), sizes),
        action=flat.astype(np.int64),
        format="AlphAction annotations",
    )
    return _checked(path, listed)


def _in_pixels(path: Path, items: list[Any], images: _Images) -> tuple[KeyFrames, FloatArray]:
    """Return key frames, and corners as fractions from (x, y, width, height) in pixels."""
    try:
        keys = [item["image_id"] for item in items]
        pixels = np.array([item["bbox"] for item in items], dtype=np.float64).reshape(-1, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: an entry lacks an image_id or a bbox of four numbers ({error!r}); {_ENTRIES}."
        ) from error
    if len(pixels) != len(items):
        raise DataError(f"{path}: a bbox does not have four numbers x, y, width, height.")
    place = np.array([images.place.get(key, -1) for key in keys], dtype=np.int64)
    unknown = np.flatnonzero(place < 0)
    if len(unknown):
        raise DataError(
            f"{path}: {len(unknown):,} of {len(place):,} boxes are on key frames that {images.path}"
            f" does not list, the first on image_id {keys[unknown[0]]!r}; pass the {IMAGES} that"
            " belongs to the boxes."
        )
    corners = np.concatenate([pixels[:, :2], pixels[:, :2] + pixels[:, 2:]], axis=1)
    return images.frames.at(place), corners / np.tile(images.sizes[place], 2)


def _images(path: Path, images: Path | None) -> _Images:
    if images is None:
        lists = sorted(path.parent.glob(IMAGES))
        if len(lists) != 1:
            found = ", ".join(one.name for one in lists) or "none"
            raise DataError(
                f"{path} refers to key frames by number, so it needs exactly one list {IMAGES} with"
                f" their videos and sizes next to it, but there is {found}; put only the list that"
                " belongs to the boxes there."
            )
        images = lists[0]
    content = _load(images)
    if not isinstance(content, dict) or "images" not in content:
        raise DataError(f"{images} lists no key frames under `images`; check the file.")
    return _images_of(images, content)


def _images_of(path: Path, content: dict[str, Any]) -> _Images:
    items = content["images"]
    try:
        rows = [(str(item["movie"]), parse_micros(str(item["timestamp"]))) for item in items]
        sizes = np.array([(item["width"], item["height"]) for item in items], dtype=np.float64)
        place = {item["id"]: row for row, item in enumerate(items)}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: a key frame lacks id, movie, timestamp, width or height, or one is not a"
            f" number ({error})."
        ) from error
    if len(place) < len(items):
        raise DataError(f"{path}: two key frames have the same id; fetch the file again.")
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise DataError(f"{path}: a key frame has no width or height in pixels.")
    return _Images(path=path, place=place, frames=frames_of(rows), sizes=sizes.reshape(-1, 2))


# ------------------------------------------------------------------------------------- mmaction2
def _proposals(path: Path, content: dict[str, Any]) -> ListedBoxes:
    rows = []
    for key in content:
        name, comma, second = key.rpartition(",")
        try:
            if not comma or not name:
                raise ValueError("it should be a video and a second, such as video,0902")
            rows.append((name, parse_micros(second)))
        except ValueError as error:
            raise DataError(f"{path}: the key {key!r} is not a key frame: {error}.") from error
    try:
        sizes = np.array([len(boxes) for boxes in content.values()], dtype=np.int64)
        flat = list(chain.from_iterable(content.values()))
        values = np.array(flat, dtype=np.float64).reshape(len(flat), -1)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: a value is not a list of boxes [x1, y1, x2, y2, score]."
        ) from error
    if len(flat) and values.shape[1] != 5:
        raise DataError(
            f"{path}: boxes have {values.shape[1]} numbers instead of 5: x1, y1, x2, y2, score."
        )
    values = values.reshape(-1, 5)
    listed = ListedBoxes(
        frames=frames_of(rows).at(np.repeat(np.arange(len(sizes)), sizes)),
        corners=values[:, :4],
        score=values[:, 4],
        format="mmaction2 proposals",
    )
    return _checked(path, listed)


# ---------------------------------------------------------------------------------------- common
def _load(path: Path) -> Any:
    first_character(path)  # refuses what cannot be opened, and pickles
    try:
        return parse_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not JSON ({error}); fetch it again.") from error


def _checked(path: Path, listed: ListedBoxes) -> ListedBoxes:
    """Clip boxes to their frames, refusing invalid ones."""
    wrong = np.flatnonzero(~(are_boxes(listed.corners) & are_scores(listed.score)))
    if len(wrong):
        first, frames = int(wrong[0]), listed.frames
        corners = [round(value, 6) for value in listed.corners[first].tolist()]
        raise DataError(
            f"{path}, box {first + 1} ({frames.videos[frames.video[first]]}, second"
            f" {frames.micros[first] / 1e6:g}): {box_fault(corners, listed.score[first])}."
        )
    return listed.clipped_to_frame()
