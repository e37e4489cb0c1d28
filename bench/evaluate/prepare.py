"""Prepare what all probes on one encoder and task share: weights, splits, clip plans, recipes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import registry
from bench.config import Machine, RunConfig
from bench.data.manifest import Manifest, Task
from bench.data.views.clip_frames import CENTRED, DRAWN, KEYFRAME
from bench.data.views.pixel_recipe import Recipe, frames_of, keyframe_recipe, score_recipe
from bench.encoders.encoder import Encoder, open_encoder, weight_digest
from bench.errors import UsageError
from bench.features.encode import resolve_precision
from bench.features.extraction import Extraction
from bench.metrics.frame_rows import FrameIndex
from bench.preflight.probe_contract import require_probe
from bench.preflight.settle import settled_task_options
from bench.preflight.task_contract import build_task
from bench.protocols import FIXED_CLIPS, EvaluationProtocol
from bench.records.run_id import plain, probe_facts
from bench.types import ClipPlan, Fitted, Probe

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedRun:
    """One encoder on one task under one protocol, ready to extract features.

    `fit` and `score` describe the features of the two splits, for any probe.
    """

    config: RunConfig
    task: Task
    protocol: EvaluationProtocol
    fit: Extraction
    score: Extraction
    deviations: Sequence[str]

    def on(self, task: Task) -> PreparedRun:
        """The same run with the training rows of another task."""
        return replace(self, task=task, fit=self.fit.of(task.fit))


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One probe on one task under one protocol: everything known before features are computed.

    `released` is a probe from the file `weights`, scored without a fit; with `learn_order` the
    order of its classes is learned on the training split.
    """

    config: RunConfig
    task: Task
    protocol: EvaluationProtocol
    probe: Probe
    device: torch.device
    deviations: Sequence[str] = ()
    weights: Path | None = None
    released: Fitted | None = None
    learn_order: bool = False

    @property
    def probe_facts(self) -> dict[str, Any]:
        """Settings and heads of the probe as JSON values, for id and record.

        Those of a released probe are what its file says; what it does not say is unknown.
        """
        facts = probe_facts(self.probe)
        if self.released is None:
            return facts
        told = getattr(self.released, "told", None)
        known = plain(told.settings) if told else {}
        return {
            "settings": {**dict.fromkeys(facts["settings"], "unknown"), **known},
            "heads": [dict.fromkeys(facts["heads"][0], "unknown")],
        }


def prepare(config: RunConfig, machine: Machine) -> PreparedRun:
    """Open the encoder and the task of a run and resolve plans, transforms and precision.

    Raises:
        UsageError: the plan does not fit the encoder, or options contradict each other.
        DataError: the task's files are missing or wrong.
        CheckpointError: the weights do not fully match the requested encoder.
    """
    protocol: EvaluationProtocol = registry.build("protocols", config.protocol, {})
    task = open_task(config, machine)
    encoder = open_encoder(config.encoder, config.encoder_options)
    device = pick_device(machine.device)
    encoder.to(device)
    deviations = []
    if config.plan is not None:
        deviations.append(f"plan {config.plan} instead of the task's {task.score_plan}")
    if config.score_clips != "protocol":
        seed = f" with seed {config.seed}" if config.score_clips == "drawn" else ""
        deviations.append(f"scored clips {config.score_clips} in their segment{seed}")
    draws = protocol.draws
    if config.draws is not None and config.draws != protocol.draws:
        draws = config.draws
        usual = "a fresh one an epoch" if protocol.draws is None else str(protocol.draws)
        deviations.append(f"draws {config.draws} instead of {usual}")
    elif config.features == "stored" and draws is None:
        draws = 1
        deviations.append("1 stored draw of every training sample instead of a fresh one an epoch")
    if config.features == "live" and draws:
        raise UsageError("features = live makes a new draw in every epoch: leave draws out.")
    layers = protocol.layers_of(task.name, encoder.spec.depth)
    if config.layers is not None and config.layers != layers:
        usual = "the last block alone" if layers is None else _layers_text(layers)
        deviations.append(f"{_layers_text(config.layers)} instead of {usual}")
        layers = config.layers
    check_layers(layers, encoder, task)
    if task.readout is not None and task.readout.num_layers > encoder.spec.depth:
        deviations.append(
            f"{task.readout.num_layers} layers per box were requested, the encoder has"
            f" {encoder.spec.depth}"
        )
    fit_recipe, score_recipe_ = recipes(config, encoder, task, protocol, draws)
    score = Extraction(
        encoder=encoder,
        weights_digest=weight_digest(encoder),
        manifest=task.score,
        recipe=score_recipe_,
        layers=layers,
        region=task.readout,
        device=device,
        precision=resolve_precision(config.precision, device),
        dtype=config.dtype,
    )
    return PreparedRun(
        config=config,
        task=task,
        protocol=protocol,
        fit=replace(score, manifest=task.fit, recipe=fit_recipe, draws=draws),
        score=score,
        deviations=deviations,
    )


