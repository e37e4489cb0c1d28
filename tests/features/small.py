"""A data set of tiny videos, a tiny encoder, and extraction with defaults that a test varies."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.config import Machine
from bench.data.manifest import Manifest
from bench.data.views.pixel_recipe import Recipe
from bench.encoders.encoder import Encoder, weight_digest
from bench.encoders.networks.video_vit import VitArchitecture, fresh_vit
from bench.features.counts import Counts
from bench.features.extract import extract
from bench.features.extraction import Extraction
from bench.features.source import LiveSource
from bench.types import ClipPlan, EncoderSpec, Reads, Silent
from tests.media import write_video

PLAN = ClipPlan(num_frames=4, num_clips=2, num_views=2, stride=2)
RECIPE = Recipe(
    plan=PLAN,
    view="score",
    size=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    flip=False,
    kind="video",
)
# One view of two clips, drawn at random.
AUGMENTED = replace(RECIPE, plan=replace(PLAN, num_views=1), view="vjepa_paper", flip=True, seed=3)


def make_videos(folder: Path, num: int = 9) -> list[Path]:
    """Write `num` videos of 6 to 13 frames in two shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02d}.mp4" for number in range(num)]
    for number, path in enumerate(paths):
        write_video(path, 6 + number % 8, size=[(32, 24), (24, 32)][number % 2], fps=12)
    return paths


def make_manifest(paths: list[Path], kind: str = "video") -> Manifest:
    return Manifest(
        name="small",
        split="train",
        kind=kind,
        ids=[path.name for path in paths],
        media=paths,
        labels=np.arange(len(paths), dtype=np.int64) % 3,
        classes=["a", "b", "c"],
    )


def tiny_encoder(seed: int = 0, clips_per_call: int = 4) -> Encoder:
    architecture = VitArchitecture(
        width=12, depth=2, num_heads=2, patch_size=8, tubelet_size=2, num_frames=4, image_size=16
    )
    spec = EncoderSpec(
        name="tiny",
        width=12,
        depth=2,
        num_heads=2,
        num_frames=4,
        image_size=16,
        patch_size=8,
        tubelet_size=2,
        source="test",
        clips_per_call=clips_per_call,
    )
    return Encoder(fresh_vit(architecture, seed=seed), spec)


def extraction_of(
    encoder: Any,
    manifest: Manifest,
    *,
    readouts: Any = ("vector",),
    recipe: Any = RECIPE,
    draws: int = 0,
    **how: Any,
) -> Any:
    """All that features depend on, on the CPU and in float32."""
    return Extraction(
        encoder=encoder,
        weights_digest=weight_digest(encoder),
        manifest=manifest,
        recipe=recipe,
        reads=readouts,
        draws=draws,
        **{
            "device": torch.device("cpu"),
            "precision": "fp32",
            "dtype": "float16",
            **how,
        },
    )


def run(
    encoder: Any,
    manifest: Manifest,
    home: Path,
    *,
    rows: Any = None,
    workers: int = 0,
    batch_size: int = 4,
    rank: int = 0,
    world: int = 1,
    **how: Any,
) -> Any:
    """Extract; returns the sets and the counts."""
    counts = Counts()
    machine = Machine(home=home, workers=workers, batch_size=batch_size)
    manifest = manifest if rows is None else manifest.subset(rows)
    extraction = extraction_of(encoder, manifest, **how)
    ranks = {"rank": rank, "world": world}
    return extract(extraction, machine, progress=Silent(), counts=counts, **ranks), counts


def live(
    encoder: Any,
    manifest: Manifest,
    reads: Reads = "vector",
    *,
    rows: Any = None,
    counts: Any = None,
    machine: Any = None,
    **how: Any,
) -> Any:
    """A source that encodes in every epoch; of an augmentation a fresh draw."""
    extraction = extraction_of(encoder, manifest, readouts=(reads,), draws=None, **how)
    return LiveSource(extraction, machine or Machine(home=Path()), rows=rows, counts=counts)


def block_bytes(home: Path) -> dict[str, str]:
    """SHA-256 of every file of the store, by its name below `home/features`."""
    folder = home / "features"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
