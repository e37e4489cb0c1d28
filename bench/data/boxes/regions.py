"""Rows that are boxes on key frames of videos: their locations, readout and ground truth.

A key frame is one second of a film; the clip around it is encoded once for all of its boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

import numpy as np

from bench.data.boxes.ava_csv import Boxes, FloatArray, KeyFrames
from bench.data.media.media import Media
from bench.types import IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """Row i is the box `corners[i]` in `videos[video[i]]` at `micros[i]` microseconds of the film.

    `media` holds one medium per video. `corners` are x1, y1, x2, y2 as fractions of the frame,
    float64 `[rows, 4]`; `video` and `micros` int64 `[rows]`. `clip` int64 `[rows]` numbers the key
    frames: rows of a key frame are consecutive, as are key frames of a video; a subset keeps the
    numbers of its root. Files begin at second `start` of the film (None: at 900 if they are shorter
    than 20 minutes, else at 0); folders of frames have `frame_rate` images per second. `facts`
    describe the source of the boxes: JSON values for the record.
    """

    videos: Sequence[str]
    media: Sequence[Media]
    video: IntArray
    micros: IntArray
    corners: FloatArray
    clip: IntArray
    start: float | None = None
    frame_rate: float = 30.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        videos: Sequence[str],
        media: Sequence[Media],
        video: IntArray,
        micros: IntArray,
        corners: FloatArray,
        start: float | None = None,
        frame_rate: float = 30.0,
        facts: Mapping[str, Any] | None = None,
    ) -> Regions:
        """Number the key frames of rows that are sorted by (video, time)."""
        assert len(video) == len(micros) == len(corners), (len(video), len(micros), len(corners))
        later = (np.diff(video) > 0) | ((np.diff(video) == 0) & (np.diff(micros) >= 0))
        assert later.all(), "rows must be sorted by video and key frame"
        is_new = (np.diff(video, prepend=-1) != 0) | (np.diff(micros, prepend=-1) != 0)
        return cls(
            videos=videos,
            media=media,
            video=np.asarray(video, dtype=np.int64),
            micros=np.asarray(micros, dtype=np.int64),
            corners=np.asarray(corners, dtype=np.float64),
            clip=np.cumsum(is_new).astype(np.int64) - 1,
            start=start,
            frame_rate=frame_rate,
            facts=facts or {},
        )

    def __len__(self) -> int:
        return len(self.video)

    @property
    def frames(self) -> KeyFrames:
        """The key frame of every row."""
        return KeyFrames(videos=self.videos, video=self.video.astype(np.int32), micros=self.micros)

    @property
    def by_row(self) -> RepeatedMedia:
        """The medium of every row."""
        return RepeatedMedia(self.media, self.video)

    def take(self, rows: IntArray) -> Regions:
        """Return the given rows, in the given order."""
        return replace(
            self,
            video=self.video[rows],
            micros=self.micros[rows],
            corners=self.corners[rows],
            clip=self.clip[rows],
        )


class RepeatedMedia(Sequence[Media]):
    """Media shared by several rows: row i has `media[place[i]]`."""

    def __init__(self, media: Sequence[Media], place: IntArray) -> None:
        self.media, self.place = media, place

    def __len__(self) -> int:
        return len(self.place)

    @overload
    def __getitem__(self, row: int) -> Media: ...
    @overload
    def __getitem__(self, row: slice) -> RepeatedMedia: ...
    def __getitem__(self, row: int | slice) -> Media | RepeatedMedia:
        if isinstance(row, slice):
            return RepeatedMedia(self.media, self.place[row])
        return self.media[int(self.place[row])]

    def take(self, rows: IntArray) -> RepeatedMedia:
        """Return the given rows, in the given order."""
        return RepeatedMedia(self.media, self.place[rows])


@dataclass(frozen=True, kw_only=True)
class RegionReadout:
    """How the features of a box are read from the token grid around its key frame.

    `view` is the `whole` frame (short side 8/7 of the encoder's size, 256 for 224) or its `centre`
    square. `pool` is the `mean` over the region (RoIAlign to one bin), or the `max` of 7 x 7 bins.
    The outputs of `num_layers` blocks, including the last, are concatenated; all pass through the
    encoder's final norm, or only the last if `norm` is false. Tokens for an attentive probe are
    `bins` x `bins` per time step, from the last block.
    """

    view: Literal["whole", "centre"] = "whole"
    pool: Literal["mean", "max"] = "mean"
    num_layers: int = 4
    norm: bool = True
    bins: int = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameTruth:
    """The ground truth for detections on key frames.

    `boxes` are all rows of the ground truth, `excluded` the frames excluded by a list. `classes`
    are the evaluated ones, id -> name; `ids` int64 `[C]` are the ids of the task's classes, in
    their order. `rules` names the evaluator whose number is reported.
    """

    boxes: Boxes
    excluded: KeyFrames | None
    classes: Mapping[int, str]
    ids: IntArray
    rules: str = "official"
