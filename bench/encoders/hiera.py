"""Hiera video encoders (arXiv 2306.00989) from their released files, on timm's Hiera.

Layout: `model_state` with the package's names; pretraining files have `encoder_norm`,
`multi_scale_fusion_heads`, `decoder_*` and `mask_token`, fine-tuned ones `norm` and
`head.projection`. Tokens are the last stage's in (t, y, x) order, at 1/32 of the pixels and 1/2 of
the frames, without a norm: fine-tuned models apply theirs after the mean over tokens, pretraining
after fusing all stages.

Shape letters: B clips, T frames, H and W pixels, D width.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bench import registry
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.networks.video_vit import Keep, TokenNetwork
from bench.encoders.vjepa import stem
from bench.encoders.weights.checkpoints import load_all
from bench.encoders.weights.family_files import leave_out, read_state
from bench.encoders.weights.picked import Pick
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError, UsageError
from bench.types import Card, EncoderSpec, Tokens

PARTS = {
    "the classifier": r"(norm|head\.projection)\.(weight|bias)$",
    "the decoder": (
        r"(encoder_norm|multi_scale_fusion_heads|decoder_\w+)\.|(decoder_pos_embed|mask_token)$"
    ),
}
HEADS_OF_WIDTH = {96: 1, 112: 2, 144: 2, 256: 4}  # of the first stage; each stage doubles them
KERNEL, STRIDE, PADDING = (3, 7, 7), (2, 4, 4), (1, 3, 3)
QUERY_STRIDE, MASK_UNIT = (1, 2, 2), (1, 8, 8)
NUM_STAGES = 4
PATCH_SIZE = STRIDE[1] * QUERY_STRIDE[1] ** (NUM_STAGES - 1)
# PySlowFast's normalisation, which the released models were trained with. The example notebook
# divides blue by 0.255, a typo.
MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


@registry.encoder
def hiera(
    *, weights: str, key: str = "", drop: tuple[str, ...] = (), num_heads: int | None = None
) -> Encoder:
    """A Hiera video encoder from a checkpoint, pretrained or fine-tuned.

    `num_heads` of the first stage is needed for widths that were not released. Position tables are
    learned, so the clip size is fixed by the file. `key` and `drop` are as in `vjepa`.

    Raises:
        CheckpointError: the file does not hold a complete video Hiera.
    """
    state = read_state(weights, "hiera", Pick(key=key, drop=drop))
    state, parts = leave_out(state, PARTS)
    shape = _shape_of(state.tensors, num_heads, state.where)
    with torch.device("meta"):
        network = HieraTokens(shape)
    load_all(network.trunk, state.tensors, state.where)
    spec = EncoderSpec(
        name=f"hiera:{stem(weights)}",
        width=shape.width * 2 ** (NUM_STAGES - 1),
        depth=sum(shape.stages),
        num_heads=shape.num_heads * 2 ** (NUM_STAGES - 1),
        num_frames=shape.num_frames,
        image_size=shape.image_size,
        patch_size=PATCH_SIZE,
        tubelet_size=STRIDE[0],
        source=weights,
        mean=MEAN,
        std=STD,
        num_parameters=num_trainable(network),
        card=Card(licence="CC-BY-NC-4.0", labels="none" if "the decoder" in parts else "unknown"),
    )
    return Encoder(network, spec, notes=state.notes)


@dataclass(frozen=True, kw_only=True)
class HieraShape:
    """The architecture of a video Hiera; `width` and `num_heads` are those of the first stage."""

    width: int
    stages: tuple[int, ...]
    num_heads: int
    mlp_ratio: float
    num_frames: int
    image_size: int


class HieraTokens(TokenNetwork):
    """Clips `[B, 3, T, H, W]` of one size to the tokens of the last stage, `[B, t*h*w, D]`.

    Layers are blocks of the last stage. Token masks are not supported; there is no final norm.
    """

    def __init__(self, shape: HieraShape) -> None:
        super().__init__()
        from timm.models.hiera import Hiera  # slow to import, needed only here

        self.shape = shape
        self.trunk = Hiera(
            img_size=(shape.num_frames, shape.image_size, shape.image_size),
            embed_dim=shape.width,
            num_heads=shape.num_heads,
            num_classes=0,
            stages=shape.stages,
            q_stride=QUERY_STRIDE,
            mask_unit_size=MASK_UNIT,
            patch_kernel=KERNEL,
            patch_stride=STRIDE,
            patch_padding=PADDING,
            mlp_ratio=shape.mlp_ratio,
            sep_pos_embed=True,
            weight_init="skip",
            fix_init=False,
        )
        self.trunk.add_module("head", nn.Identity())

    def _tokens(self, pixels: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        size = (3, self.shape.num_frames, self.shape.image_size, self.shape.image_size)
        if pixels.ndim != 5 or tuple(pixels.shape[1:]) != size:
            raise UsageError(
                f"Hiera: a clip of shape {tuple(pixels.shape)} cannot be encoded: the learned"
                f" position tables need [B, {', '.join(map(str, size))}]."
            )
        if keep is not None:
            raise UsageError("Hiera masks units of its first stage, not tokens; leave keep out.")
        x = self.trunk.unroll(self.trunk._pos_embed(self.trunk.patch_embed(pixels)))
        tapped = []
        for number, block in enumerate(self.trunk.blocks[: taps[-1] + 1]):
            x = block(x)
            if number in taps:
                tapped.append(self.trunk.reroll(x, number).flatten(1, 3))
        side = self.shape.image_size // PATCH_SIZE
        return Tokens(layers=tuple(tapped), grid=(self.shape.num_frames // STRIDE[0], side, side))

    def _taps(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        depth = sum(self.shape.stages)
        first = depth - self.shape.stages[-1]
        taps = (depth - 1,) if layers is None else tuple(layers)
        ordered = bool(taps) and list(taps) == sorted(set(taps))
        if not ordered or taps[0] < first or taps[-1] >= depth:
            raise UsageError(
                f"layers {list(taps)}: give ascending, distinct blocks from {first} to {depth - 1},"
                " the last stage of this Hiera (earlier stages have other widths and grids)."
            )
        return taps


def _shape_of(tensors: Tensors, num_heads: int | None, where: str) -> HieraShape:
    needed = ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    tables = ("pos_embed_spatial", "pos_embed_temporal")
    kernel = tuple(tensors[needed[0]].shape) if needed[0] in tensors else ()
    if len(kernel) == 4:
        raise CheckpointError(
            f"{where} is a Hiera for images; open it through timm, such as timm/hiera_base_224."
        )
    missing = [name for name in (*needed, *tables) if name not in tensors]
    if missing or kernel[1:] != (3, *KERNEL):
        raise CheckpointError(
            f"{where} is not a complete video Hiera: missing {', '.join(missing) or 'nothing'};"
            f" patch embedding {list(kernel)}, not [width, 3, 3, 7, 7]; give a *_16x224 model."
        )
    stages = _stages(tensors, where)
    width, moments = kernel[0], tensors[tables[1]].shape[1]
    places = tensors[tables[0]].shape[1]
    side = round(places**0.5)
    if side * side != places or side % MASK_UNIT[1]:
        raise CheckpointError(
            f"{where}: the {places} positions of pos_embed_spatial do not form a square grid with"
            f" a side divisible by {MASK_UNIT[1]}; only square clips are supported."
        )
    heads = HEADS_OF_WIDTH.get(width) if num_heads is None else num_heads
    if heads is None or heads < 1 or width % heads:
        raise CheckpointError(
            f"{where}: width {width} with {heads or 'an unknown number of'} heads in the first"
            " stage; give --set encoder.num_heads=N, a divisor of the width."
        )
    return HieraShape(
        width=width,
        stages=stages,
        num_heads=heads,
        mlp_ratio=tensors[needed[1]].shape[0] / width,
        num_frames=moments * STRIDE[0],
        image_size=side * STRIDE[1],
    )


def _stages(tensors: Tensors, where: str) -> tuple[int, ...]:
    """Count the blocks per stage; the first block of every later stage has a projection."""
    numbers = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    starts = sorted(
        int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.proj\.weight$", name))
    )
    depth = len(numbers)
    if numbers != set(range(depth)) or len(starts) != NUM_STAGES - 1:
        raise CheckpointError(
            f"{where} has the blocks {sorted(numbers)} and new stages at {starts}; a Hiera has"
            f" {NUM_STAGES} stages and no missing block. Give the complete file."
        )
    return tuple(b - a for a, b in itertools.pairwise([0, *starts, depth]))
