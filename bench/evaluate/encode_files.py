"""Export features of any videos, images or clips as one .npz file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.config import RunConfig
from bench.data.discover.annotations import Annotations, read_lines
from bench.data.discover.folder_scan import media_below
from bench.data.loader import samples
from bench.data.manifest import Manifest
from bench.data.media.media import place
from bench.data.read_manifest import from_rows
from bench.data.views.pixel_recipe import Recipe, frames_of, score_recipe
from bench.data.views.transforms import normalise
from bench.encoders.encoder import Encoder, open_encoder
from bench.errors import DataError, UsageError, closest
from bench.evaluate.encoded_parts import Parts, remove_parts
from bench.evaluate.prepare import pick_device
from bench.features.arrays import read_arrays
from bench.features.encode import encode_clips, resolve_precision
from bench.features.key import digest, encoder_facts
from bench.types import ClipPlan, Progress, Tokens

Array = npt.NDArray[Any]


# How the tokens of a clip are pooled; `frames` are time steps (tubelets).
POOLS: Mapping[str, Callable[[Tokens], torch.Tensor]] = {
    "tokens": lambda t: t.last,
    "mean": lambda t: t.last.mean(1),
    "frames": lambda t: t.last.reshape(len(t.last), t.grid[0], -1, t.last.shape[2]).mean(2),
}


def encode_file(
    config: RunConfig,
    sources: Mapping[str, Path | None],
    out: Path,
    *,
    pool: str,
    device: str,
    workers: int,
    progress: Progress,
) -> dict[str, tuple[int, ...]]:
    """Encode one source (`videos` folder, `list` of paths or `clips` npz) into `out`.

    The file has one array named after the pool (`tokens` [B, N, D], `mean` [B, D] or `frames`
    [B, t, D], float32), `grid` (t, h, w) and, for media, `path` [B]. Each clip of a video
    (plan `16x4x1@4`) is a row, in order. Equal inputs give equal bytes, also if the command was
    killed and repeated. Returns name -> shape.

    Raises:
        UsageError: not exactly one source, an unknown pool, a plan for images or clips, or `out`
            exists.
        DataError: a file that cannot be read, or clips that the encoder does not take.
    """
    name, path = _one_source(sources, out, pool)
    if name == "clips" and config.plan is not None:
        raise UsageError("--plan is for videos; leave it out with --clips.")
    encoder = open_encoder(config.encoder, config.encoder_options)
    torch_device = pick_device(device)
    encoder.to(torch_device)
    precision = resolve_precision(config.precision, torch_device)
    arrays: dict[str, Array] = {}
    if name == "clips":
        clip = _npz_clips(path, encoder)
        total, per_file, files = len(clip), 1, [path]
        batches = partial(_clip_batches, clip, encoder)
        recipe = None
    else:
        manifest = _media(name, path)
        plan = _plan(config, encoder, manifest)
        recipe = score_recipe(encoder.spec, plan, manifest.kind, config.decoder)
        batches = partial(_media_clips, manifest, recipe, encoder, workers)
        per_file, files = plan.num_clips * plan.num_views, [place(file) for file in manifest.media]
        arrays["path"] = np.repeat(np.asarray(manifest.ids), per_file)
        total = len(arrays["path"])
    facts = {
        "encoder": encoder_facts(encoder),
        "files": [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "recipe": recipe and recipe.facts(),
        "how": [pool, precision, torch_device.type, torch.__version__],
        "pixels": [list(encoder.spec.mean), list(encoder.spec.std)],
    }
    parts = Parts(out, digest(facts))
    progress.start(f"encode {path.name}", total)
    progress.advance(parts.done)
    try:
        for clips in batches(parts.done // per_file) if parts.done < total else ():
            tokens = encode_clips(encoder, clips, torch_device, precision)
            parts.add(POOLS[pool](tokens).float().cpu(), tokens.grid)
            progress.advance(len(clips))
        arrays["grid"] = np.asarray(parts.grid, dtype=np.int64)
        shape = parts.finish(pool, arrays)
        assert shape[0] == total, (shape, total)
        return {pool: shape, "grid": (3,)}
    except DataError:  # once the input is mended, these are other rows
        remove_parts(out)
        raise
    except (KeyboardInterrupt, SystemExit):
        parts.flush()
        raise
    finally:
        progress.stop()


def _one_source(sources: Mapping[str, Path | None], out: Path, pool: str) -> tuple[str, Path]:
    """Return the one given source, after checking the other options."""
    given = {name: path for name, path in sources.items() if path is not None}
    if len(given) != 1:
        raise UsageError("give exactly one of --videos DIR, --list FILE and --clips FILE.npz.")
    if pool not in POOLS:
        raise UsageError(f"--pool {pool!r} is unknown.{closest(pool, POOLS)}")
    if out.suffix != ".npz":
        raise UsageError(f"--out {out} must end in .npz.")
    if out.exists():
        remove_parts(out)  # of a command killed after its last step
        raise UsageError(f"--out {out} exists already; name another file, or delete it first.")
    [source] = given.items()
    return source


def _media(name: str, path: Path) -> Manifest:
    """List the media below a folder, or those of a file with one path per line, without labels."""
    if name == "videos":
        if not path.is_dir():
            raise DataError(f"--videos {path} is not a folder.")
        files, root = media_below(path), path
    else:
        files, root = [line.strip() for line in read_lines(path) if line.strip()], path.parent
    if not files:
        raise DataError(f"{path} has no videos or images; name another folder or list.")
    rows = Annotations(
        path=path, files=files, labels=["0"] * len(files), lines=range(1, len(files) + 1)
    )
    manifest = from_rows(rows, root=root, name=path.name, split="all")
    missing = [row for row, file in enumerate(manifest.media) if not place(file).exists()]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(files)} listed files do not exist, first"
            f" {files[missing[0]]!r} (expected at {manifest.media[missing[0]]}); correct the path"
            " or remove it."
        )
    return manifest


def _plan(config: RunConfig, encoder: Encoder, manifest: Manifest) -> ClipPlan:
    frames = frames_of(encoder.spec, manifest.kind)
    if manifest.kind == "image":
        if config.plan is not None:
            raise UsageError(
                f"--plan is for videos, but {manifest.source} holds images; leave it out."
            )
        return ClipPlan(num_frames=frames, num_clips=1, num_views=1, stride=0)
    plan = ClipPlan.parse(config.plan or f"{frames}x1x1@4")
    if plan.num_frames != frames:
        raise UsageError(
            f"--plan {plan} has {plan.num_frames} frames, but {encoder.spec.name} takes {frames}."
        )
    return plan


def _media_clips(
    manifest: Manifest, recipe: Recipe, encoder: Encoder, workers: int, first: int
) -> Iterator[torch.Tensor]:
    """Yield the normalised clips `[V*S, 3, T, H, W]` of each file in turn, from `first` on."""
    spec = encoder.spec
    rows = np.arange(first, len(manifest), dtype=np.int64)
    for sample in samples(manifest, rows, recipe, draw=0, workers=workers, batch_size=4):
        if sample.pixels is None:
            file = place(manifest.media[sample.row])
            reason = str(sample.error).replace(file.name, str(file), 1).rstrip(".")
            raise DataError(f"{reason}, or leave it out of {manifest.source}.")
        yield normalise(sample.pixels, spec.mean, spec.std).flatten(0, 1)


def _npz_clips(path: Path, encoder: Encoder) -> Array:
    """Read `clip`: normalised float32 `[B,3,T,H,W]`, or uint8 `[B,T,H,W,3]`."""
    [clip] = read_arrays(path, ("clip",))
    layouts = {"uint8": "[B,T,H,W,3]", "float32": "[B,3,T,H,W]"}
    channels = {"uint8": -1, "float32": 1}.get(clip.dtype.name)
    if channels is None or clip.ndim != 5 or clip.shape[channels] != 3:
        raise DataError(
            f"{path}: clip is {clip.dtype} {clip.shape}; it must be uint8 {layouts['uint8']} or"
            f" float32 {layouts['float32']} (normalised)."
        )
    _check_clips(path, clip, encoder)
    return clip


def _clip_batches(clip: Array, encoder: Encoder, first: int) -> Iterator[torch.Tensor]:
    """Yield normalised clips `[B, 3, T, H, W]`, from row `first` on."""
    for start in range(first, len(clip), encoder.spec.clips_per_call):
        part = torch.from_numpy(clip[start : start + encoder.spec.clips_per_call])
        if part.dtype == torch.uint8:
            part = normalise(part, encoder.spec.mean, encoder.spec.std)
        yield part


def _check_clips(path: Path, clip: Array, encoder: Encoder) -> None:
    """Reject an empty array, non-finite values, and clips of a size the encoder does not take."""
    if not len(clip):
        raise DataError(f"{path}: clip is {clip.dtype} {clip.shape}, so it has no clips.")
    frames, height, width = clip.shape[1:4] if clip.dtype == np.uint8 else clip.shape[2:5]
    spec = encoder.spec
    takes = {"num_frames": spec.num_frames, "image_size": spec.image_size}
    has = {"num_frames": frames, "image_size": height}
    if has != takes or height != width:
        settings = [f"--set encoder.{key}={has[key]}" for key in takes if has[key] != takes[key]]
        change = f", or build the encoder for this size with {' '.join(settings)}"
        raise DataError(
            f"{path} has clips of {frames} frames of {height} x {width} pixels, but {spec.name}"
            f" takes {spec.num_frames} frames of {spec.image_size} x {spec.image_size}; make clips"
            f" of that size{change if height == width and 0 not in has.values() else ''}."
        )
    spoilt = [row for row, one in enumerate(clip) if not np.isfinite(one).all()]
    if spoilt:
        raise DataError(
            f"{path} has non-finite values in {len(spoilt)} of {len(clip)} clips, first in clip"
            f" {spoilt[0]}; repair or remove them."
        )
