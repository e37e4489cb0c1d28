"""An image encoder on clips: each frame is encoded alone, all tokens form one sequence.

This is how the V-JEPA paper evaluates image encoders on videos (arXiv 2404.08471, section 4 and
appendix). Shape letters: B clips, T frames, H and W pixels, n tokens per frame, K kept tokens,
P prefix tokens per frame, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import nn

from bench.encoders.networks.video_vit import TokenNetwork
from bench.errors import UsageError
from bench.types import EncoderSpec, Tokens

IMAGES_PER_CALL = 64


def norm_option(network: nn.Module, norm: bool, name: str) -> dict[str, bool]:
    """Return the keyword argument that skips the final norm of taps; empty if `norm` is true.

    Raises:
        UsageError: the network has no such argument.
    """
    # Omitted when true, so networks without `norm` still work.
    if norm:
        return {}
    takes_norm = "norm" in inspect.signature(network.forward).parameters
    if not getattr(network, "leaves_norm", takes_norm):
        raise UsageError(
            f"encoder {name} cannot skip its final norm (no argument norm); leave norm at true."
        )
    return {"norm": False}


class ImageModel(TokenNetwork):
    """A library's model as an image network; `identity` names the model."""

    def __init__(self, model: nn.Module, spec: EncoderSpec, *, identity: str) -> None:
        super().__init__()
        self.model = model
        self.identity = identity
        self.depth = spec.depth
        self.patch_size = spec.patch_size

    def _refuse_mask(self, keep: torch.Tensor | None) -> None:
        if keep is not None:
            raise UsageError(f"{self.identity} does not support token masks: encode whole images.")


def network_name(network: nn.Module) -> str:
    """Return what keys of stored features call a network: its `identity`, if any, or its class."""
    return getattr(network, "identity", None) or class_name(type(network))


def class_name(kind: type[nn.Module]) -> str:
    """Return the name of a class without the room it is in, so that keys outlive a move."""
    module = kind.__module__.replace("bench.encoders.networks.", "bench.encoders.")
    return f"{module}.{kind.__qualname__}"


class FrameByFrame(nn.Module):
    """Clips `[B, 3, T, H, W]` to the tokens of all their frames, `[B, T*n, D]`, grid (T, h, w).

    `network` takes images `[B, 3, H, W]`, `keep`, `layers` and, if it can skip its final norm,
    `norm`, and returns `Tokens` with grid (1, h, w). It is called with at most `IMAGES_PER_CALL`
    images. Class and register tokens stay in `Tokens.prefix`, `[B, T*P, D]`.
    """

    def __init__(self, network: nn.Module, spec: EncoderSpec) -> None:
        super().__init__()
        assert spec.takes == "image" and spec.tubelet_size == 1, spec
        self.network = network
        self.patch_size = spec.patch_size
        self.name = spec.name
        self.identity = f"{class_name(type(self))} of {network_name(network)}"

    def forward(
        self,
        pixels: torch.Tensor,
        *,
        keep: torch.Tensor | None = None,
        layers: Sequence[int] | None = None,
        norm: bool = True,
    ) -> Tokens:
        """Encode clips of any number of frames.

        `keep` int64 `[B, K]` are token indices within a clip, frame by frame, the same number per
        frame.

        Raises:
            UsageError: not RGB clips, a mask that keeps unequal numbers of tokens per frame, `norm`
                false although the network cannot skip it, or input that the network refuses.
        """
        if pixels.ndim != 5 or pixels.shape[1] != 3 or 0 in pixels.shape:
            raise UsageError(
                f"clips of shape {tuple(pixels.shape)} cannot be encoded: expected [B, 3, T, H, W]."
            )
        options = norm_option(self.network, norm, self.name)
        num_clips, frames = len(pixels), pixels.shape[2]
        images = pixels.transpose(1, 2).flatten(0, 1)
        kept = None if keep is None else self._by_frame(keep, pixels)
        calls: list[Tokens] = []
        for start in range(0, len(images), IMAGES_PER_CALL):
            part = slice(start, start + IMAGES_PER_CALL)
            kept_part = None if kept is None else kept[part]
            calls.append(self.network(images[part], keep=kept_part, layers=layers, **options))
        _, height, width = calls[0].grid
        return Tokens(
            layers=_joined([call.layers for call in calls], num_clips),
            grid=(frames, height, width),
            prefix=_joined([call.prefix for call in calls], num_clips),
        )

    def _by_frame(self, keep: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Turn token indices within a clip into indices within its frames, `[B*T, K/T]`."""
        frames, height, width = pixels.shape[2:]
        tokens = (height // self.patch_size) * (width // self.patch_size)
        equal = keep.shape[1] % frames == 0
        if equal:
            parts = keep.unflatten(1, (frames, -1))  # type: ignore[no-untyped-call]
            first = torch.arange(frames, device=keep.device).view(1, -1, 1) * tokens
            within = parts - first
            equal = bool(((within >= 0) & (within < tokens)).all())
        if not equal:
            raise UsageError(
                f"encoder {self.name} encodes frames one by one: a mask must keep the same number"
                f" of tokens in each of the {frames} frames, ordered by frame."
            )
        kept: torch.Tensor = within.flatten(0, 1)
        return kept


def _joined(calls: Sequence[tuple[torch.Tensor, ...]], num_clips: int) -> tuple[torch.Tensor, ...]:
    """Concatenate the calls per layer, with all frames of a clip in one sequence."""
    return tuple(
        torch.cat(layer).unflatten(0, (num_clips, -1)).flatten(1, 2)  # type: ignore[no-untyped-call]
        for layer in zip(*calls, strict=True)
    )
