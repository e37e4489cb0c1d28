"""Fill feature sets: decode and encode the rows that are not stored yet, and only those."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data.boxes.regions import RegionReadout
from bench.data.manifest import Manifest
from bench.data.media.digest_cache import media_digests
from bench.data.media.media import has_frame_folders
from bench.data.views.pixel_recipe import Recipe
from bench.encoders.encoder import Encoder
from bench.errors import BenchError, UsageError
from bench.features.blocks_todo import Filling
from bench.features.counts import Counts
from bench.features.key import box_media, encoder_facts, feature_facts
from bench.features.readout import Readout
from bench.features.region_readout import BoxReadout
from bench.features.row_reader import RowReader, readout_of
from bench.features.store import STRETCH, FeatureSet, RowFeatures
from bench.types import EncoderSpec, IntArray, Progress, Reads


def extract(
    encoder: Encoder,
    manifest: Manifest,
    rows: IntArray | None,
    recipe: Recipe,
    draws: int,
    readouts: Sequence[Reads],
    *,
    home: Path,
    device: torch.device,
    precision: str,
    dtype: str,
    workers: int,
    batch_size: int,
    progress: Progress,
    rank: int = 0,
    world: int = 1,
    layers: Sequence[int] | None = None,
    region: RegionReadout | None = None,
    weights: str | None = None,
    counts: Counts | None = None,
) -> dict[Reads, FeatureSet]:
    """Store the features of `rows` (row numbers within `manifest`; None is all of them).

    All readouts are filled in one pass of the encoder. Blocks that are there are kept, and whole
    blocks of the root manifest are filled, so rows beside the needed ones may be stored too.
    `draws` is the number of augmented draws of a row, 0 or 1 for the score view. `region` says how
    boxes are read, where rows are boxes. `precision` is resolved; `weights` is the encoder's weight
    digest, if known. With `world` processes each fills its own part: a set is complete when all
    have returned. What was done is added to `counts`.

    Raises:
        BenchError: not enough space, values that cannot be stored, or a decoding process died.
        UsageError: a number of draws that does not fit the recipe.
    """
    counts = Counts() if counts is None else counts
    sets = feature_sets(
        encoder,
        manifest,
        recipe,
        draws,
        readouts,
        home=home,
        precision=precision,
        dtype=dtype,
        progress=progress,
        layers=layers,
        region=region,
        weights=weights,
    )
    needed = manifest.root_rows if rows is None else manifest.root_rows[rows]
    _check_space(sets, needed, home, manifest)
    mine = needed[(needed // STRETCH) % world == rank]
    todo = {reads: store.missing(mine) for reads, store in sets.items()}
    fresh = _union([sets[reads].rows_of(block) for reads in sets for block in todo[reads]])
    counts.rows_read_from_store += int((~np.isin(mine, fresh)).sum())
    if len(fresh):
        reader = RowReader(
            encoder=encoder,
            manifest=manifest.root,
            recipe=recipe,
            readout=readout_of(encoder.spec, recipe, readouts, layers=layers, region=region),
            device=device,
            precision=precision,
            workers=workers,
            batch_size=batch_size,
            counts=counts,
        )
        filling = Filling(reader=reader, draws=num_draws(recipe, draws))
        filling.run(sets, todo, fresh, progress=progress)
    count_notes(sets[readouts[0]], manifest.root, mine, counts)
    return sets


def feature_sets(
    encoder: Encoder,
    manifest: Manifest,
    recipe: Recipe,
    draws: int,
    readouts: Sequence[Reads],
    *,
    home: Path,
    precision: str,
    dtype: str,
    progress: Progress,
    layers: Sequence[int] | None = None,
    region: RegionReadout | None = None,
    weights: str | None = None,
) -> dict[Reads, FeatureSet]:
    """Name the feature sets of a manifest, as far as they are filled; reads every media file once.

    `region` says how boxes are read, where rows are boxes.

    Raises:
        UsageError: a number of draws that does not fit the recipe.
    """
    root, regions = manifest.root, manifest.root.regions
    files = root.media if regions is None else regions.media  # a video of many boxes once
    media = media_digests(files, cache=home / "media.sqlite", progress=progress)
    if regions is not None:
        media = box_media(regions, media)
    encoder_part, recipe_part = encoder_facts(encoder, weights), recipe.facts()
    if recipe.kind == "video" and has_frame_folders(files):
        import PIL  # only its version is asked for

        recipe_part["pictures"] = {"pillow": PIL.__version__}
    sets: dict[Reads, FeatureSet] = {}
    for reads in readouts:
        readout = readout_of(encoder.spec, recipe, [reads], layers=layers, region=region)
        facts = feature_facts(
            encoder=encoder_part,
            layers=layers,
            media=media,
            recipe=recipe_part,
            draws=num_draws(recipe, draws),
            reads=reads,
            precision=precision,
            dtype=dtype,
            region=_region_facts(readout, reads, root),
        )
        shape = stored_shape(encoder.spec, recipe, draws, reads, layers, region)
        sets[reads] = FeatureSet(home, facts, shape=shape, num_rows=len(root))
    return sets


def estimate_bytes(
    spec: EncoderSpec,
    recipe: Recipe,
    draws: int,
    reads: Reads,
    *,
    num_rows: int,
    dtype: str,
    layers: Sequence[int] | None = None,
    region: RegionReadout | None = None,
) -> int:
    """Return the bytes on disk of the features of `num_rows` rows, before anything is decoded."""
    shape = stored_shape(spec, recipe, draws, reads, layers, region)
    return num_rows * int(np.prod(shape)) * np.dtype(dtype).itemsize


def stored_shape(
    spec: EncoderSpec,
    recipe: Recipe,
    draws: int,
    reads: Reads,
    layers: Sequence[int] | None = None,
    region: RegionReadout | None = None,
) -> tuple[int, ...]:
    """Shape of a stored row, `[draws, V, S, D]` or `[draws, V, L, D]`.

    Joined layers widen the D of a vector and lengthen L.
    """
    readout = readout_of(spec, recipe, [reads], layers=layers, region=region)
    return (num_draws(recipe, draws), *readout.shape(spec, recipe, reads))


def num_draws(recipe: Recipe, draws: int) -> int:
    """Return the stored draws of a row: `draws` augmented ones, or the one score view.

    Raises:
        UsageError: no draw of an augmentation, or several of a view that is always the same.
    """
    if recipe.is_random and draws < 1:
        raise UsageError(f"draws = {draws}: stored augmentations {recipe.view!r} need at least 1.")
    if not recipe.is_random and draws > 1:
        raise UsageError(f"draws = {draws}: every draw of the score view is the same; store 1.")
    return max(1, draws)


def count_notes(features: RowFeatures, root: Manifest, rows: IntArray, counts: Counts) -> None:
    """Count how `rows` of a root manifest were read, whether now or by an earlier run.

    Boxes on one key frame share its frames, of which repeated ones are counted once.
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
    """Leave out why a decoder was passed over, which differs from file to file."""
    name, colon, _ = decoder.partition(":")
    return f"{name})" if colon else name


