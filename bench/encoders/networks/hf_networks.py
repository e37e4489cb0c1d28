"""Backbones of the transformers library as networks: pixels in, tokens of the tapped blocks out.

`FAMILIES` records, per supported `model_type`, what the library does not expose: the order of the
tokens, how many of them are not patches, and which tensors of the files belong to heads. Shape
letters: B clips or images, T frames, H and W pixels, N = t*h*w tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from bench.encoders.networks.video_vit import Keep, TokenNetwork
from bench.errors import UsageError
from bench.types import EncoderSpec, Kind, Tokens


@dataclass(frozen=True, kw_only=True)
class Family:
    """One `model_type` of transformers.

    Tokens are in (t, y, x) order unless `time_is_last`. A model of `any_size` takes clips of sizes
    other than in its configuration, but with `fixed_side` only images of the size it was built for.
    `norm` is the path of the final norm; with `is_map` only the last feature map can be read.
    Tensors under `heads` (classifiers, decoders) are left out. `forward` are extra arguments of
    every call, `build` of the constructor.
    """

    takes: Kind
    heads: tuple[str, ...] = ("classifier.",)
    pixels: str = "pixel_values"
    has_class_token: bool = False
    time_is_last: bool = False
    any_size: bool = False
    fixed_side: bool = False
    is_map: bool = False
    norm: str = "layernorm"
    build: Mapping[str, Any] = field(default_factory=dict)
    forward: Mapping[str, Any] = field(default_factory=dict)

    def num_prefix(self, config: Any) -> int:
        """Return the number of class and register tokens."""
        return self.has_class_token + int(getattr(config, "num_register_tokens", 0))


_DINO = Family(takes="image", has_class_token=True, any_size=True)
FAMILIES = {
    "videomae": Family(
        takes="video",
        heads=("classifier.", "fc_norm.", "encoder_to_decoder.", "decoder.", "mask_token"),
    ),
    "vivit": Family(
        takes="video",
        heads=("classifier.", "pooler."),
        has_class_token=True,
        build={"add_pooling_layer": False},
    ),
    "timesformer": Family(takes="video", has_class_token=True, time_is_last=True),
    "vjepa2": Family(
        takes="video",
        heads=("classifier.", "pooler."),
        pixels="pixel_values_videos",
        any_size=True,
        fixed_side=True,
        norm="encoder.layernorm",
        forward={"skip_predictor": True},
    ),
    "vit": Family(
        takes="image",
        heads=("classifier.", "pooler."),
        has_class_token=True,
        build={"add_pooling_layer": False},
    ),
    "dinov2": _DINO,
    "dinov2_with_registers": _DINO,
    "dinov3_vit": replace(_DINO, norm="norm"),
    "hiera": Family(
        takes="image",
        heads=("classifier.", "pooler.", "decoder.", "multiscale_fusion."),
        is_map=True,
        build={"add_pooling_layer": False},
    ),
}


def set_rope_grid(network: nn.Module, image_size: int) -> None:
    """Set the token grid of a transformers V-JEPA 2 to that of images of `image_size` pixels.

    The library always uses the grid of its configuration, so images of another size would get the
    rotary angles of wrong positions.
    """
    config: Any = network.config
    config.crop_size = image_size
    for module in network.modules():
        if hasattr(module, "grid_size"):
            module.grid_size = image_size // config.patch_size


class LibraryNetwork(TokenNetwork):
    """Images `[B, 3, H, W]` or clips `[B, 3, T, H, W]` to patch tokens `[B, N, D]`.

    Class and register tokens are in `Tokens.prefix`; `identity` names class and configuration.
    """

    def __init__(
        self, model: nn.Module, family: Family, spec: EncoderSpec, *, identity: str
    ) -> None:
        super().__init__()
        self.model = model
        self.family = family
        self.spec = spec
        self.depth = spec.depth
        self.identity = identity

    def _tokens(self, pixels: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        if keep is not None:
            raise UsageError(f"{self.identity} does not support token masks: encode whole clips.")
        grid = self._grid(pixels)
        depth, num_prefix = self.depth, self.spec.num_prefix
        given = pixels.transpose(1, 2) if pixels.ndim == 5 else pixels
        needs_blocks = self.family.is_map or taps != (depth - 1,)
        try:
            made = self.model(
                **{self.family.pixels: given},
                **self.family.forward,
                output_hidden_states=needs_blocks,
            )
        except ValueError as error:
            raise UsageError(
                f"{self.identity} does not support pixels of shape {tuple(pixels.shape)}: {error}"
            ) from error
        if self.family.is_map:  # other layers have a different token order
            taken = [made.reshaped_hidden_states[-1].flatten(1, 2)]
        else:
            last, blocks = made.last_hidden_state, made.hidden_states
            taken = [
                # The tap of the last block is the model's `last_hidden_state`.
                last if tap == depth - 1 else self._normed(blocks[tap + 1], norm)
                for tap in taps
            ]
        expected = num_prefix + grid[0] * grid[1] * grid[2]
        if taken[-1].shape[1] != expected:
            raise UsageError(
                f"{self.identity} returns {taken[-1].shape[1]} tokens for pixels of shape"
                f" {tuple(pixels.shape)}, expected {expected}; use another size."
            )
        return Tokens(
            layers=tuple(self._in_order(tokens[:, num_prefix:], grid) for tokens in taken),
            grid=grid,
            prefix=tuple(t[:, :num_prefix] for t in taken) if num_prefix else (),
        )

    def _grid(self, pixels: torch.Tensor) -> tuple[int, int, int]:
        """Return the token grid (t, h, w), or refuse pixels that the model does not support."""
        spec, is_video = self.spec, self.family.takes == "video"
        sides = (pixels.shape[2] if is_video else 1, *pixels.shape[-2:])
        kernel = (spec.tubelet_size, spec.patch_size, spec.patch_size)
        native = (spec.num_frames if is_video else 1, spec.image_size, spec.image_size)
        fits = pixels.ndim == (5 if is_video else 4) and pixels.shape[1] == 3 and 0 not in sides
        fits = fits and not any(n % part for n, part in zip(sides, kernel, strict=True))
        square = f"{spec.image_size} x {spec.image_size} pixels"
        wanted = "frames and sides divisible by its tubelets and patches"
        if not self.family.any_size:
            fits = fits and sides == native
            wanted = f"{f'{spec.num_frames} frames of ' if is_video else ''}{square}"
        elif self.family.fixed_side:
            fits = fits and sides[1:] == native[1:]
            wanted = (
                f"images of {square} (for any shape, open its model.safetensors as vjepa2:FILE)"
            )
        if not fits:
            raise UsageError(
                f"{self.identity} does not take shape {tuple(pixels.shape)}; give RGB, {wanted}."
            )
        t, h, w = (side // part for side, part in zip(sides, kernel, strict=True))
        return t, h, w

    def _normed(self, tokens: torch.Tensor, norm: bool) -> torch.Tensor:
        """Apply the final norm; models fine-tuned on mean tokens have none."""
        final: Any = self.model.get_submodule(self.family.norm) if norm else None
        return tokens if final is None else final(tokens)

    def _in_order(self, tokens: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
        if not self.family.time_is_last:
            return tokens
        t, h, w = grid
        by_place = tokens.unflatten(1, (h * w, t))  # type: ignore[no-untyped-call]
        ordered: torch.Tensor = by_place.transpose(1, 2).flatten(1, 2)
        return ordered
