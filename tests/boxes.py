"""Boxes on key frames in memory: a manifest, the truth it is scored against, and their CSV."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from bench.data.boxes.ava_csv import Boxes, KeyFrames
from bench.data.boxes.regions import FrameTruth, Regions
from bench.data.manifest import Manifest

CLASSES = ("stand", "swim", "sit", "run")  # ids 1, 2, 3 and 8
IDS = np.array([1, 2, 3, 8])
EVALUATED = {1: "stand", 3: "sit", 8: "run"}
VIDEOS = ("a", "-b,c", "d")
SHAPES = np.array(
    [[0, 0, 0.5, 0.5], [0.1, 0, 0.6, 0.5], [0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.3, 0.3, 0.9, 0.8]]
)

Case = tuple[Manifest, FrameTruth, np.ndarray]


def frames_of(rows: list[tuple[int, float]]) -> KeyFrames:
    video = np.array([video for video, _ in rows], dtype=np.int32)
    micros = np.array([round(second * 1e6) for _, second in rows], dtype=np.int64)
    return KeyFrames(videos=VIDEOS, video=video, micros=micros)


def truth_of(
    rows: list[tuple[int, float, list[float], int, int]],
    *,
    declared: Sequence[tuple[int, float]] = (),
    excluded: list[tuple[int, float]] | None = None,
    rules: str = "official",
) -> FrameTruth:
    """Rows are (video, second, corners, action, person)."""
    return FrameTruth(
        boxes=Boxes(
            frames=frames_of([row[:2] for row in rows]),
            corners=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
            action=np.array([row[3] for row in rows], dtype=np.int32),
            last=np.array([row[4] for row in rows], dtype=np.float64),
            declared=frames_of(list(declared)),
        ),
        excluded=None if excluded is None else frames_of(excluded),
        classes=EVALUATED,
        ids=IDS,
        rules=rules,
    )


def manifest_of(rows: list[tuple[int, float, list[float]]]) -> Manifest:
    """Rows are (video, second, corners), in order of video and second."""
    frames = frames_of([row[:2] for row in rows])
    regions = Regions.of(
        videos=VIDEOS,
        media=[Path(f"{name}.mp4") for name in VIDEOS],
        video=frames.video,
        micros=frames.micros,
        corners=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        facts={"threshold": 0.8, "below_threshold": 3},
    )
    return Manifest(
        name="boxes",
        split="val",
        kind="video",
        ids=[f"{VIDEOS[v]},{s:04g},{i}" for i, (v, s, _) in enumerate(rows)],
        media=regions.by_row,
        labels=np.zeros((len(rows), len(IDS)), dtype=np.int64),
        classes=CLASSES,
        regions=regions,
    )


def random_case(seed: int, *, rules: str = "official", ties: bool = True) -> Case:
    """Up to 8 key frames with detector boxes and truth near them; many scores are equal."""
    rng = np.random.default_rng(seed)
    keys = [(v, s) for v in range(len(VIDEOS)) for s in (902.0, 903.5, 1000.0)]
    picked = sorted(rng.choice(len(keys), size=rng.integers(2, 9), replace=False).tolist())
    boxes = [
        (*keys[place], SHAPES[rng.integers(len(SHAPES))].tolist())
        for place in picked
        for _ in range(rng.integers(1, 4))
    ]
    true = [
        (*keys[rng.integers(len(keys))], SHAPES[rng.integers(len(SHAPES))].tolist(),
         int(rng.choice(IDS)), int(rng.integers(3)))
        for _ in range(rng.integers(3, 15))
    ]  # fmt: skip
    shown = boxes[int(rng.integers(len(boxes)))]
    true.append((*shown, 3, 0))  # so that some rules have a number
    out = [keys[place] for place in rng.choice(len(keys), size=rng.integers(0, 2))]
    out = [key for key in out if key != shown[:2]]
    truth = truth_of(true, declared=[keys[rng.integers(len(keys))]], excluded=out, rules=rules)
    scores = rng.integers(0, 4 if ties else 1000, size=(len(boxes), len(IDS)))
    return manifest_of(boxes), truth, (scores / (4 if ties else 1000)).astype(np.float32)


def write_csv(path: Path, rows: list[tuple]) -> Path:
    """Write rows of cells with a plain f-string; a name with a comma is quoted."""
    names = [f'"{name}"' if "," in name else name for name in VIDEOS]
    lines = [",".join([names[video], *map(repr, rest)]) for video, *rest in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def truth_rows(
    truth: FrameTruth, without: Collection[tuple[int, float]] = frozenset()
) -> list[tuple]:
    """Return the cells of a ground truth, but for those of some frames."""
    boxes = truth.boxes
    rows: list[tuple] = [
        (v, m / 1e6, *c, a, p)
        for v, m, c, a, p in zip(
            boxes.frames.video.tolist(), boxes.frames.micros.tolist(), boxes.corners.tolist(),
            boxes.action.tolist(), boxes.last.tolist(), strict=True,
        )
    ]  # fmt: skip
    rows += frame_rows(boxes.declared)
    return [row for row in rows if row[:2] not in without]


def frame_rows(frames: KeyFrames) -> list[tuple[int, float]]:
    return [
        (v, m / 1e6) for v, m in zip(frames.video.tolist(), frames.micros.tolist(), strict=True)
    ]
