"""Boxes on key frames, grouped by what is decoded from a video at once.

A take is up to eight consecutive key frames of one video, with the requested boxes on them. Their
clips are read as one sorted set of frames, opening the file once. The grouping into takes changes
no pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.data.boxes.ava_csv import FloatArray
from bench.data.boxes.regions import Regions
from bench.data.decode.decode import uneven_times
from bench.data.media.media import FrameFolder, Media
from bench.data.views.clip_frames import key_clips
from bench.data.views.key_views import is_mirrored, mirror_boxes, view_boxes
from bench.data.views.pixel_recipe import Recipe
from bench.errors import UnreadableMedia
from bench.types import ClipPlan, IntArray

TAKE = 8  # key frames at most; takes do not cross multiples of it in key frame numbers

# By default, a file shorter than this is the part of a film that AVA labels: 15 minutes from
# second 900.
CUT_SECONDS, CUT_START = 1200.0, 900.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleBoxes:
    """The boxes of a take: n boxes on S consecutive key frames of one video.

    `rows` int64 `[n]` are row numbers within the given manifest, in the requested order; `moment`
    int64 `[n]` is the index of each box's key frame among the S. `corners` float64 `[n, 4]` are x1,
    y1, x2, y2 as fractions of the view, mirrored if its key frame is. Per key frame, `mirrored`
    `[S]` says whether its clip is, and `repeated` `[S]` counts its repeated frames. `clip` is the
    number of the first key frame in `Regions.clip`. `outside` counts the boxes that lie entirely
    outside the centre crop: they are clipped to its edge.
    """

    rows: IntArray
    moment: IntArray
    corners: FloatArray
    mirrored: npt.NDArray[np.bool_]
    repeated: IntArray
    clip: int
    outside: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_moments(self) -> int:
        """The number of key frames: S."""
        return len(self.mirrored)


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """What is read together: the boxes of `rows` on key frames `clip`, `clip + 1`, ... of a video.

    `moment` int64 `[n]` is the key frame of each row, counted from `clip`; `micros` int64 `[S]` the
    times of the key frames in the film.
    """

    rows: IntArray
    moment: IntArray
    micros: IntArray
    clip: int

    def alone(self) -> list[Take]:
        """Return each of the key frames as a take of its own."""
        return [
            Take(
                rows=self.rows[self.moment == moment],
                moment=np.zeros(int((self.moment == moment).sum()), dtype=np.int64),
                micros=self.micros[moment : moment + 1],
                clip=self.clip + moment,
            )
            for moment in range(len(self.micros))
        ]

    def boxes(
        self, regions: Regions, recipe: Recipe, draw: int, clips: IntArray, height: int, width: int
    ) -> SampleBoxes:
        """Return the boxes as they lie in the view of frames of `height` and `width` pixels.

        `clips` `[S, T]` are the frame numbers that were read.
        """
        mirrored = np.array(
            [
                is_mirrored(recipe.view, recipe.seed, draw, self.clip + moment)
                for moment in range(len(self.micros))
            ]
        )
        corners, outside = view_boxes(
            regions.corners[self.rows], recipe.view, size=recipe.size, height=height, width=width
        )
        is_turned = mirrored[self.moment]
        corners[is_turned] = mirror_boxes(corners[is_turned])
        repeated = [len(clip) - len(np.unique(clip)) for clip in clips]
        return SampleBoxes(
            rows=self.rows,
            moment=self.moment,
            corners=corners,
            mirrored=mirrored,
            repeated=np.array(repeated, dtype=np.int64),
            clip=self.clip,
            outside=outside,
        )

    def unread_boxes(self, regions: Regions) -> SampleBoxes:
        """Return the boxes of a take that cannot be read: fractions of the frame, not mirrored."""
        num = len(self.micros)
        return SampleBoxes(
            rows=self.rows,
            moment=self.moment,
            corners=regions.corners[self.rows],
            mirrored=np.zeros(num, dtype=np.bool_),
            repeated=np.zeros(num, dtype=np.int64),
            clip=self.clip,
        )


def take_starts(regions: Regions, rows: IntArray, draws: IntArray) -> IntArray:
    """Return the start of each take among requested `rows` with their `draws`, and the last's end.

    Neighbours share a take if they are of the same video and draw, and on the same key frame or
    consecutive ones within one group of `TAKE` numbers.
    """
    if len(rows) == 0:
        return np.zeros(1, dtype=np.int64)
    clip, video = regions.clip[rows], regions.video[rows]
    step = np.diff(clip)
    stays = (step == 0) | (step == 1)
    stays &= np.diff(clip // TAKE) == 0
    stays &= (np.diff(video) == 0) & (np.diff(draws) == 0)
    starts: IntArray = np.r_[0, np.flatnonzero(~stays) + 1, len(rows)].astype(np.int64)
    return starts


def take_of(regions: Regions, rows: IntArray) -> Take:
    """Return the take of rows between two of `take_starts`."""
    clip = regions.clip[rows]
    moment = clip - clip[0]
    micros = np.zeros(int(moment[-1]) + 1, dtype=np.int64)
    micros[moment] = regions.micros[rows]
    return Take(rows=rows, moment=moment, micros=micros, clip=int(clip[0]))


def key_clips_at(
    plan: ClipPlan, media: Media, micros: IntArray, *, start: float | None, frame_rate: float
) -> Callable[[int, float], IntArray]:
    """Return the function that chooses the frames `[S, T]` around `micros` for `read_frames`.

    It raises `UnreadableMedia` for a key frame before or after the file.
    """

    def choose(num_frames: int, fps: float) -> IntArray:
        centres, beyond = key_centres(
            media, micros, num_frames, fps, start=start, frame_rate=frame_rate
        )
        if beyond:
            raise UnreadableMedia(next(iter(beyond.values())))
        return key_clips(plan, num_frames, centres)

    return choose


def key_centres(
    media: Media,
    micros: IntArray,
    num_frames: int,
    fps: float,
    *,
    start: float | None,
    frame_rate: float,
) -> tuple[IntArray, dict[int, str]]:
    """Return the frame numbers of key frames `[S]`, and by micros why some are not in the file.

    `start` and `frame_rate` are those of `Regions`, `num_frames` and `fps` those of the file. If
    its frame rate varies, the frame nearest in time is chosen.

    Raises:
        UnreadableMedia: a file without a frame rate.
    """
    rate = frame_rate if isinstance(media, FrameFolder) else fps
    if rate <= 0:
        raise UnreadableMedia(
            f"{media} has no frame rate, so its key frames cannot be located; re-encode it as mp4."
        )
    seconds = num_frames / rate
    if start is None:
        start = CUT_START if seconds < CUT_SECONDS else 0.0
    wanted, times = micros / 1e6 - start, uneven_times(media)
    if times is None:
        centres = np.rint(wanted * rate).astype(np.int64)
    else:
        between, half = (times[1:] + times[:-1]) / 2, 0.5 / rate
        edges = np.concatenate([[-half], between, [times[-1] + half]])
        centres = np.searchsorted(edges, wanted).astype(np.int64) - 1
    beyond = {
        int(at): (
            f"{media}: the key frame at second {at / 1e6:g} is"
            f" {'before' if centre < 0 else 'after'} the file, which begins at second {start:g} and"
            f" has {seconds:.2f} s ({num_frames:,} frames); fetch the whole file, or set where it"
            " begins (task option start)."
        )
        for at, centre in zip(micros, centres, strict=True)
        if not 0 <= centre < num_frames
    }
    return centres, beyond
