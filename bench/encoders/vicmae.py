"""ViC-MAE encoders (arXiv 2303.12001): an image ViT trained on frames, applied frame by frame.

Layout of the released code (MAE's, no released weights were found to check it on): `cls_token`,
`pos_embed` of class and patches, `patch_embed.proj`, `blocks`, `norm`; pretraining files add
`decoder_*`, `mask_token` and `projector.*`, fine-tuned ones `fc_norm` and `head` without `norm`.

Shape letters: B images, H and W pixels, D width, n patches, K kept patches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from bench import registry
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.family_vit import SIZES
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.networks.video_vit import (
    LAYER_NORM_EPS,
    gather_tokens,
    tapped_layers,
    tapped_tokens,
)
from bench.encoders.vjepa import stem
from bench.encoders.weights.checkpoints import load_all, shortened
from bench.encoders.weights.family_files import leave_out, read_state
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError, UsageError
from bench.types import Card, EncoderSpec, Tokens

PARTS = {
    "the decoder": r"decoder_(embed|blocks|norm|pred)\.|(decoder_pos_embed|mask_token)$",
    "the projector": r"projector\.",
    "the classifier": r"(fc_norm|head)\.(weight|bias)$",
}
NUM_FRAMES = 16  # of a clip, unless asked; an image encoder takes any number


@registry.encoder
def vicmae(
    *,
    weights: str,
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int = NUM_FRAMES,
    image_size: int | None = None,
) -> Encoder:
    """ViC-MAE from a checkpoint, pretrained or fine-tuned; clips are encoded frame by frame.

    Another `image_size` (pixels) than the file's interpolates its position table.

    Raises:
        CheckpointError: a file that does not hold, completely, one encoder of this family.
    """
    state = read_state(weights, "vicmae")
    pooled = "fc_norm.weight" in state.tensors
    state, parts = leave_out(state, PARTS)
    if "the decoder" in parts and "the projector" not in parts:
        raise CheckpointError(
            f"{state.where} has a decoder but no projector.*: it is an MAE file, not ViC-MAE's;"
            " open it through timm, such as timm/vit_base_patch16_224.mae."
        )
    shape = _shape_of(state.tensors, depth, num_heads, not pooled, state.where)
    size = shape.image_size if image_size is None else image_size
    if size < 1 or size % shape.patch_size:
        raise CheckpointError(
            f"{state.where}: image_size {size} is no multiple of its patches of"
            f" {shape.patch_size} pixels; give a value that fits."
        )
    with torch.device("meta"):
        network = ClassTokenViT(shape)
    load_all(network, state.tensors, state.where)
    spec = EncoderSpec(
        name=f"vicmae:{stem(weights)}",
        width=shape.width,
        depth=shape.depth,
        num_heads=shape.num_heads,
        num_frames=num_frames,
        image_size=size,
        patch_size=shape.patch_size,
        tubelet_size=1,
        source=weights,
        interpolation="bicubic",
        takes="image",
        num_prefix=1,
        num_parameters=num_trainable(network),
        card=Card(labels="none" if "the projector" in parts else "unknown"),
    )
    return Encoder(FrameByFrame(network, spec), spec, notes=state.notes)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What shapes the network; fine-tuned ones have no `final_norm` of tokens."""

    width: int
    depth: int
    num_heads: int
    mlp_hidden: int
    patch_size: int
    image_size: int
    final_norm: bool


