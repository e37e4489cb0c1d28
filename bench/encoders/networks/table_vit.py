"""The shared video ViT with the fixed position tables of VideoMAE-like families.

VideoMAE (arXiv 2203.12602) and OmniMAE (arXiv 2206.08356) number all tokens of a clip
consecutively; MVD (arXiv 2212.04500) encodes time, column and row separately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from bench.encoders.networks.positions import sincos_time_column_row, sinusoid_1d
from bench.encoders.networks.video_vit import LAYER_NORM_EPS, VideoViT, VitArchitecture

Positions = Literal["sinusoid_1d", "sincos_time_column_row"]


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a family differs from V-JEPA: position table, norms and handling of a single tubelet.

    Networks fine-tuned as classifiers have no `final_norm` of tokens: theirs comes after the mean.
    With `first_moment` a clip of one tubelet gets the codes of the table's first time step instead
    of an interpolated one.
    """

    positions: Positions
    final_norm: bool = True
    layer_norm_eps: float = LAYER_NORM_EPS
    first_moment: bool = False


class TableViT(VideoViT):
    """A `VideoViT` in the form of another family.

    The epsilon of its norms is also a buffer, so it is part of the weight digest.
    """

    layer_norm_eps: torch.Tensor

    def __init__(self, architecture: VitArchitecture, form: Form) -> None:
        super().__init__(architecture)
        self.form = form
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = form.layer_norm_eps
        if not form.final_norm:
            self.add_module("norm", nn.Identity())
        a = architecture
        self.pos_embed = position_table(form.positions, a.width, a.grid).unsqueeze(0)
        # Computed on the CPU, like the tables, even if parameters are on the meta device.
        eps = torch.tensor(form.layer_norm_eps, dtype=torch.float64, device="cpu")
        self.register_buffer("layer_norm_eps", eps)

    def positions(self, grid: tuple[int, int, int]) -> torch.Tensor:
        """Return the table `[1, t*h*w, D]`, interpolated for other grids than the built one."""
        if grid[0] != 1 or not self.form.first_moment:
            return super().positions(grid)
        _, h, w = self.architecture.grid
        return resized_plane(self.pos_embed[:, : h * w], (h, w), grid[1:])


def resized_plane(
    table: torch.Tensor, stored: tuple[int, int], wanted: tuple[int, int]
) -> torch.Tensor:
    """Interpolate a table `[1, h*w, D]` bicubically from grid `stored` to grid `wanted`."""
    if wanted == stored:
        return table
    plane = table.unflatten(1, stored).permute(0, 3, 1, 2)  # type: ignore[no-untyped-call]
    resized = functional.interpolate(plane, size=wanted, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).flatten(1, 2)


def position_table(positions: Positions, width: int, grid: tuple[int, int, int]) -> torch.Tensor:
    """Return the named table of a (t, h, w) grid, float32 `[t*h*w, width]`."""
    if positions == "sinusoid_1d":
        return sinusoid_1d(width, grid[0] * grid[1] * grid[2])
    return sincos_time_column_row(width, grid)
