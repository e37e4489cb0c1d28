"""Frame mAP in plain Python, row by row: what `bench.metrics.frame_map` is measured against.

Written from the rules alone, without its code and without numpy; the tests compare both on random
small files, and `benchmarks.frame_map` their time on large ones.
"""

from __future__ import annotations

import csv
import ctypes
import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

Frame = tuple[str, int]
Box = tuple[float, float, float, float]
# (score or person, action, box, line)
Row = tuple[float, int, Box, int]


def plain_frame_map(
    truth: Path,
    detections: Path,
    classes: Collection[int],
    *,
    rules: str = "official",
    excluded: Path | None = None,
    best_of_frame: int = 50,
) -> tuple[float, Mapping[int, float | None]]:
    """Return the mean over classes and the AP by class id, None where it is undefined.

    Raises:
        ValueError: an inverted detection under the rules of mmaction2.
    """
    wanted, annotated = _read(truth, classes)
    given, _ = _read(detections, classes)
    if rules != "official":
        annotated = {frame for frame, rows in wanted.items() if rows}
    out = set()
    if excluded is not None:
        with excluded.open(newline="") as file:
            out = {_frame(cells) for cells in csv.reader(file) if cells}
    num_truth: dict[int, int] = defaultdict(int)
    for frame, rows in wanted.items():
        for _, action, _, _ in rows:
            num_truth[action] += frame not in out or rules == "mmaction2"
    ranked: dict[int, list[tuple[float, int, bool]]] = defaultdict(list)
    for frame, rows in given.items():
        if frame in out or (frame not in annotated and rules != "slowfast"):
            continue
        if rules == "official":
            rows = _solid(_best(rows, best_of_frame))
        elif rules == "slowfast":
            rows = _solid(rows)
        elif any(box[0] > box[2] or box[1] > box[3] for _, _, box, _ in rows):
            raise ValueError("invalid box data")
        for action, score, line, right in _match(rows, wanted.get(frame, []), rules):
            ranked[action].append((score, line, right))
    found: dict[int, float | None] = {}
    for action in classes:
        defined = num_truth[action] and (ranked[action] or rules != "mmaction2")
        found[action] = _area(ranked[action], num_truth[action]) if defined else None
    every = [ap for ap in found.values() if ap is not None]
    return (sum(every) / len(every) if every else float("nan")), found


def _frame(cells: list[str]) -> Frame:
    return cells[0], round(float(cells[1]) * 1e6)


def _read(path: Path, classes: Collection[int]) -> tuple[dict[Frame, list[Row]], set[Frame]]:
    rows: dict[Frame, list[Row]] = defaultdict(list)
    frames = set()
    with path.open(newline="") as file:
        for line, cells in enumerate(csv.reader(file)):
            frame = _frame(cells)
            frames.add(frame)
            if len(cells) == 2 or int(cells[6]) not in classes:
                continue
            x1, y1, x2, y2 = map(float, cells[2:6])
            last = float(cells[7]) if len(cells) == 8 else 1.0
            rows[frame].append((last, int(cells[6]), (x1, y1, x2, y2), line))
    return rows, frames


def _best(rows: list[Row], most: int) -> list[Row]:
    heap: list[tuple[float, int, float, float, float, float, int]] = []
    for score, action, (x1, y1, x2, y2), line in rows:
        row = (score, action, y1, x1, y2, x2, -line)
        if len(heap) < most:
            heapq.heappush(heap, row)
        elif score > heap[0][0]:
            heapq.heapreplace(heap, row)
    return [(row[0], row[1], (row[3], row[2], row[5], row[4]), -row[6]) for row in heap]


def _solid(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row[2][0] < row[2][2] and row[2][1] < row[2][3]]


def _match(rows: list[Row], wanted: list[Row], rules: str) -> list[tuple[int, float, int, bool]]:
    rows = sorted(rows, key=lambda row: row[3] if rules == "slowfast" else (-row[0], row[3]))
    if rules != "slowfast":
        wanted = sorted(wanted, key=lambda row: -row[0])
    taken: set[int] = set()
    found = []
    for score, action, box, line in rows:
        best, target = -1.0, -1
        for number, (_, other, truth, _) in enumerate(wanted):
            if other == action:
                overlap = _iou32(box, truth) if rules == "mmaction2" else _iou(box, truth)
                if overlap > best:
                    best, target = overlap, number
        right = best >= 0.5 and target not in taken
        if right:
            taken.add(target)
        found.append((action, _single(score) if rules == "mmaction2" else score, line, right))
    return found


def _iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    inner = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union if union else 0.0


def _iou32(a: Box, b: Box) -> float:
    """Round as mmaction2 does: sides and areas to float32, the rest not."""
    ax1, ay1, ax2, ay2 = map(_single, a)
    bx1, by1, bx2, by2 = map(_single, b)
    width = max(0.0, _single(min(ax2, bx2) - max(ax1, bx1)))
    height = max(0.0, _single(min(ay2, by2) - max(ay1, by1)))
    area_a = _single(_single(ax2 - ax1) * _single(ay2 - ay1))
    area_b = _single(_single(bx2 - bx1) * _single(by2 - by1))
    inner = width * height
    union = _single(area_a + area_b) - inner
    return inner / union if union else 0.0


def _single(value: float) -> float:
    return ctypes.c_float(value).value


def _area(ranked: list[tuple[float, int, bool]], num_truth: int) -> float:
    """Add up every step of recall times the best precision from there on."""
    right, points = 0, []
    for rank, row in enumerate(sorted(ranked, key=lambda row: (-row[0], row[1])), start=1):
        right += row[2]
        points.append((right / num_truth, right / rank))
    area, best = 0.0, 0.0
    for place in range(len(points) - 1, -1, -1):
        recall, precision = points[place]
        best = max(best, precision)
        area += (recall - (points[place - 1][0] if place else 0.0)) * best
    return area
