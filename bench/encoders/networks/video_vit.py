"""A vision transformer over tubelets of a clip, on timm's blocks (V-JEPA, arXiv 2404.08471).

The same module is evaluated frozen and trained by `bench.pretrain`. All its parameters are
trainable; the position table is a buffer, so no optimiser changes it.

Shape letters: B clips, T frames, H and W pixels, D width, K kept tokens, N = t*h*w tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional

from bench.encoders.networks.positions import sincos_3d
from bench.errors import UsageError
from bench.types import Tokens

LAYER_NORM_EPS = 1e-6
INITIAL_STD = 0.02
Keep = torch.Tensor | None
# The tokens that enter the blocks, their grid (t, h, w), and further arguments of the blocks.
Embedded = tuple[torch.Tensor, tuple[int, int, int], tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class VitArchitecture:
    """The architecture of a video ViT; sizes in pixels, `num_frames` per clip.

    Raises:
        UsageError: width, frames or pixels that are not divisible by heads, tubelets or patches.
    """

    width: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    patch_size: int = 16
    tubelet_size: int = 2
    num_frames: int = 16
    image_size: int = 224
    uniform_power: bool = True

    def __post_init__(self) -> None:
        for whole, part, says in (
            (self.width, self.num_heads, "width {} cannot be split over num_heads {}"),
            (
                self.num_frames,
                self.tubelet_size,
                "num_frames {} is not a multiple of tubelet_size {}",
            ),
            (self.image_size, self.patch_size, "image_size {} is not a multiple of patch_size {}"),
        ):
            if part < 1 or whole < 1 or whole % part:
                raise UsageError(f"{says.format(whole, part)}; give a value that fits.")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens of a clip as (t, h, w)."""
        side = self.image_size // self.patch_size
        return self.num_frames // self.tubelet_size, side, side

    @property
    def mlp_hidden(self) -> int:
        """Width inside the MLPs; the small term keeps a ratio such as 48/11 from rounding down."""
        return int(self.width * self.mlp_ratio + 1e-6)

    def changed(self, **values: Any) -> VitArchitecture:
        """Return a copy with the given fields replaced; None keeps a field."""
        return replace(self, **{name: n for name, n in values.items() if n is not None})


