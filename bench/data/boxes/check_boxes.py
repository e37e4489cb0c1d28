"""Check each video behind rows that are boxes once: does it exist, and do its key frames decode?"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from bench.data.boxes.regions import Regions
from bench.data.check import CheckReport, Outcome, Threads, duplicates, outcomes_of, report_of
from bench.data.decode.decode import length_of, read_frames
from bench.data.manifest import Manifest
from bench.data.media.checked_before import Looks
from bench.data.media.media import Media, without_folder
from bench.data.views.clip_frames import key_clips, repeated_frames
from bench.data.views.key_frames import TAKE, key_centres, key_clips_at
from bench.errors import UnreadableMedia
from bench.files import parse_json
from bench.types import ClipPlan, IntArray, Progress

VIDEOS_AT_ONCE = 16

# (medium, microseconds of its key frames) -> reasons why some of them cannot be read.
LookAtVideo = Callable[[Media, IntArray], Mapping[int, str]]


def check_boxes(
    manifest: Manifest,
    *,
    workers: int,
    progress: Progress,
    look: LookAtVideo,
    looks: Looks | None = None,
    stop: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Check every video that has rows; the report lists rows, as `check_manifest` does.

    `look` reads key frames of one video and raises `UnreadableMedia` if it can read none.
    `workers` threads call it. Rows that it does not report count as readable. With `looks`, what
    an earlier check read is not read again. `stop` makes the threads end, as `check_manifest`.
    """
    regions = manifest.regions
    assert regions is not None
    order = np.lexsort((regions.micros, regions.video))
    videos, first = np.unique(regions.video[order], return_index=True)
    rows_of = np.split(order, first[1:])
    found: dict[str, list[tuple[str, str]]] = {"missing": [], "empty": [], "unreadable": []}
    missing_videos: list[str] = []
    remembered = 0
    names = [regions.videos[video] for video in videos.tolist()]
    media = [regions.media[video] for video in videos.tolist()]
    micros = [np.unique(regions.micros[rows]) for rows in rows_of]

    def key_of(place: int) -> str:
        text = f"{micros[place].tolist()} {regions.start} {regions.frame_rate}"
        return hashlib.sha256(text.encode()).hexdigest()

    looked = outcomes_of(
        f"check {manifest.name} {manifest.split}",
        media,
        lambda place: look(media[place], micros[place]),
        at_once=VIDEOS_AT_ONCE,
        threads=Threads(number=workers, stop=stop),
        progress=progress,
        looks=looks,
        key_of=key_of,
    )
    for name, rows, (outcome, is_known) in zip(names, rows_of, looked, strict=True):
        remembered += is_known
        _sort_out(manifest, regions, rows, outcome, found)
        if outcome[0] == "missing":
            missing_videos.append(name)
    ids = Counter(manifest.ids)
    repeated = [(name, name) for name, times in ids.items() for _ in range(times - 1)]
    return report_of(
        manifest,
        found,
        remembered=remembered,
        twins=(*repeated, *duplicates(zip(names, media, strict=True))),
        videos=len(videos),
        key_frames=len(np.unique(regions.clip)),
        missing_videos=tuple(missing_videos),
        without_labels=int((manifest.labels.sum(axis=1) == 0).sum()),
        facts=dict(regions.facts),
    )


def look_at_key_frames(
    media: Media,
    micros: IntArray,
    *,
    plan: ClipPlan,
    start: float | None,
    frame_rate: float,
    every: bool = False,
) -> tuple[dict[int, str], str, int]:
    """Decode the clips around the first, middle and last key frame inside a video, or around all.

    `micros` are the key frames asked for, sorted. Returns the reasons why key frames cannot be
    read, by their microseconds (including all that are before or after the file), the decoder, and
    the number of repeated frames over all clips.

    Raises:
        UnreadableMedia: the medium is missing, is not a video, or has no frame rate.
    """
    num_frames, fps = length_of(media)
    centres, bad = key_centres(media, micros, num_frames, fps, start=start, frame_rate=frame_rate)
    is_inside = (centres >= 0) & (centres < num_frames)
    inside = micros[is_inside]
    repeated = repeated_frames(key_clips(plan, num_frames, centres[is_inside]))
    if not every and len(inside):
        inside = np.unique(inside[[0, len(inside) // 2, -1]])
    decoder = ""

    def read(times: IntArray) -> str:
        choose = key_clips_at(plan, media, times, start=start, frame_rate=frame_rate)
        return read_frames(media, choose, decoder="pyav").decoder

    for first in range(0, len(inside), TAKE):
        times = inside[first : first + TAKE]
        try:
            decoder = read(times)
        except UnreadableMedia:
            for time in times.tolist():
                try:
                    decoder = read(np.array([time], dtype=np.int64))
                except UnreadableMedia as error:
                    bad[time] = str(error)
    reasons = {time: without_folder(UnreadableMedia(bad[time]), media) for time in sorted(bad)}
    return reasons, decoder, repeated


def _sort_out(
    manifest: Manifest,
    regions: Regions,
    rows: IntArray,
    outcome: Outcome,
    found: Mapping[str, list[tuple[str, str]]],
) -> None:
    state, reason = outcome
    if state == "partly":
        reasons = parse_json(reason)  # by the microseconds of a key frame
        why = {row: reasons.get(str(regions.micros[row])) for row in rows.tolist()}
        found["unreadable"].extend(
            (manifest.ids[row], r) for row, r in why.items() if r is not None
        )
    elif state != "good":
        found[state].extend((manifest.ids[row], reason) for row in rows.tolist())
