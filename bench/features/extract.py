"""Fill feature sets by decoding and encoding only the rows that are not stored yet."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.config import Machine
from bench.data.manifest import Manifest
from bench.errors import BenchError
from bench.features.blocks_todo import BlockWriter
from bench.features.counts import Counts
from bench.features.extraction import Extraction
from bench.features.key import shared_digest
from bench.features.row_reader import RowReader
from bench.features.store import STRETCH, FeatureSet, RowFeatures
from bench.launch.work_claims import Claims, claims_file
from bench.types import IntArray, Progress, Reads

log = logging.getLogger(__name__)

MIN_CLAIM = 4  # stretches: decoding processes are started anew for each claim


def extract(
    extraction: Extraction,
    machine: Machine,
    *,
    progress: Progress,
    counts: Counts,
    rank: int = 0,
    world: int = 1,
) -> dict[Reads, FeatureSet]:
    """Store the features of all rows of the manifest.

    One pass of the encoder fills all readouts. Existing blocks are kept, and whole blocks of the
    root manifest are filled, so more rows than those of a subset may be stored. Rows that another
    process is decoding for the same home are not decoded twice. With `world` processes each fills
    its own part; a set is complete when all have returned. `counts` is updated.

    Raises:
        BenchError: not enough space, or values that cannot be stored.
    """
    manifest, needed = extraction.manifest, extraction.manifest.root_rows
    sets = extraction.feature_sets(machine.home, progress)
    _check_space(sets, needed, machine.home, manifest)
    mine = needed[(needed // STRETCH) % world == rank]
    fresh = _missing_rows(sets, mine)
    decoded = fresh[:0]
    if len(fresh):
        whole = extraction.of(manifest.root)
        reader = RowReader(extraction=whole, machine=machine, counts=counts)
        progress.start(f"features {manifest.root.name} {manifest.root.split}", len(fresh))
        try:
            decoded = _fill(BlockWriter(reader=reader), sets, fresh, machine.home, progress)
        finally:
            progress.stop()
    counts.rows_read_from_store += int((~np.isin(mine, decoded)).sum())
    count_notes(next(iter(sets.values())), manifest.root, mine, counts)
    return sets


def _missing_rows(sets: Mapping[Reads, FeatureSet], rows: IntArray) -> IntArray:
    """Return all rows of the blocks that `rows` need and that are missing, ascending."""
    blocks = [one.rows_of(block) for one in sets.values() for block in one.missing(rows)]
    return np.unique(np.concatenate(blocks)) if blocks else np.empty(0, dtype=np.int64)


def _fill(
    writer: BlockWriter,
    sets: Mapping[Reads, FeatureSet],
    fresh: IntArray,
    home: Path,
    progress: Progress,
) -> IntArray:
    """Write the missing blocks of `fresh` rows that no other process writes; return rows decoded.

    A process claims half of the stretches that nobody has, then half of the rest, so that another
    that starts later finds work; at the end it waits for those of others. Readouts of the same
    pixels share their claims.
    """
    claims = Claims(claims_file(home, shared_digest(next(iter(sets.values())).facts)))
    left: list[int] = np.unique(fresh // STRETCH).tolist()
    decoded = [fresh[:0]]
    try:
        while left:
            taken: list[int] = []
            most = max(MIN_CLAIM, -(-len(left) // 2))
            for stretch in left:
                if len(taken) < most and claims.take(stretch):
                    taken.append(stretch)
            if not taken:
                log.info("waiting for another process that extracts the same rows")
                claims.take(left[0], wait=True)
                taken = left[:1]
            # Another process may have written some of them in the meantime.
            rows = _missing_rows(sets, fresh[np.isin(fresh // STRETCH, taken)])
            if len(rows):
                todo = {reads: one.missing(rows) for reads, one in sets.items()}
                writer.run(sets, todo, rows, progress=progress)
                decoded.append(rows)
            progress.advance(int(np.isin(fresh // STRETCH, taken).sum()) - len(rows))
            for stretch in taken:
                claims.release(stretch)
            left = [stretch for stretch in left if stretch not in taken]
    finally:
        claims.close()
    return np.concatenate(decoded)


def count_notes(features: RowFeatures, root: Manifest, rows: IntArray, counts: Counts) -> None:
    """Count how `rows` of a root manifest were read, now or by an earlier run.

    Boxes on one key frame share its frames, so repeated ones are counted once.
    """
    clips = rows if root.regions is None else root.regions.clip[rows]
    seen: set[int] = set()
    for clip, note in zip(clips.tolist(), features.notes(rows), strict=True):
        if note.error is not None:
            continue
        counts.decoders[decoder_name(note.decoder)] += 1
        counts.boxes_outside += note.is_outside
        if clip not in seen:
            seen.add(clip)
            counts.repeated_frames += note.repeated


def decoder_name(decoder: str) -> str:
    """Strip the reason why another decoder failed, which differs between files.

    Traits of a file for which it was passed over are few, and are kept.
    """
    name, colon, reason = decoder.partition(":")
    return f"{name})" if colon and not reason.startswith(" inexact with ") else decoder


def _check_space(
    sets: Mapping[Reads, FeatureSet], needed: IntArray, home: Path, manifest: Manifest
) -> None:
    """Fail before the first frame is decoded if the disk is too small for the missing blocks."""
    needed_bytes = sum(store.missing_bytes(needed) for store in sets.values())
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if needed_bytes > free:
        raise BenchError(
            f"features of {manifest.name} {manifest.split} need {_size(needed_bytes)} in {home},"
            f" which has {_size(free)} free: set BENCH_HOME to a larger disk, use fewer clips or"
            " frames with --set plan=, or do not store features with --set features=live."
        )


def _size(num_bytes: int) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.3g} {unit}"
    return f"{num_bytes / 1e3:.3g} kB"
