"""From the token grids around key frames to the features of the boxes on them.

A linear probe reads the mean over time of four layers, joined on channels, pooled over the box
(arXiv 2404.08471, appendix; RoIAlign: arXiv 1703.06870). The paper's AVA code is not released.
[inferred], not in the paper: the mean over time before the region, joining on channels, and
RoIAlign to one bin (mean) or the largest of 7 x 7 bins, as in SlowFast's head.

Shape letters: S key frames of a sample, D width, t, h, w of the token grid, n boxes, b bins of a
side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from bench.data.boxes.regions import RegionReadout
from bench.data.loader import Sample
from bench.data.views.pixel_recipe import Recipe
from bench.errors import UsageError
from bench.features.readout import Parts
from bench.types import EncoderSpec, IntArray, Reads, Tokens

MAX_BINS = 7  # per side, for max pooling
SMALLEST = 1e-4  # of a token; an empty box is read at its centre


@dataclass(frozen=True, kw_only=True)
class BoxReadout:
    """Rows that are boxes: the part of each layer's token grid that a box covers."""

    reads: Sequence[Reads]
    region: RegionReadout
    width: int
    layers: tuple[int, ...]

    @property
    def norm(self) -> bool:
        """Whether blocks before the last go through the final norm."""
        return self.region.norm or len(self.layers) == 1

    def shape(self, spec: EncoderSpec, recipe: Recipe, reads: Reads) -> tuple[int, ...]:
        """Shape of one row for one draw, `[1, 1, D]` (layers joined) or `[1, t*b*b, D]`."""
        if reads == "vector":
            return 1, 1, self.width * len(self.layers)
        steps = recipe.plan.num_frames // spec.tubelet_size
        return 1, steps * self.region.bins**2, self.width

    def collect(self, tokens: Tokens) -> Parts:
        """Return the mean over time of all layers `[B, D, h, w]`, the last `[B, t, D, h, w]`."""
        grids = [layer.unflatten(1, tokens.grid) for layer in tokens.layers]  # type: ignore[no-untyped-call]
        parts = []
        if "vector" in self.reads:
            mean = torch.cat([grid.float().mean(dim=1) for grid in grids], dim=-1)
            parts.append(mean.permute(0, 3, 1, 2))
        if "tokens" in self.reads:
            parts.append(grids[-1].float().permute(0, 1, 4, 2, 3))
        return tuple(parts)

    def rows(self, sample: Sample, parts: Parts) -> tuple[IntArray, Mapping[Reads, torch.Tensor]]:
        """Return the rows of all boxes of a sample."""
        assert sample.boxes is not None
        boxes, maps = sample.boxes, list(parts)
        found: dict[Reads, torch.Tensor] = {}
        if "vector" in self.reads:
            x = roi(maps.pop(0), boxes.moment, boxes.corners, self.region.pool)
            found["vector"] = x[:, None, None]
        if "tokens" in self.reads:
            x = roi_tokens(maps.pop(0), boxes.moment, boxes.corners, self.region.bins)
            found["tokens"] = x[:, None]
        return boxes.rows, found

    def facts(self, reads: Reads) -> dict[str, Any]:
        """Everything that the numbers of a readout depend on."""
        if reads == "tokens":
            return {"layers": [self.layers[-1]], "pool": "mean", "bins": self.region.bins}
        return {
            "layers": list(self.layers),
            "norm": self.norm,
            "pool": self.region.pool,
            "bins": MAX_BINS if self.region.pool == "max" else 1,
        }


def box_readout(region: RegionReadout, reads: Sequence[Reads], spec: EncoderSpec) -> BoxReadout:
    """Return the readout of a task's boxes from an encoder.

    Raises:
        UsageError: no layer or no bin.
    """
    if region.bins < 1:
        raise UsageError(f"bins = {region.bins}: tokens of a box need at least one per side.")
    layers = region_layers(spec.depth, region.num_layers)
    return BoxReadout(
        reads=reads,
        region=region,
        width=spec.width,
        # Tokens are only read from the last block.
        layers=layers if "vector" in reads else layers[-1:],
    )


def region_layers(depth: int, num_layers: int) -> tuple[int, ...]:
    """Return the blocks, from 0, that are read for boxes: the last and every second one before it.

    With four layers, 24 blocks give 17, 19, 21, 23 and 32 blocks 25, 27, 29, 31 (arXiv 2404.08471,
    appendix). A network with fewer than twice as many blocks gives its last ones without gaps.

    Raises:
        UsageError: no layer.
    """
    if num_layers < 1:
        raise UsageError(f"num_layers = {num_layers}: at least the last block must be read.")
    step = 2 if depth >= 2 * num_layers else 1
    return tuple(range(depth - 1, -1, -step))[:num_layers][::-1]


def roi(
    maps_SDhw: torch.Tensor,
    moment: IntArray,
    corners: npt.NDArray[np.float64],
    pool: Literal["mean", "max"],
) -> torch.Tensor:
    """Pool each box over the map of its key frame: float32 `[n, D]`.

    `moment` int64 `[n]` numbers the key frames, `corners` `[n, 4]` are x1, y1, x2, y2 as fractions
    of the view. `mean` is RoIAlign to one bin: a box over the whole map has the mean of its tokens.
    `max` is the largest of 7 x 7 bins.
    """
    if pool == "mean":
        return _align(maps_SDhw, moment, corners, bins=1).flatten(1)
    return _align(maps_SDhw, moment, corners, bins=MAX_BINS).amax(dim=(2, 3))


def roi_tokens(
    maps_StDhw: torch.Tensor, moment: IntArray, corners: npt.NDArray[np.float64], bins: int
) -> torch.Tensor:
    """Pool each box to bins x bins per time step: float32 `[n, t*b*b, D]` in (t, y, x) order.

    Arguments as in `roi`.
    """
    steps = maps_StDhw.shape[1]
    frames = (moment[:, None] * steps + np.arange(steps)).reshape(-1)
    cut = _align(maps_StDhw.flatten(0, 1), frames, corners.repeat(steps, axis=0), bins=bins)
    # [n*t, D, b, b] to [n, t, b, b, D]
    ordered = cut.unflatten(0, (len(corners), steps)).permute(0, 1, 3, 4, 2)  # type: ignore[no-untyped-call]
    flat: torch.Tensor = ordered.flatten(1, 3)
    return flat


def _align(
    maps: torch.Tensor, place: IntArray, corners: npt.NDArray[np.float64], bins: int
) -> torch.Tensor:
    """RoIAlign boxes on `maps[place]`: float32 `[n, D, b, b]`, samples at most one token apart."""
    from torchvision.ops import roi_align  # takes seconds to import

    height, width = maps.shape[-2:]
    first = corners[:, :2] * (width, height)
    last = corners[:, 2:] * (width, height)
    # RoIAlign gives zeros for empty boxes.
    lacking = np.maximum(SMALLEST - (last - first), 0) / 2
    rois = np.concatenate([place[:, None], first - lacking, last + lacking], axis=1)
    on_device = torch.from_numpy(rois.astype(np.float32)).to(maps.device)
    cut: torch.Tensor = roi_align(
        maps.float().contiguous(), on_device, output_size=bins, sampling_ratio=0, aligned=True
    )
    return cut
