"""Media of the training split that are scored too: equal bytes, whatever their names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from bench.data.manifest import Manifest
from bench.data.media.content_digest import MISSING, UNREADABLE
from bench.data.media.digest_cache import media_digests
from bench.data.media.media import FrameFolder, Media, Member, ParquetCell
from bench.types import IntArray, Progress

SHOWN = 5
_FOLDER, _UNKNOWN = -1, -2  # instead of a size


def overlap_note(
    fit: Manifest, score: Manifest, cache: Path, progress: Progress
) -> tuple[str, ...]:
    """Return a sentence on scored media that are also in the training split; empty if none is.

    Only media of equal size are read, through the digest `cache`. Rows that are boxes are
    compared by video.

    Raises:
        DataError: a file that exists but cannot be read, or an unusable cache.
    """
    (names, media), (scored_names, scored) = _media_of(fit), _media_of(score)
    found = in_both(media, scored, cache=cache, progress=progress)
    if not found:
        return ()
    pairs = [f"{scored_names[row]} = {fit.split}/{names[other]}" for row, other in found.items()]
    rest = ", ..." if len(pairs) > SHOWN else ""
    return (
        f"{len(found):,} of the {len(scored):,} scored media {'is' if len(found) == 1 else 'are'}"
        f" also in the training split (equal bytes): {', '.join(pairs[:SHOWN])}{rest}",
    )


def in_both(
    fit: Sequence[Media], score: Sequence[Media], *, cache: Path, progress: Progress
) -> Mapping[int, int]:
    """Return the rows of `score` whose content is in `fit`, each with the first such row there."""
    sizes, scored_sizes = _sizes(fit), _sizes(score)
    shared = np.intersect1d(sizes, scored_sizes)
    shared = shared[shared != 0]  # empty files hold nothing that could be learned
    if _UNKNOWN in sizes or _UNKNOWN in scored_sizes:
        shared = np.union1d(sizes, scored_sizes)
    rows, scored_rows = (np.flatnonzero(np.isin(of, shared)) for of in (sizes, scored_sizes))
    if not (len(rows) and len(scored_rows)):
        return {}
    first: dict[str, int] = {}
    digests = _digests(fit, rows.tolist(), cache, progress)
    for row, digest in zip(rows.tolist(), digests, strict=True):
        first.setdefault(digest, row)
    for nothing in (MISSING, UNREADABLE):
        first.pop(nothing, None)
    digests = _digests(score, scored_rows.tolist(), cache, progress)
    pairs = zip(scored_rows.tolist(), digests, strict=True)
    return {row: first[digest] for row, digest in pairs if digest in first}


def _media_of(manifest: Manifest) -> tuple[Sequence[str], Sequence[Media]]:
    """Return the names and media of the rows; of boxes, those of their videos."""
    regions = manifest.regions
    if regions is None:
        return manifest.ids, manifest.media
    videos = np.unique(regions.video).tolist()
    return [regions.videos[one] for one in videos], [regions.media[one] for one in videos]


def _sizes(media: Sequence[Media]) -> IntArray:
    return np.fromiter((_size(medium) for medium in media), dtype=np.int64, count=len(media))


def _size(medium: Media) -> int:
    if isinstance(medium, FrameFolder):
        return _FOLDER
    if isinstance(medium, ParquetCell):
        return _UNKNOWN
    if isinstance(medium, Member):
        return medium.size
    with suppress(OSError):  # missing, or a link in a circle: there are no bytes to compare
        return os.stat(medium).st_size  # noqa: PTH116 (for every medium)
    return 0


def _digests(
    media: Sequence[Media], rows: Sequence[int], cache: Path, progress: Progress
) -> list[str]:
    take = getattr(media, "take", None)
    chosen = take(np.array(rows)) if take else [media[row] for row in rows]
    return media_digests(chosen, cache=cache, progress=progress)
