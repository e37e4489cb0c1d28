"""Untrained encoders: the floor that every pretrained encoder should beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.networks.rotary_vit import RotaryViT, fresh_rotary
from bench.encoders.networks.sizes import RELEASED, VIT_SIZES, VJEPA2_RELEASED
from bench.encoders.networks.video_vit import (
    INITIAL_STD,
    Keep,
    TokenNetwork,
    VideoViT,
    fresh_vit,
    gather_tokens,
)
from bench.encoders.vjepa import TARGET, read_network, stem, vit_spec
from bench.encoders.weights.architecture import Request
from bench.encoders.weights.picked import Pick
from bench.errors import UsageError, closest
from bench.types import EncoderSpec, Tokens


@registry.encoder
def random(
    *,
    weights: str,
    seed: int = 0,
    num_heads: int | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
) -> Encoder:
    """An untrained video ViT: `random:vjepa_vitl16`, `random:vit_tiny`, or sized like a file.

    The weights depend on `seed` alone and are initialised as in V-JEPA pretraining, or V-JEPA 2 for
    its names. The name of a pretraining recipe (`random:digits_tiny`) gives its initial weights.

    Raises:
        UsageError: an unknown size name, or options that do not fit it.
        CheckpointError: the file is not a complete V-JEPA encoder.
    """
    recipes = {name: registry.build("recipes", name, {}) for name in registry.names("recipes")}
    rotary = {name: released.architecture for name, released in VJEPA2_RELEASED.items()}
    rotary["vjepa2_digits"] = VIT_SIZES["vit_digits"]
    named = {
        **VIT_SIZES,
        **{name: recipe.encoder for name, recipe in recipes.items()},
        **{name: released.architecture for name, released in RELEASED.items()},
        **rotary,
    }
    if weights in named:
        architecture = named[weights].changed(
            num_heads=num_heads, num_frames=num_frames, image_size=image_size
        )
        name = f"random:{weights}"
    else:
        if not any(mark in weights for mark in "/.\\"):
            raise UsageError(
                f"encoder 'random:{weights}': there is no such size.{closest(weights, named)} A"
                " file is named by its path, such as ./latest.pth.tar."
            )
        request = Request(num_heads=num_heads, num_frames=num_frames, image_size=image_size)
        architecture = read_network(weights, Pick(key=TARGET), request).built
        name = f"random:{stem(weights)}"
    std = recipes[weights].initial_std if weights in recipes else INITIAL_STD
    network: VideoViT | RotaryViT
    if weights in rotary:
        network = fresh_rotary(architecture, seed=seed)
    else:
        network = fresh_vit(architecture, seed=seed, std=std)
    spec = vit_spec(network, name=name, source=f"random seed {seed}", is_floor=True)
    return Encoder(network, spec)


@registry.encoder
def pixel_mean(*, grid: int = 8, num_frames: int = 8, image_size: int = 48) -> Encoder:
    """Raw pixels: each pair of frames averaged and pooled to grid x grid RGB, one token per pair.

    Raises:
        UsageError: an odd number of frames, or a grid finer than the image.
    """
    if num_frames < 2 or num_frames % 2 or not 1 <= grid <= image_size:
        raise UsageError(
            f"pixel_mean: num_frames {num_frames} must be even and grid {grid} in 1..{image_size}."
        )
    spec = EncoderSpec(
        name="pixel_mean",
        width=3 * grid * grid,
        depth=1,
        num_heads=1,
        num_frames=num_frames,
        image_size=image_size,
        patch_size=image_size,
        tubelet_size=2,
        source="pixels",
        is_floor=True,
    )
    return Encoder(PixelMean(grid), spec)


class PixelMean(TokenNetwork):
    """Clips `[B, 3, T, H, W]` to `[B, T/2, 3*grid*grid]`: channel, row, column of pooled pairs.

    T is any even number, H and W are arbitrary. There is a single layer and no final norm.
    """

    depth = 1

    def __init__(self, grid: int) -> None:
        super().__init__()
        # A buffer, so that different grids have different weight digests.
        self.register_buffer("grid", torch.tensor(grid))
        self.side = grid

    def _tokens(self, pixels: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        if pixels.ndim != 5 or pixels.shape[1] != 3 or pixels.shape[2] % 2:
            raise UsageError(
                f"pixel_mean: a clip of shape {tuple(pixels.shape)} is not supported; expected"
                " [B, 3, frames, height, width] with an even number of frames."
            )
        tubelets = (pixels[:, :, 0::2] + pixels[:, :, 1::2]) / 2
        pairs = tubelets.transpose(1, 2)  # [B, T/2, 3, H, W]
        pooled = functional.adaptive_avg_pool2d(pairs.flatten(0, 1), self.side)
        tokens = pooled.reshape(pixels.shape[0], pairs.shape[1], -1)
        if keep is not None:
            tokens = gather_tokens(tokens, keep)
        return Tokens(layers=(tokens,), grid=(pairs.shape[1], 1, 1))