def check_layers(layers: Sequence[int] | None, encoder: Encoder, task: Task) -> None:
    """Check the requested blocks.

    Raises:
        UsageError: the encoder does not have them, or the task chooses its own.
    """
    if layers is None:
        return
    if task.readout is not None:
        raise UsageError(
            f"task {task.name} chooses the blocks for its boxes itself: leave layers out"
            " (--set task.num_layers sets how many)."
        )
    if layers[-1] >= encoder.spec.depth:
        raise UsageError(
            f"{_layers_text(layers)}: {encoder.spec.name} has {encoder.spec.depth} blocks, counted"
            " from 0; choose among them."
        )


def recipes(
    config: RunConfig,
    encoder: Encoder,
    task: Task,
    protocol: EvaluationProtocol,
    draws: int | None,
) -> tuple[Recipe, Recipe]:
    """Return the pixel recipes for fitting and scoring; raises as `plans`."""
    fit_plan, score_plan = plans(config, encoder, task, protocol)
    flip = task.flip and draws != 0
    if task.readout is not None:
        make = partial(keyframe_recipe, encoder.spec, readout=task.readout, decoder=config.decoder)
        return make(plan=fit_plan, flip=flip, seed=config.seed), make(plan=score_plan)
    score = score_recipe(encoder.spec, score_plan, task.kind, config.decoder)
    view = "score" if draws == 0 else protocol.augment[task.kind]
    fit = replace(score, plan=fit_plan, view=view, flip=flip, seed=config.seed)
    return fit, replace(score, seed=config.seed) if score.has_drawn_clips else score


def open_task(config: RunConfig, machine: Machine) -> Task:
    """Build the task of a run, with `--data` as its `data` option and `limit` rows per split."""
    task = build_task(config.task, settled_task_options(config, machine))
    if config.limit is None:
        return task
    fit, score = _first(task.fit, config.limit), _first(task.score, config.limit)
    truth = task.truth
    if truth is not None and score.regions is not None:
        kept = FrameIndex([score.regions.frames]).number(truth.boxes.frames) >= 0
        truth = replace(truth, boxes=truth.boxes.at(kept))
    return replace(task, fit=fit, score=score, truth=truth)


def build_probe(prepared: PreparedRun, config: RunConfig) -> tuple[Probe, list[str]]:
    """Build the probe; the user's options override those of protocol and task as deviations."""
    entry = registry.find("probes", config.probe)
    protocol, task = prepared.protocol, prepared.task
    fixed = {
        **task.probe_options.get(protocol.selection, {}).get(config.probe, {}),
        **protocol.fixed_options(task.name, task.kind, config.probe),
    }
    usual = {**_heads(entry, prepared), **fixed}
    given = registry.checked(entry, {**_heads(entry, prepared), **config.probe_options})
    probe: Probe = registry.build("probes", config.probe, {**fixed, **given})
    require_probe(config.probe, probe)
    deviations = [
        f"{config.probe} {key} {given[key]} instead of {usual[key]}"
        for key in config.probe_options
        if key in usual and given[key] != usual[key]
    ]
    return probe, deviations


