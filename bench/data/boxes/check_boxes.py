"""Look at the videos behind rows that are boxes, once each: is it there, and are its key frames?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bench.data.boxes.regions import Regions
from bench.data.check import CheckReport, Outcome, look_at, report_of
from bench.data.decode.decode import length_of, read_frames
from bench.data.manifest import Manifest
from bench.data.media.checked_before import Looks
from bench.data.media.content_digest import content_name, real_place
from bench.data.media.media import Media, without_folder
from bench.data.views.clip_frames import key_clips, repeated_frames
from bench.data.views.key_frames import TAKE, key_centres, key_clips_at
from bench.errors import UnreadableMedia
from bench.types import ClipPlan, IntArray, Progress

VIDEOS_AT_ONCE = 16

# (medium, microseconds of its key frames) to why some of those cannot be read.
LookAtVideo = Callable[[Media, IntArray], Mapping[int, str]]


def check_boxes(
    manifest: Manifest,
    *,
    workers: int,
    progress: Progress,
    look: LookAtVideo,
    looks: Looks | None = None,
) -> CheckReport:
    """Look at every video that has rows; the report names rows, as `check_manifest` does.

    `look` reads key frames of one video and raises `UnreadableMedia` if it has none to read.
    `workers` threads call it. Rows that `look` says nothing of count as readable. With `looks`,
    what an earlier check read is not read again.
    """
    regions = manifest.regions
    assert regions is not None
    order = np.lexsort((regions.micros, regions.video))
    videos, first = np.unique(regions.video[order], return_index=True)
    rows_of = np.split(order, first[1:])
    found: dict[str, list[tuple[str, str]]] = {"missing": [], "empty": [], "unreadable": []}
    missing_videos: list[str] = []
    remembered = 0
    progress.start(f"check {manifest.name} {manifest.split}", len(videos))
    try:
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(videos), VIDEOS_AT_ONCE):
                part = slice(start, start + VIDEOS_AT_ONCE)
                media = [regions.media[video] for video in videos[part].tolist()]
                micros = [np.unique(regions.micros[rows]) for rows in rows_of[part]]
                questions = [_question(regions, times) for times in micros]
                outcomes, known = look_at(
                    media, _each(media, micros, look), looks, pool, progress, questions
                )
                remembered += known
                for video, rows, outcome in zip(
                    videos[part].tolist(), rows_of[part], outcomes, strict=True
                ):
                    _sort_out(manifest, regions, rows, outcome, found)
                    if outcome[0] == "missing":
                        missing_videos.append(regions.videos[video])
    finally:
        progress.stop()
    return report_of(
        manifest,
        found,
        remembered=remembered,
        duplicates=(*_repeated_ids(manifest), *_same_files(regions, videos)),
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
    """Decode the clips of the first, middle and last key frame that lie in a video, or of all.

    Returns why key frames cannot be read, by their microseconds (sorted `micros` are those asked
    for; all that lie before or behind the file are named), the decoder, and the number of repeated
    frames over all clips.

    Raises:
        UnreadableMedia: the medium is not there, is no video, or tells no frame rate.
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


def _each(
    media: Sequence[Media], micros: Sequence[IntArray], look: LookAtVideo
) -> Callable[[int], Mapping[int, str]]:
    return lambda place: look(media[place], micros[place])


def _sort_out(
    manifest: Manifest,
    regions: Regions,
    rows: IntArray,
    outcome: Outcome,
    found: Mapping[str, list[tuple[str, str]]],
) -> None:
    """Put the rows of a video where its outcome says."""
    state, reason = outcome
    if state == "good":
        return
    if state == "partly":
        reasons = {int(time): why for time, why in json.loads(reason).items()}
        for row in rows.tolist():
            why = reasons.get(int(regions.micros[row]))
            if why is not None:
                found["unreadable"].append((manifest.ids[row], why))
        return
    found[state].extend((manifest.ids[row], reason) for row in rows.tolist())


def _question(regions: Regions, micros: IntArray) -> str:
    """Name what is asked of a video: the same key frames at the same place."""
    text = f"{micros.tolist()} {regions.start} {regions.frame_rate}"
    return hashlib.sha256(text.encode()).hexdigest()


def _repeated_ids(manifest: Manifest) -> list[tuple[str, str]]:
    if len(set(manifest.ids)) == len(manifest):
        return []
    number = Counter(manifest.ids)
    return [(name, name) for name, times in number.items() for _ in range(times - 1)]


def _same_files(regions: Regions, videos: IntArray) -> list[tuple[str, str]]:
    """Return the videos whose file an earlier video has."""
    first: dict[str, str] = {}
    known: dict[str, str] = {}
    twins = []
    for video in videos.tolist():
        medium, name = regions.media[video], regions.videos[video]
        file = content_name(medium, real_place(medium, known))
        earlier = first.setdefault(file, name)
        if earlier != name:
            twins.append((name, earlier))
    return twins
