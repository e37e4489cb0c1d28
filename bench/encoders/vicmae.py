"""ViC-MAE encoders (arXiv 2303.12001): an image ViT trained on frames, applied frame by frame.

Layout of the released code (MAE's; not verified, since no weights are released): `cls_token`,
`pos_embed` of class and patches, `patch_embed.proj`, `blocks`, `norm`; pretraining files add
`decoder_*`, `mask_token` and `projector.*`, fine-tuned ones have `fc_norm` and `head` but no
`norm`. Shape letters: B images, H and W pixels, D width, n patches.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

import torch
from torch import nn

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.family_vit import SHAPING, SIZES, require
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.networks.sizes import size_of_width
from bench.encoders.networks.table_vit import resized_plane
from bench.encoders.networks.video_vit import Embedded, Vit, VitArchitecture, gather_tokens
from bench.encoders.vjepa import stem, vit_spec
from bench.encoders.weights.checkpoints import load_all, shortened
from bench.encoders.weights.family_files import leave_out, read_state
from bench.encoders.weights.picked import Pick
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError, UsageError
from bench.types import Card

PARTS = {
    "the decoder": r"decoder_(embed|blocks|norm|pred)\.|(decoder_pos_embed|mask_token)$",
    "the projector": r"projector\.",
    "the classifier": r"(fc_norm|head)\.(weight|bias)$",
}
NUM_FRAMES = 16  # default; an image encoder takes any number


@registry.encoder
def vicmae(
    *,
    weights: str,
    key: str = "",
    drop: tuple[str, ...] = (),
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int = NUM_FRAMES,
    image_size: int | None = None,
) -> Encoder:
    """ViC-MAE from a checkpoint, pretrained or fine-tuned; clips are encoded frame by frame.

    A different `image_size` (pixels) than the file's interpolates its position table. `key` and
    `drop` are as in `vjepa`.

    Raises:
        CheckpointError: the file does not hold a complete encoder of this family.
    """
    state = read_state(weights, "vicmae", Pick(key=key, drop=drop))
    pooled = "fc_norm.weight" in state.tensors
    state, parts = leave_out(state, PARTS)
    if "the decoder" in parts and "the projector" not in parts:
        raise CheckpointError(
            f"{state.where} has a decoder but no projector.*, so it is an MAE file, not ViC-MAE's;"
            " open it through timm, for example as timm/vit_base_patch16_224.mae."
        )
    stored = _architecture(state.tensors, depth, num_heads, state.where)
    size = stored.image_size if image_size is None else image_size
    if size < 1 or size % stored.patch_size:
        raise CheckpointError(
            f"{state.where}: image_size {size} must be a multiple of {stored.patch_size}."
        )
    with torch.device("meta"):
        network = ClassTokenViT(stored, final_norm=not pooled)
    load_all(network, state.tensors, state.where)
    card = Card(labels="none" if "the projector" in parts else "unknown")
    spec = replace(
        vit_spec(network, name=f"vicmae:{stem(weights)}", source=weights, card=card),
        num_frames=num_frames,
        image_size=size,
        interpolation="bicubic",
        takes="image",
        num_prefix=1,
    )
    return Encoder(FrameByFrame(network, spec), spec, notes=state.notes)


class ClassTokenViT(Vit):
    """Images `[B, 3, H, W]` to patch tokens `[B, n, D]`, with the class token as prefix.

    `architecture` has one frame and tubelets of one frame. The learned position table is
    interpolated for other image sizes. Fine-tuned networks have no `final_norm` of tokens.
    """

    num_prefix = 1
    patch_embed: nn.ModuleDict

    def __init__(self, architecture: VitArchitecture, *, final_norm: bool) -> None:
        a = architecture
        proj = nn.Conv2d(3, a.width, kernel_size=a.patch_size, stride=a.patch_size)
        super().__init__(a, nn.ModuleDict({"proj": proj}))
        self.cls_token = nn.Parameter(torch.empty(1, 1, a.width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + math.prod(a.grid), a.width))
        if not final_norm:
            self.norm = nn.Identity()

    def _embedded(self, pixels: torch.Tensor, keep: torch.Tensor | None) -> Embedded:
        patch = self.architecture.patch_size
        if pixels.ndim != 4 or any(side % patch for side in pixels.shape[-2:]):
            raise UsageError(
                f"images of shape {tuple(pixels.shape)} cannot be encoded: expected [B, 3, height,"
                f" width] with height and width multiples of {patch}."
            )
        h, w = (side // patch for side in pixels.shape[-2:])
        table = resized_plane(self.pos_embed[:, 1:], self.architecture.grid[1:], (h, w))
        x = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2) + table
        if keep is not None:
            x = gather_tokens(x, keep)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return torch.cat([first, x], dim=1), (1, h, w), ()


def _architecture(
    tensors: Tensors, depth: int | None, num_heads: int | None, where: str
) -> VitArchitecture:
    needed = ("cls_token", "pos_embed", *SHAPING)
    require(tensors, needed, where, "ViC-MAE encoder")
    _, table, kernel, fc1 = (tuple(tensors[name].shape) for name in needed)
    side = math.isqrt(table[1] - 1) if len(table) == 3 else 0
    if len(kernel) != 4 or kernel[2] != kernel[3] or side * side + 1 != table[1]:
        raise CheckpointError(
            f"{where}: patch_embed.proj.weight {list(kernel)} and pos_embed {list(table)} do not"
            " belong to an image ViT with a class token and a square grid; give a ViC-MAE file."
        )
    numbers = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    named = size_of_width(kernel[0], SIZES)
    wanted = depth if depth is not None else named[1].depth if named else len(numbers)
    if numbers != set(range(wanted)):
        lacking = [f"blocks.{i}.*" for i in range(wanted) if i not in numbers]
        raise CheckpointError(
            f"{where} has {len(numbers)} blocks, expected {wanted} (missing:"
            f" {shortened(lacking) or 'none'}); give the complete file, or --set encoder.depth=N."
        )
    heads = num_heads or (named[1].num_heads if named else None)
    if heads is None or kernel[0] % heads:
        raise CheckpointError(
            f"{where}: width {kernel[0]} with {heads or 'an unknown number of'} heads; give --set"
            " encoder.num_heads=N, a divisor of the width."
        )
    return VitArchitecture(
        width=kernel[0],
        depth=wanted,
        num_heads=heads,
        mlp_ratio=fc1[0] / kernel[0],
        patch_size=kernel[2],
        tubelet_size=1,
        num_frames=1,
        image_size=side * kernel[2],
    )