class TokenNetwork(nn.Module):
    """Pixels to tokens: the common interface of all networks; subclasses implement `_tokens`.

    `depth` layers can be tapped; `leaves_norm` says whether the final norm can be skipped.
    """

    depth: int
    leaves_norm = True

    def forward(
        self,
        pixels: torch.Tensor,
        *,
        keep: torch.Tensor | None = None,
        layers: Sequence[int] | None = None,
        norm: bool = True,
    ) -> Tokens:
        """Return the tokens of `layers` (block numbers from 0, ascending; None is the last block).

        `keep` int64 `[B, K]` are the indices of the tokens that enter the blocks, in any order,
        after positions are added. The final norm is applied to every tap, or with `norm` false only
        to the last block. Blocks after the deepest tap are not run.

        Raises:
            UsageError: pixels or a mask that the network does not support, or unknown layers.
        """
        return self._tokens(pixels, keep, self._taps(layers), norm)

    def _taps(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        return tapped_layers(layers, self.depth)

    def _tokens(self, pixels: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        raise NotImplementedError


class Vit(TokenNetwork):
    """Pixels to final-normed patch tokens, with token masks and layer taps.

    State-dict names are the released ones: `patch_embed.proj.*`, `blocks.{i}.*`, `norm.*`. The
    blocks are timm's unless `blocks` are given. Subclasses implement `_embedded`.
    """

    num_prefix = 0

    def __init__(
        self,
        architecture: VitArchitecture,
        patch_embed: nn.Module,
        blocks: Iterable[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.depth = a.depth
        self.patch_embed = patch_embed
        norm: Any = partial(nn.LayerNorm, eps=LAYER_NORM_EPS)
        ratio = (a.mlp_hidden + 0.5) / a.width  # timm multiplies and truncates
        plain = (
            Block(a.width, a.num_heads, mlp_ratio=ratio, qkv_bias=True, norm_layer=norm)
            for _ in range(a.depth)
        )
        self.blocks = nn.ModuleList(plain if blocks is None else blocks)
        self.norm: nn.Module = nn.LayerNorm(a.width, eps=LAYER_NORM_EPS)

    def _tokens(self, pixels: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        x, grid, context = self._embedded(pixels, keep)
        tapped = []
        for number, block in enumerate(self.blocks[: taps[-1] + 1]):
            x = block(x, *context)
            if number in taps:
                is_normed = norm or number == len(self.blocks) - 1
                tapped.append(self.norm(x) if is_normed else x)
        first = self.num_prefix
        return Tokens(
            layers=tuple(tap[:, first:] for tap in tapped),
            grid=grid,
            prefix=tuple(tap[:, :first] for tap in tapped) if first else (),
        )

    def _embedded(self, pixels: torch.Tensor, keep: torch.Tensor | None) -> Embedded:
        raise NotImplementedError


class VideoViT(Vit):
    """Clips `[B, 3, T, H, W]` to tokens, with a position table (`pos_embed` in the state dict).

    Weights have PyTorch's initialisation; call `initialise` before training. The table is
    interpolated for other clip sizes than that of construction.
    """

    patch_embed: TubeletEmbedding
    pos_embed: torch.Tensor

    def __init__(self, architecture: VitArchitecture) -> None:
        a = architecture
        super().__init__(a, TubeletEmbedding(a))
        table = sincos_3d(a.width, a.grid, uniform_power=a.uniform_power)
        self.register_buffer("pos_embed", table.unsqueeze(0))

    def _embedded(self, pixels: torch.Tensor, keep: torch.Tensor | None) -> Embedded:
        grid = clip_grid(self.architecture, pixels)
        x, positions = self.patch_embed(pixels, keep), self.positions(grid)
        if keep is not None:
            positions = gather_tokens(positions.expand(len(x), -1, -1), keep)
        return x + positions, grid, ()

    def positions(self, grid: tuple[int, int, int]) -> torch.Tensor:
        """Return the table `[1, t*h*w, D]`, interpolated for other grids than the built one.

        The released code resizes by scale factors, which can lose a row to rounding; here the
        target size is given instead, with otherwise equal values.
        """
        built = self.architecture.grid
        if grid == built:
            return self.pos_embed
        volume = self.pos_embed.reshape(1, *built, -1).permute(0, 4, 1, 2, 3)
        resized = functional.interpolate(volume, size=grid, mode="trilinear", align_corners=False)
        return resized.permute(0, 2, 3, 4, 1).flatten(1, 3)


class TubeletEmbedding(nn.Module):
    """Cut a clip into tubelets and project each to a token, in (t, y, x) row-major order."""

    def __init__(self, architecture: VitArchitecture) -> None:
        super().__init__()
        a = architecture
        self.kernel = (a.tubelet_size, a.patch_size, a.patch_size)
        self.proj = nn.Conv3d(3, a.width, kernel_size=self.kernel, stride=self.kernel)

    def forward(self, pixels: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """`[B, 3, T, H, W]` pixels to `[B, N, D]` tokens, or only those at `keep` `[B, K]`."""
        cut = tubelets(pixels, self.kernel)
        if keep is not None:
            cut = gather_tokens(cut, keep)
        # A convolution would leave the width outermost in memory and make all later blocks strided.
        return functional.linear(cut, self.proj.weight.flatten(1), self.proj.bias)


def clip_grid(architecture: VitArchitecture, pixels: torch.Tensor) -> tuple[int, int, int]:
    """Return the token grid (t, h, w) of `[B, 3, T, H, W]` pixels, or raise `UsageError`."""
    a = architecture
    t, h, w = pixels.shape[-3:]
    fits = t % a.tubelet_size == 0 and h % a.patch_size == 0 and w % a.patch_size == 0
    if pixels.ndim != 5 or pixels.shape[1] != 3 or not fits or 0 in (t, h, w):
        raise UsageError(
            f"clips of shape {tuple(pixels.shape)} cannot be encoded: expected [B, 3, T, H, W] with"
            f" T a multiple of {a.tubelet_size}, H and W multiples of {a.patch_size}."
        )
    return t // a.tubelet_size, h // a.patch_size, w // a.patch_size


def tubelets(pixels: torch.Tensor, kernel: tuple[int, int, int]) -> torch.Tensor:
    """Cut `[B, 3, T, H, W]` into tubelets of `kernel` (t, y, x): `[B, N, 3 * t * y * x]`.

    Values of a tubelet are in the order of a convolution's weight: channel, frame, row, column.
    """
    x = pixels
    for axis, size in zip((2, 4, 6), kernel, strict=True):
        x = x.unflatten(axis, (-1, size))  # type: ignore[no-untyped-call]
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)


def gather_tokens(tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Return `tokens` `[B, N, D]` at the indices `keep` int64 `[B, K]`, as `[B, K, D]`."""
    return tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def tapped_layers(layers: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """Return the block numbers to tap (None is the last), or raise `UsageError`."""
    taps = (depth - 1,) if layers is None else tuple(layers)
    if not taps or list(taps) != sorted(set(taps)) or taps[0] < 0 or taps[-1] >= depth:
        raise UsageError(
            f"layers {list(taps)}: give ascending, distinct blocks from 0 to {depth - 1}."
        )
    return taps


def initialise(network: nn.Module, generator: torch.Generator, std: float = INITIAL_STD) -> None:
    """Draw fresh weights: linear and conv normal with `std`, biases 0, layer norms 1 and 0.

    V-JEPA pretraining effectively starts from this: its second initialisation undoes the
    constructor's rescaling by depth, and its truncation at +-2 is 100 standard deviations away.
    Modules are visited in state-dict order, so weights depend on the generator's seed alone.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv3d)):
                module.weight.normal_(std=std, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()


def fresh_vit(architecture: VitArchitecture, *, seed: int, std: float = INITIAL_STD) -> VideoViT:
    """Return a CPU network with weights drawn by `initialise` from `seed` alone."""
    with torch.device("meta"):  # skips PyTorch's initialisation, which draws from global state
        network = VideoViT(architecture)
    table = network.pos_embed
    network.to_empty(device="cpu")
    network.pos_embed = table
    initialise(network, torch.Generator().manual_seed(seed), std)
    return network