def _region_facts(readout: Readout, reads: Reads, root: Manifest) -> dict[str, Any] | None:
    """Say how boxes are read and how their key frames are found; None where rows are clips."""
    assert isinstance(readout, BoxReadout) == (root.regions is not None), "boxes need a readout"
    if not isinstance(readout, BoxReadout) or root.regions is None:
        return None
    # Pictures alone have no rate of their own.
    rate = root.regions.frame_rate if has_frame_folders(root.regions.media) else None
    return {**readout.facts(reads), "start": root.regions.start, "frame_rate": rate}


def _union(blocks: Sequence[IntArray]) -> IntArray:
    return np.unique(np.concatenate(blocks)) if blocks else np.empty(0, dtype=np.int64)


def _check_space(
    sets: Mapping[Reads, FeatureSet], needed: IntArray, home: Path, manifest: Manifest
) -> None:
    """Refuse before the first frame is decoded if the disk cannot hold what is missing."""
    wanted = sum(
        len(store.rows_of(block)) * store.row_bytes
        for store in sets.values()
        for block in store.missing(needed)
    )
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise BenchError(
            f"features of {manifest.name} {manifest.split} need {_size(wanted)} in {home}, where"
            f" {_size(free)} are free: set BENCH_HOME to a larger disk, take fewer clips or frames"
            " with --set plan=, or do not store them with --set features=live."
        )


def _size(num_bytes: int) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.3g} {unit}"
    return f"{num_bytes / 1e3:.3g} kB"
