"""Run the frozen encoder so that a clip's features never depend on the rest of the batch.

Every call has exactly `spec.clips_per_call` clips of one shape, and a clip's place in its call
depends on its row alone; empty places are zero. Shape letters: B clips, V views, S clips of a row,
N tokens, D width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bench.data.loader import Sample
from bench.data.views.transforms import normalise
from bench.encoders.encoder import Encoder
from bench.encoders.true_fp32 import require_exact_onednn, true_fp32
from bench.errors import UsageError, known
from bench.features.counts import Counts
from bench.features.extraction import Extraction
from bench.features.readout import Parts
from bench.types import Tokens

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return `fp32`, `bf16` or `fp16`; `auto` is bf16 on GPUs that support it, else fp32.

    Raises:
        UsageError: an unknown name, bf16 on a GPU without support for it, or an environment
            variable that makes oneDNN round float32.
    """
    known("precision", precision, ("auto", *PRECISIONS))
    if device.type == "cpu":
        require_exact_onednn()
    # Compute capability 8.0 (Ampere) is the first with bf16 arithmetic; CPUs mostly emulate it.
    capable = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "auto":
        return "bf16" if capable else "fp32"
    if precision == "bf16" and device.type == "cuda" and not capable:
        raise UsageError(f"precision bf16: {device} does not support it; use fp32 or fp16.")
    return precision


def encode_clips(
    encoder: Encoder,
    clips: torch.Tensor,
    device: torch.device,
    precision: str,
    layers: Sequence[int] | None = None,
) -> Tokens:
    """Encode any number of normalised clips `[B, 3, T, H, W]`, in calls of one fixed size.

    Tokens are on `device`; `precision` is that of `resolve_precision`.
    """
    size = encoder.spec.clips_per_call
    calls = []
    for start in range(0, len(clips), size):
        part = clips[start : start + size]
        call = part.new_zeros((size, *part.shape[1:]))
        call[: len(part)] = part
        calls.append(forward(encoder, call.to(device), precision, layers))
    tapped = zip(*(call.layers for call in calls), strict=True)
    return Tokens(
        layers=tuple(torch.cat(layer)[: len(clips)] for layer in tapped), grid=calls[0].grid
    )


def encode_rows(
    extraction: Extraction, placed: Iterable[tuple[int, Sample]], counts: Counts
) -> Iterator[tuple[Sample, Parts | None]]:
    """Yield every sample, in order, with the readout's parts of its clips, None if unreadable.

    Parts are on the device, `[V*S, ...]`. `placed` gives each sample the place of its first clip,
    ascending; place p is clip p modulo `clips_per_call` of its call. A call with clips of several
    shapes is run once per shape.
    """
    size = extraction.encoder.spec.clips_per_call
    waiting: deque[_Row] = deque()
    calls = _Calls(extraction=extraction, counts=counts)
    current, clips = -1, _CallClips()
    for place, sample in placed:
        row = _Row(sample=sample, missing=0 if sample.error else sample.num_clips)
        waiting.append(row)
        for clip, number in enumerate(range(place, place + row.missing)):
            if number // size != current:
                calls.run(clips)
                current, clips = number // size, _CallClips()
            clips.add(number % size, row, clip)
        while waiting and not waiting[0].missing:
            yield waiting.popleft().finished()
    calls.run(clips)
    while waiting:
        yield waiting.popleft().finished()


@dataclass(kw_only=True, eq=False)
class _Row:
    """A sample on its way through the encoder; `missing` clips are still to come."""

    sample: Sample
    missing: int
    parts: list[Parts] = field(default_factory=list)

    def finished(self) -> tuple[Sample, Parts | None]:
        assert not self.missing
        if not self.parts:
            return self.sample, None
        return self.sample, tuple(torch.stack(part) for part in zip(*self.parts, strict=True))


class _CallClips:
    """The clips of one call by shape and place, as (row, number of the clip within it)."""

    def __init__(self) -> None:
        self.by_shape: dict[tuple[int, int], dict[int, tuple[_Row, int]]] = {}

    def add(self, place: int, row: _Row, clip: int) -> None:
        clips = self.by_shape.setdefault(_sides(row.sample), {})
        assert place not in clips, "two clips at one place"
        clips[place] = row, clip


@dataclass(frozen=True, kw_only=True, eq=False)
class _Calls:
    """Forward calls of one size, which pass the parts to their rows."""

    extraction: Extraction
    counts: Counts

    def run(self, clips: _CallClips) -> None:
        """Encode the clips of a call, once per shape; an empty call is free."""
        recipe, readout = self.extraction.recipe, self.extraction.readout
        encoder, precision = self.extraction.encoder, self.extraction.precision
        for shape, placed in clips.by_shape.items():
            with self.counts.timed("encode"):
                pixels = self._pixels(placed, shape).to(self.extraction.device, non_blocking=True)
                if pixels.dtype == torch.uint8:
                    pixels = normalise(pixels, recipe.mean, recipe.std)
                tokens = forward(encoder, pixels, precision, readout.layers, readout.norm)
                parts = readout.collect(tokens)
                for place, (row, _) in sorted(placed.items()):
                    row.parts.append(tuple(part[place] for part in parts))
                    row.missing -= 1
            self.counts.encoder_calls += 1

    def _pixels(
        self, placed: Mapping[int, tuple[_Row, int]], shape: tuple[int, int]
    ) -> torch.Tensor:
        """Batch the clips by place: uint8 `[B, T, H, W, 3]`, or float32 if augmented."""
        size = self.extraction.encoder.spec.clips_per_call
        frames = self.extraction.recipe.plan.num_frames
        first, _ = next(iter(placed.values()))
        assert first.sample.frames is not None
        dtype = first.sample.frames.dtype
        batch = torch.empty(
            (size, frames, *shape, 3) if dtype == torch.uint8 else (size, 3, frames, *shape),
            dtype=dtype,
            pin_memory=self.extraction.device.type == "cuda",
        )
        for place in range(size):
            if place in placed:
                row, clip = placed[place]
                row.sample.copy_clip(clip, batch[place])
            else:
                batch[place].zero_()
        return batch


def _sides(sample: Sample) -> tuple[int, int]:
    assert sample.frames is not None
    shape = sample.frames.shape
    height, width = shape[2:4] if sample.frames.dtype == torch.uint8 else shape[-2:]
    return height, width


def forward(
    encoder: Encoder,
    pixels: torch.Tensor,
    precision: str,
    layers: Sequence[int] | None,
    norm: bool = True,
) -> Tokens:
    """Return the tokens of normalised clips `[B, 3, T, H, W]` on the encoder's device."""
    dtype = PRECISIONS[precision]
    is_low = dtype != torch.float32
    with (
        torch.inference_mode(),
        torch.autocast(pixels.device.type, dtype=dtype, enabled=is_low),
        true_fp32(),
    ):
        tokens: Tokens = encoder(pixels, layers=layers, norm=norm)
    return tokens
