"""Everything that the features of one manifest depend on, as a single value."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench.data.boxes.regions import RegionReadout
from bench.data.decode.images import picture_versions
from bench.data.manifest import Manifest
from bench.data.media.digest_cache import media_digests
from bench.data.media.media import has_frame_folders
from bench.data.views.pixel_recipe import Recipe
from bench.encoders.encoder import Encoder
from bench.errors import UsageError
from bench.features.key import box_media, encoder_facts
from bench.features.readout import ClipReadout, Readout
from bench.features.region_readout import BoxReadout, box_readout
from bench.features.store import FeatureSet
from bench.types import Progress, Reads

# Increment when the code changes the numbers of features or their layout on disk.
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Extraction:
    """A manifest as one encoder sees it: rows, pixels, network, readouts and rounding.

    `encoder` is on `device`; `weights_digest` is its `weight_digest`. All `reads` are made in one
    pass. `draws` is the number of stored augmented draws per row: 0 for the deterministic view,
    None for a new draw in every epoch. `layers` are the blocks read for whole clips (None: the
    last), `region` the readout if rows are boxes. `precision` is resolved; features are stored as
    `dtype`.

    Raises:
        UsageError: no draw of an augmentation, or several of a deterministic view.
    """

    encoder: Encoder
    weights_digest: str
    manifest: Manifest
    recipe: Recipe
    reads: Sequence[Reads] = ()
    draws: int | None = 0
    layers: Sequence[int] | None = None
    region: RegionReadout | None = None
    device: torch.device
    precision: str
    dtype: str

    def __post_init__(self) -> None:
        draws, recipe = self.draws, self.recipe
        if recipe.is_random and draws is not None and draws < 1:
            raise UsageError(
                f"draws = {draws}: stored augmentations {recipe.view!r} need at least 1."
            )
        if not recipe.is_random and draws is not None and draws > 1:
            raise UsageError(f"draws = {draws}: all draws of the score view are equal; store 1.")

    def of(self, manifest: Manifest) -> Extraction:
        """The same with another manifest."""
        return replace(self, manifest=manifest)

    def reading(self, reads: Sequence[Reads]) -> Extraction:
        """The same with other readouts."""
        return replace(self, reads=reads)

    @property
    def num_draws(self) -> int:
        """Stored draws per row: the augmented ones, or the one score view."""
        return max(1, self.draws or 1)

    @cached_property
    def readout(self) -> Readout:
        """The readout: `layers` of whole clips, or boxes as in `region`.

        Raises:
            UsageError: an empty region readout.
        """
        if self.region is not None:
            assert self.layers is None, "box readouts choose their own layers"
            return box_readout(self.region, self.reads, self.encoder.spec)
        return ClipReadout(
            reads=self.reads,
            num_views=self.recipe.num_views,
            num_clips=self.recipe.plan.num_clips,
            layers=self.layers,
        )

    def shape(self, reads: Reads) -> tuple[int, ...]:
        """Shape of a stored row, `[draws, V, S, D]` or `[draws, V, L, D]`.

        Joined layers widen D of a vector and lengthen L.
        """
        return self.num_draws, *self.readout.shape(self.encoder.spec, self.recipe, reads)

    def feature_sets(self, home: Path, progress: Progress) -> dict[Reads, FeatureSet]:
        """Return the feature sets, whatever is stored of them; reads every media file once."""
        root, regions = self.manifest.root, self.manifest.root.regions
        files = root.media if regions is None else regions.media  # each video of boxes once
        media = media_digests(files, cache=home / "media.sqlite", progress=progress)
        if regions is not None:
            media = box_media(regions, media)
        recipe = self.recipe.facts()
        if self.recipe.kind == "video" and has_frame_folders(files):
            recipe["pictures"] = picture_versions()
        # The device is not a fact: beyond `precision` it only changes rounding.
        shared = {
            "format": FORMAT_VERSION,
            "encoder": encoder_facts(self.encoder, self.weights_digest),
            "layers": None if self.layers is None else list(self.layers),
            # Only of the files, so that tasks on the same files share features.
            "media": {
                "rows": len(media),
                "sha256": hashlib.sha256("\n".join(media).encode()).hexdigest(),
            },
            "recipe": recipe,
            "draws": self.num_draws,
            "precision": self.precision,
            "dtype": self.dtype,
        }
        return {
            reads: FeatureSet(
                home,
                {**shared, "reads": reads, **self._own_facts(reads)},
                shape=self.shape(reads),
                num_rows=len(root),
            )
            for reads in self.reads
        }

    def _own_facts(self, reads: Reads) -> dict[str, Any]:
        """Describe how boxes are read and located, or how tokens of layers are joined.

        Empty if neither applies, so that keys stay those of earlier versions.
        """
        regions, readout = self.manifest.root.regions, self.readout
        assert isinstance(readout, BoxReadout) == (regions is not None), "boxes need a readout"
        if isinstance(readout, BoxReadout) and regions is not None:
            # Frame folders have no frame rate.
            rate = regions.frame_rate if has_frame_folders(regions.media) else None
            facts = {**readout.facts(reads), "start": regions.start, "frame_rate": rate}
            return {"region": facts}
        is_joined = reads == "tokens" and len(self.layers or ()) > 1
        return {"joined": "tokens"} if is_joined else {}
