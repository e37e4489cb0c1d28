"""The functional check of an encoder: its features on a synthetic clip drawn by a formula.

The numbers go into the record to compare machines and library versions and to report weights that
look untrained. Shape letters: T frames, S pixels per side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import require_tokens
from bench.data.views.transforms import normalise
from bench.encoders.encoder import Encoder
from bench.encoders.true_fp32 import true_fp32
from bench.encoders.weights.checkpoints import shortened
from bench.errors import CheckpointError

CLIP = "formula-1"
FUSED_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
DIGITS = 4
BLOCKS = 8
BLIND_TOLERANCE = 1e-6  # of the largest feature: a smaller change means the input is ignored

# Cached per open encoder, which many runs share, and dropped with it.
_CHECKS: WeakKeyDictionary[Encoder, Check] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Check:
    """The features of an encoder on the synthetic clip, and signs of untrained weights.

    `sha256` is the digest of the mean token rounded to `DIGITS` decimals. `blocks` are the means of
    up to `BLOCKS` equal parts of that token, to be compared with a tolerance across machines.
    `spread` is the standard deviation of the features over tokens, `gflops` the computation per
    clip: products, convolutions and attention, 2 per multiply-add. `fresh_norms` are those of the
    `num_norms` normalisation layers that still have their initial ones and zeros. `num_tensors`
    counts the tensors of the network, all of which were loaded.
    """

    clip: str
    sha256: str
    blocks: tuple[float, ...]
    spread: float
    num_tensors: int
    num_norms: int
    fresh_norms: tuple[str, ...]
    is_blind: bool
    gflops: float | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the record about suspicious weights or features; usually none."""
        found = []
        if self.fresh_norms and len(self.fresh_norms) == self.num_norms:
            found.append(
                f"the weights look random: all {self.num_norms} normalisation layers hold the ones"
                " and zeros that training starts from"
            )
        elif self.fresh_norms:
            found.append(
                f"{len(self.fresh_norms)} of {self.num_norms} normalisation layers hold the ones"
                f" and zeros that training starts from: {shortened(self.fresh_norms)}"
            )
        if self.is_blind:
            found.append("the features of two different pictures are the same")
        return tuple(found)


def functional_check(encoder: Encoder) -> Check:
    """Return the check of an open encoder, run once, in float32 on the encoder's device.

    Raises:
        CheckpointError: features that are not finite.
        UsageError: a user-defined network that returns tokens other than its spec says.
    """
    if encoder not in _CHECKS:
        _CHECKS[encoder] = _check(encoder)
    return _CHECKS[encoder]


def formula_clip(num_frames: int, size: int) -> torch.Tensor:
    """Return the clip, uint8 `[T, S, S, 3]`: slanted waves and a disc of inverted colours.

    Integer arithmetic makes it identical on all machines. The disc moves right; the picture is the
    same at every size.
    """
    t = (torch.arange(num_frames) * 256 // num_frames).view(-1, 1, 1)
    y = (torch.arange(size) * 256 // size).view(1, -1, 1)
    x = (torch.arange(size) * 256 // size).view(1, 1, -1)
    planes = (2 * x + t + 0 * y, 2 * y - t + 128 + 0 * x, x + y + 2 * t)
    waves = torch.stack([_wave(plane) for plane in planes], dim=-1)
    disc = (x - 64 - t // 2) ** 2 + (y - 128) ** 2 < 48**2
    return torch.where(disc.unsqueeze(-1), 255 - waves, waves).to(torch.uint8)


def fresh_norms(network: nn.Module) -> tuple[list[str], list[str]]:
    """Return the names of all normalisation layers with weights, and of the untrained ones.

    A layer is untrained if all its weights are exactly 1 and all its biases and running means
    exactly 0, which no training leaves behind.
    """
    names, fresh = [], []
    for name, module in network.named_modules():
        gains = getattr(module, "weight", None)
        is_norm = "norm" in type(module).__name__.lower()
        if is_norm and isinstance(gains, torch.Tensor) and gains.ndim == 1:
            names.append(name or type(module).__name__)
            values = [getattr(module, zero, None) for zero in ("bias", "running_mean")]
            zeros = [value for value in values if isinstance(value, torch.Tensor)]
            if (gains == 1).all() and not any(value.any() for value in zeros):
                fresh.append(names[-1])
    return names, fresh


def _check(encoder: Encoder) -> Check:
    spec = encoder.spec
    clip = formula_clip(spec.num_frames, spec.image_size)
    pair = torch.stack([clip, clip.flip(2)])
    weight = next(iter(encoder.state_dict().values()), torch.empty(0))
    work = FlopCounterMode(display=False, custom_mapping={FUSED_ON_CPU: _attention_flops})
    with torch.inference_mode(), true_fp32(), work:
        made = encoder(normalise(pair, spec.mean, spec.std).to(weight.device))
    require_tokens(spec, made, num_clips=len(pair))
    tokens = made.last.double().cpu()
    if not torch.isfinite(tokens).all():
        raise CheckpointError(
            f"encoder {spec.name} gives features that are not finite for a synthetic clip of"
            f" {spec.num_frames} frames of {spec.image_size} pixels; its weights are damaged or"
            " its training diverged: use other weights."
        )
    mean, mirrored = tokens.mean(1)
    whole = np.rint(mean.numpy() * 10**DIGITS).astype("<i8")
    names, fresh = fresh_norms(encoder.network)
    return Check(
        clip=f"{CLIP} {spec.num_frames}x{spec.image_size}",
        sha256=hashlib.sha256(whole.tobytes()).hexdigest(),
        blocks=tuple(
            round(float(part.mean()), DIGITS)
            for part in torch.tensor_split(mean, min(BLOCKS, len(mean)))
        ),
        spread=round(float(tokens[0].std(0, correction=0).mean()), DIGITS),
        num_tensors=len(encoder.network.state_dict()),
        num_norms=len(names),
        fresh_norms=tuple(fresh),
        gflops=round(work.get_total_flops() / len(pair) / 1e9, DIGITS) or None,
        is_blind=bool((mean - mirrored).abs().max() <= BLIND_TOLERANCE * mean.abs().max()),
    )


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """Operations of fused attention on shapes `[B, H, N, D]`, which older torch does not count."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _wave(position: torch.Tensor) -> torch.Tensor:
    """A triangle of period 512 between 0 and 255."""
    return (position % 512 - 256).abs().clamp(max=255)
