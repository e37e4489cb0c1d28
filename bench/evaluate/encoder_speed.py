"""The speed of an encoder by itself: nothing is decoded, transformed or stored."""

from __future__ import annotations

import time

import numpy as np
import torch

from bench.data.views.transforms import normalise
from bench.encoders.encoder import open_encoder, weight_digest
from bench.encoders.functional_check import formula_clip, functional_check
from bench.errors import UsageError
from bench.evaluate.prepare import pick_device
from bench.features.encode import forward, resolve_precision
from bench.records.environment import device_name
from bench.records.record import utc_now
from bench.records.speeds import Speed
from bench.types import Progress, Settings

WARM_UP = 3  # calls


def measure_speed(
    name: str,
    options: Settings,
    *,
    device: str,
    precision: str,
    batch: int | None,
    repeats: int,
    progress: Progress,
) -> Speed:
    """Time `repeats` calls of `batch` clips (None: as many as an evaluation has per call).

    Raises:
        UsageError: an unknown encoder, device or precision, or no calls or clips.
        CheckpointError: the weights do not fully match the encoder.
    """
    if repeats < 1 or (batch is not None and batch < 1):
        raise UsageError("--repeats and --batch-size must be at least 1.")
    encoder, place = open_encoder(name, options), pick_device(device)
    spec, arithmetic = encoder.spec, resolve_precision(precision, place)
    encoder.to(place)
    size = spec.clips_per_call if batch is None else batch
    clip = formula_clip(spec.num_frames, spec.image_size)
    clips = normalise(clip.unsqueeze(0), spec.mean, spec.std).to(place)
    clips = clips.repeat(size, *[1] * (clips.ndim - 1))
    seconds = []
    progress.start(f"speed of {spec.name}", WARM_UP + repeats)
    try:
        for _ in range(WARM_UP + repeats):
            begin = time.perf_counter()
            forward(encoder, clips, arithmetic, None)
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            seconds.append(time.perf_counter() - begin)
            progress.advance()
    finally:
        progress.stop()
    rates = size / np.array(seconds[WARM_UP:])
    return Speed(
        encoder=spec.name,
        weights_sha256=weight_digest(encoder) if spec.num_parameters else None,
        num_frames=spec.num_frames,
        image_size=spec.image_size,
        gflops=functional_check(encoder).gflops,
        device=str(device_name(place)),
        precision=arithmetic,
        batch=size,
        repeats=repeats,
        median=float(np.median(rates)),
        lowest=float(rates.min()),
        highest=float(rates.max()),
        created=utc_now(),
        torch=torch.__version__,
    )
