"""Boxes on key frames, put together into what one look at a video decodes.

A take is up to eight key frames that follow each other in one video, with the boxes of a request
that lie on them. Their clips are read as one sorted set of frames, for one opening of the file.
Which key frames share a take changes no pixel.
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

TAKE = 8  # key frames at most; takes do not cross multiples of it in the numbers of key frames

# A file shorter than this, of which nothing else is known, is the cut of a film that AVA labels:
# from second 900 on, 15 minutes.
CUT_SECONDS, CUT_START = 1200.0, 900.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleBoxes:
    """The boxes of a take: S key frames that follow each other in one video, n boxes on them.

    `rows` int64 `[n]` are row numbers within the manifest that was given, in the order they were
    asked for, `moment` int64 `[n]` says on which of the S key frames a box lies. `corners` float64
    `[n, 4]` are x1, y1, x2, y2 as fractions of the view, mirrored where its key frame is.
    `mirrored` and `repeated` `[S]` say of each key frame whether its clip is, and how many of its
    frames repeat others. `clip` is the number of the first key frame in `Regions.clip`. `outside`
    counts the boxes that the centre crop cuts off wholly: they are clipped to its edge.
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
        """How many key frames there are: S."""
        return len(self.mirrored)


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """What is read at once: the boxes of `rows` on key frames `clip`, `clip + 1`, ... of a video.

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
        """Return where the boxes lie in the view of frames of `height` and `width` pixels.

        `clips` `[S, T]` are the frames that were read.
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
    """Return where takes begin among requested `rows` with their `draws`, and where the last ends.

    Neighbours share a take if they are of one video and draw and lie on the same key frame or on
    the one before, in the same group of `TAKE` numbers.
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
    """Return what chooses the frames of key frames at `micros` for `read_frames`: `[S, T]`.

    It raises `UnreadableMedia` for a key frame before or behind the file.
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
    """Return the frame numbers of key frames `[S]`, and why some are not in the file, by micros.

    `start` and `frame_rate` are those of `Regions`, `num_frames` and `fps` what the file says.
    Where its frame rate varies, the frame is the one whose time is nearest.

    Raises:
        UnreadableMedia: a file that tells no frame rate.
    """
    rate = frame_rate if isinstance(media, FrameFolder) else fps
    if rate <= 0:
        raise UnreadableMedia(
            f"{media}: it tells no frame rate, so that its key frames cannot be found; write it"
            " again as mp4."
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
            f"{media}: the key frame at second {at / 1e6:g} lies"
            f" {'before' if centre < 0 else 'behind'} it: it begins at second {start:g} and has"
            f" {seconds:.2f} s ({num_frames:,} frames); fetch the whole file, or say where it"
            " begins (task option start)."
        )
        for at, centre in zip(micros, centres, strict=True)
        if not 0 <= centre < num_frames
    }
    return centres, beyond