class ClassTokenViT(nn.Module):
    """Images `[B, 3, H, W]` to patch tokens `[B, n, D]`, the class token apart."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.shape = s = shape
        norm: Any = partial(nn.LayerNorm, eps=LAYER_NORM_EPS)
        self.cls_token = nn.Parameter(torch.empty(1, 1, s.width))
        places = (s.image_size // s.patch_size) ** 2
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + places, s.width))
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(3, s.width, kernel_size=s.patch_size, stride=s.patch_size)}
        )
        ratio = (s.mlp_hidden + 0.5) / s.width  # timm multiplies and truncates
        self.blocks = nn.ModuleList(
            Block(s.width, s.num_heads, mlp_ratio=ratio, qkv_bias=True, norm_layer=norm)
            for _ in range(s.depth)
        )
        self.norm = norm(s.width) if s.final_norm else nn.Identity()

    def forward(
        self,
        pixels: torch.Tensor,
        *,
        keep: torch.Tensor | None = None,
        layers: Sequence[int] | None = None,
        norm: bool = True,
    ) -> Tokens:
        """Return patch tokens of `layers` (block numbers from 0, None: the last), grid (1, h, w).

        `keep` int64 `[B, K]` numbers the patches that enter the blocks beside the class token.
        Every tap goes through the final norm; without `norm` that of the last block alone does.

        Raises:
            UsageError: an image that the patches do not divide, or layers that do not exist.
        """
        taps = tapped_layers(layers, len(self.blocks))
        patch = self.shape.patch_size
        if pixels.ndim != 4 or any(side % patch for side in pixels.shape[-2:]):
            raise UsageError(
                f"an image of shape {tuple(pixels.shape)} cannot be encoded: expected [B, 3,"
                f" height, width], multiples of {patch}."
            )
        h, w = (side // patch for side in pixels.shape[-2:])
        x = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2) + self._places(h, w)
        if keep is not None:
            x = gather_tokens(x, keep)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x], dim=1)
        tapped = tapped_tokens(x, self.blocks, taps, self.norm, norm_all=norm)
        return Tokens(
            layers=tuple(tap[:, 1:] for tap in tapped),
            grid=(1, h, w),
            prefix=tuple(tap[:, :1] for tap in tapped),
        )

    def _places(self, h: int, w: int) -> torch.Tensor:
        """Return the table of the patches `[1, h*w, D]`, bicubic where the grid is another."""
        table = self.pos_embed[:, 1:]
        side = self.shape.image_size // self.shape.patch_size
        if (h, w) == (side, side):
            return table
        plane = table.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # type: ignore[no-untyped-call]
        resized = nn.functional.interpolate(plane, size=(h, w), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1).flatten(1, 2)


def _shape_of(
    tensors: Tensors, depth: int | None, num_heads: int | None, final_norm: bool, where: str
) -> Shape:
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{where} does not hold {', '.join(missing)} (it holds {shortened(sorted(tensors))}),"
            " so it is no complete ViC-MAE encoder; give the whole checkpoint."
        )
    _, table, kernel, fc1 = (tuple(tensors[name].shape) for name in needed)
    side = math.isqrt(table[1] - 1) if len(table) == 3 else 0
    if len(kernel) != 4 or kernel[2] != kernel[3] or side * side + 1 != table[1]:
        raise CheckpointError(
            f"{where}: patch_embed.proj.weight {list(kernel)} and pos_embed {list(table)} are not"
            " those of an image ViT with a class token and a square grid."
        )
    numbers = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    named = SIZES.get(kernel[0])
    wanted = depth if depth is not None else named[1].depth if named else len(numbers)
    if numbers != set(range(wanted)):
        lacking = [f"blocks.{i}.*" for i in range(wanted) if i not in numbers]
        raise CheckpointError(
            f"{where} holds {len(numbers)} blocks where {wanted} from 0 on are expected (missing:"
            f" {shortened(lacking) or 'none'}); give the complete file, or say --set"
            " encoder.depth=N."
        )
    heads = num_heads or (named[1].num_heads if named else None)
    if heads is None or kernel[0] % heads:
        raise CheckpointError(
            f"{where}: width {kernel[0]} with {heads or 'an unknown number of'} heads; say --set"
            " encoder.num_heads=N, which divides the width."
        )
    return Shape(
        width=kernel[0],
        depth=wanted,
        num_heads=heads,
        mlp_hidden=fc1[0],
        patch_size=kernel[2],
        image_size=side * kernel[2],
        final_norm=final_norm,
    )