def plans(
    config: RunConfig, encoder: Encoder, task: Task, protocol: EvaluationProtocol
) -> tuple[ClipPlan, ClipPlan]:
    """Return the clip plans for fitting and scoring; a training clip has one spatial view.

    Raises:
        UsageError: the plan does not fit the task or the encoder.
    """
    frames = frames_of(encoder.spec, task.kind)
    sampler = protocol.sampler if task.unit == "clip" else KEYFRAME
    samplers = {"protocol": sampler, "drawn": DRAWN, "centred": CENTRED}
    score_sampler = samplers[config.score_clips]
    if score_sampler != sampler and (sampler != "vjepa" or task.kind == "image"):
        raise UsageError(
            f"score_clips = {config.score_clips} is for videos and the released protocols of V-JEPA"
            f" (vjepa@1, vjepa2@1), not for {task.name} with {protocol.name}; leave it out."
        )
    if config.plan is None:
        return (
            replace(task.fit_plan, num_frames=frames, sampler=sampler),
            replace(task.score_plan, num_frames=frames, sampler=score_sampler),
        )
    plan = ClipPlan.parse(config.plan, sampler)
    if task.unit == "box" and (plan.num_clips, plan.num_views) != (1, 1):
        raise UsageError(
            f"task {task.name} reads one clip around each key frame: write the plan {plan} as"
            f" {frames}@{plan.stride}."
        )
    if task.kind == "image" and (plan.num_clips, plan.num_views, plan.stride) != (1, 1, 0):
        raise UsageError(f"task {task.name} has images: write the plan {plan} as {frames}x1x1@0.")
    if task.kind == "video" and plan.stride == 0:
        raise UsageError(
            f"plan {plan} would repeat one frame of every video: use a stride above 0."
        )
    if plan.num_frames != frames:
        is_still = task.kind == "image" and encoder.spec.still_frames is not None
        option = "still_frames" if is_still else "num_frames"
        raise UsageError(
            f"plan {plan} has clips of {plan.num_frames} frames, but the encoder"
            f" {encoder.spec.name} takes {frames}: use {replace(plan, num_frames=frames)}, or build"
            f" the encoder for it with --set encoder.{option}={plan.num_frames}."
        )
    return replace(plan, num_views=1), replace(plan, sampler=score_sampler)


def departures(config: RunConfig, task: Task, protocol: EvaluationProtocol) -> tuple[str, ...]:
    """Return where a run is not what the source of its protocol describes."""
    places_clips = task.unit == "clip" and task.score_plan.stride > 0
    is_fixed = places_clips and config.score_clips == "protocol"
    return tuple(text for text in protocol.departures if is_fixed or text != FIXED_CLIPS)


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the first GPU if there is one, else the CPU.

    Raises:
        UsageError: torch has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name!r} is unknown; use cpu, cuda or cuda:0.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch sees no GPU here; see: bench doctor.")
    return device


def _first(manifest: Manifest, limit: int) -> Manifest:
    """Keep `limit` evenly spread rows as a manifest of their own, so that no other file is read."""
    if limit >= len(manifest):
        return manifest
    rows = np.arange(limit, dtype=np.int64) * len(manifest) // limit
    if manifest.regions is not None:  # whole key frames, so that they can be scored
        kept = np.isin(manifest.regions.clip, manifest.regions.clip[rows])
        rows = np.flatnonzero(kept).astype(np.int64)
    part = manifest.subset(rows)
    if part.regions is not None:  # renumbered: gaps would leave encoder calls half empty
        _, clip = np.unique(part.regions.clip, return_inverse=True)
        part = replace(part, regions=replace(part.regions, clip=clip.astype(np.int64)))
    return replace(part, parent=None, rows=None)


def _layers_text(layers: Sequence[int]) -> str:
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"


def _heads(entry: registry.Entry, prepared: PreparedRun) -> dict[str, Any]:
    """Return the encoder's number of attention heads for probes that need one."""
    needs = registry.needs(entry, "num_heads")
    return {"num_heads": prepared.score.encoder.spec.num_heads} if needs else {}
