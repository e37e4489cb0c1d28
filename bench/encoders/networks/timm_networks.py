"""Networks of timm as image networks: images in, tokens of the tapped layers out.

Shape letters: B images, H and W pixels, N = h*w tokens per image, P prefix tokens, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import nn

from bench.encoders.networks.adapt import ImageModel
from bench.encoders.networks.video_vit import Keep
from bench.errors import UsageError
from bench.types import Tokens


def has_patch_tokens(model: nn.Module) -> bool:
    """Whether a model keeps one sequence of patch tokens from its first block to its last."""
    forward = getattr(model, "forward_intermediates", None)
    takes = inspect.signature(forward).parameters if forward else {}
    return "return_prefix_tokens" in takes and "stop_early" in takes and hasattr(model, "blocks")


class PatchNetwork(ImageModel):
    """A vision transformer of timm: images `[B, 3, H, W]` to patch tokens `[B, N, D]`.

    Class, distillation and register tokens are in `Tokens.prefix`, `[B, P, D]`.
    """

    def _tokens(self, images: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        self._refuse_mask(keep)
        num_prefix = int(self.model.num_prefix_tokens)  # type: ignore[arg-type]
        try:
            last, tapped = self.model.forward_intermediates(  # type: ignore[operator]
                images,
                indices=list(taps),
                return_prefix_tokens=num_prefix > 0,  # some networks without prefix tokens fail
                norm=norm,
                stop_early=True,
                output_fmt="NLC",
            )
        except AssertionError as error:
            raise UsageError(
                f"{self.identity} does not support images of shape {tuple(images.shape)}:"
                f" {str(error).rstrip('.')}; for boxes use --set task.view=centre."
            ) from error
        pairs = [one if isinstance(one, tuple) else (one, one[:, :0]) for one in tapped]
        if norm or taps[-1] == self.depth - 1:  # `last` is always normed
            pairs[-1] = (last[:, num_prefix:], last[:, :num_prefix])
        has_prefix = pairs[0][1].shape[1] > 0
        return Tokens(
            layers=tuple(patches for patches, _ in pairs),
            grid=_grid(images, self.patch_size, pairs[0][0].shape[1], self.identity),
            prefix=tuple(prefix for _, prefix in pairs) if has_prefix else (),
        )


class MapNetwork(ImageModel):
    """Any other network of timm: images `[B, 3, H, W]` to the positions of its last feature map."""

    leaves_norm = False

    def _tokens(self, images: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        self._refuse_mask(keep)
        features = self.model.forward_features(images)  # type: ignore[operator]
        if not isinstance(features, torch.Tensor):
            raise UsageError(
                f"{self.identity} returns several sequences, not one map; use another model."
            )
        prefix: tuple[torch.Tensor, ...] = ()
        if features.ndim == 4:
            is_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            features = features if is_last else features.permute(0, 2, 3, 1)
            grid = (1, features.shape[1], features.shape[2])
            features = features.flatten(1, 2)
        else:
            num_prefix = int(getattr(self.model, "num_prefix_tokens", 0) or 0)
            if num_prefix:
                prefix, features = (features[:, :num_prefix],), features[:, num_prefix:]
            grid = _grid(images, self.patch_size, features.shape[1], self.identity)
        return Tokens(layers=(features,), grid=grid, prefix=prefix)


def _grid(
    images: torch.Tensor, patch_size: int, num_tokens: int, name: str
) -> tuple[int, int, int]:
    height, width = images.shape[-2] // patch_size, images.shape[-1] // patch_size
    if height * width != num_tokens:
        raise UsageError(
            f"{name} returns {num_tokens} tokens for images of shape {tuple(images.shape)}, not a"
            f" map of {height} x {width}; use another model."
        )
    return 1, height, width
