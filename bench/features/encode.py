"""Run the frozen encoder so that a clip's features never depend on what else is in the batch.

Every call holds exactly `spec.clips_per_call` clips, and a clip's place in its call follows from
its row alone; places without a clip hold zeros. Shape letters: B clips, V views, S clips of a row,
N tokens, D width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from bench.counters import Counts
from bench.data.loader import Sample
from bench.data.recipe import Recipe
from bench.data.transforms import normalise
from bench.encoders.encoder import Encoder
from bench.errors import UsageError, known
from bench.types import Tokens

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return `fp32`, `bf16` or `fp16`; `auto` is bf16 where a GPU computes in it, else fp32.

    Raises:
        UsageError: an unknown name, or bf16 on a GPU that cannot.
    """
    known("precision", precision, ("auto", *PRECISIONS))
    # Compute capability 8.0 (Ampere) is the first with bf16 arithmetic; CPUs mostly emulate it.
    capable = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "auto":
        return "bf16" if capable else "fp32"
    if precision == "bf16" and device.type == "cuda" and not capable:
        raise UsageError(f"precision bf16: {device} cannot compute in it; use fp32 or fp16.")
    return precision


def encode_clips(
    encoder: Encoder,
    clips: torch.Tensor,
    device: torch.device,
    precision: str,
    layers: Sequence[int] | None = None,
) -> Tokens:
    """Encode any number of normalised clips `[B, 3, T, H, W]`, in calls of one fixed size.

    Tokens lie on `device`; `precision` is what `resolve_precision` gave.
    """
    size = encoder.spec.clips_per_call
    calls = []
    for start in range(0, len(clips), size):
        part = clips[start : start + size]
        call = part.new_zeros((size, *part.shape[1:]))
        call[: len(part)] = part
        calls.append(_forward(encoder, call.to(device), precision, layers))
    tapped = zip(*(call.layers for call in calls), strict=True)
    return Tokens(
        layers=tuple(torch.cat(layer)[: len(clips)] for layer in tapped), grid=calls[0].grid
    )


def encode_rows(
    encoder: Encoder,
    placed: Iterable[tuple[int, Sample]],
    recipe: Recipe,
    *,
    device: torch.device,
    precision: str,
    layers: Sequence[int] | None = None,
    counts: Counts,
) -> Iterator[tuple[Sample, torch.Tensor | None]]:
    """Yield every sample with its tokens `[V*S, N, D]` on `device`; None if it is unreadable.

    `placed` gives each sample the place of its first clip, ascending; place p is clip p modulo
    `clips_per_call` of its call. Several layers are joined along the width. Order is kept.
    """
    size = encoder.spec.clips_per_call
    waiting: deque[_Row] = deque()
    call = _Call(number=-1)
    for place, sample in placed:
        row = _Row(sample=sample, missing=0 if sample.error else recipe.clips_per_row)
        waiting.append(row)
        for clip, number in enumerate(range(place, place + row.missing)):
            if number // size != call.number:
                call.run(encoder, recipe, device, precision, layers, counts)
                call = _Call(number=number // size)
            call.clips[number % size] = row, clip
        while waiting and not waiting[0].missing:
            yield waiting.popleft().finished()
    call.run(encoder, recipe, device, precision, layers, counts)
    while waiting:
        yield waiting.popleft().finished()


@dataclass(kw_only=True, eq=False)
class _Row:
    """A sample on its way through the encoder: how many of its clips are still to come."""

    sample: Sample
    missing: int
    parts: list[torch.Tensor] = field(default_factory=list)

    def finished(self) -> tuple[Sample, torch.Tensor | None]:
        assert not self.missing
        return self.sample, torch.stack(self.parts) if self.parts else None


@dataclass(kw_only=True, eq=False)
class _Call:
    """The clips of one call by their place in it: (row, number of the clip within the row)."""

    number: int
    clips: dict[int, tuple[_Row, int]] = field(default_factory=dict)

    def run(
        self,
        encoder: Encoder,
        recipe: Recipe,
        device: torch.device,
        precision: str,
        layers: Sequence[int] | None,
        counts: Counts,
    ) -> None:
        """Encode, and hand every row its tokens; an empty call costs nothing."""
        if not self.clips:
            return
        with counts.timed("encode"):
            batch = self._pixels(encoder.spec.clips_per_call, recipe, device)
            pixels = batch.to(device, non_blocking=True)
            if not recipe.is_random:
                pixels = normalise(pixels, recipe.mean, recipe.std)
            tokens = torch.cat(_forward(encoder, pixels, precision, layers).layers, dim=-1)
            for place, (row, _) in self.clips.items():
                row.parts.append(tokens[place])
                row.missing -= 1
        counts.encoder_calls += 1

    def _pixels(self, size: int, recipe: Recipe, device: torch.device) -> torch.Tensor:
        """Put the clips at their places: uint8 `[B, T, H, W, 3]`, or float32 if augmented."""
        frames, side = recipe.plan.num_frames, recipe.size
        batch = torch.empty(
            (size, 3, frames, side, side) if recipe.is_random else (size, frames, side, side, 3),
            dtype=torch.float32 if recipe.is_random else torch.uint8,
            pin_memory=device.type == "cuda",
        )
        for place in range(size):
            if place in self.clips:
                row, clip = self.clips[place]
                row.sample.copy_clip(clip, batch[place])
            else:
                batch[place].zero_()
        return batch


def _forward(
    encoder: Encoder, pixels: torch.Tensor, precision: str, layers: Sequence[int] | None
) -> Tokens:
    dtype = PRECISIONS[precision]
    is_fp32 = dtype == torch.float32
    with (
        torch.inference_mode(),
        torch.autocast(pixels.device.type, dtype=dtype, enabled=not is_fp32),
        _true_fp32() if is_fp32 and pixels.device.type == "cuda" else nullcontext(),
    ):
        tokens: Tokens = encoder(pixels, layers=layers)
    return tokens


def _true_fp32() -> AbstractContextManager[None]:
    """Keep cuDNN from taking TF32 (10 bits) for convolutions, which it does unless told."""
    cudnn = torch.backends.cudnn
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    )
    return flags
