"""Named, versioned protocols: how clips are chosen and cropped, and how a head is selected.

A protocol never changes once numbers are published with it; a correction gets a new version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.registry import register
from bench.types import Kind, Settings

Selection = Literal["honest", "single", "best_on_score"]


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """A named, versioned choice of sampler, transforms, selection rule and probe settings.

    `name` is the full id such as `honest@1`. `selection` is `honest` (choose the head on a
    stratified tenth of the training rows, refit, report once), `single` (one head, last epoch) or
    `best_on_score` (the best head on the scored rows themselves; records and tables mark it).
    `augment` is the training transform per kind of task, applied to `draws` > 0 stored draws per
    training sample, or afresh in every epoch if `draws` is None (live features). With `draws` = 0
    training clips get the deterministic single view. `probe_options` are the settings that the
    protocol fixes, by task kind or task name (which takes precedence) and by probe. Any other value
    is recorded as a deviation; so are other `layers` than those listed by task name and encoder
    depth (default: the last block). `departures` are sentences on where it is not what its source
    is; the digest leaves them out.
    """

    name: str
    title: str
    sampler: str
    augment: Mapping[Kind, str]
    selection: Selection
    draws: int | None
    source: str
    probe_options: Mapping[str, Mapping[str, Settings]] = field(default_factory=dict)
    layers: Mapping[str, Mapping[int, tuple[int, ...]]] = field(default_factory=dict)
    departures: tuple[str, ...] = ()

    def fixed_options(self, task: str, kind: Kind, probe: str) -> dict[str, Any]:
        """Return the settings of a probe that the protocol fixes for a task."""
        by_kind, by_task = (self.probe_options.get(key, {}).get(probe, {}) for key in (kind, task))
        return {**by_kind, **by_task}

    def layers_of(self, task: str, depth: int) -> tuple[int, ...] | None:
        """Return the encoder blocks to read; None means the last."""
        return self.layers.get(task, {}).get(depth)


FIXED_CLIPS = (
    "scored clips of segments longer than a clip begin at the start of the segment; the released"
    " code draws them at random (score_clips=drawn)"
)

# The probe of V-JEPA on video, as its configurations set it.
RELEASED: Settings = {
    "epochs": 20,
    "batch_size": 256,
    "lr": (1e-3,),
    "weight_decay": (0.01,),
    "final_weight_decay": 1e-6,
    "warmup": 0.0,
    "clip_norm": 1.0,
}


@register("protocols", "honest@1")
def honest() -> EvaluationProtocol:
    """Plain clips; the head is chosen on a tenth of the training set, then scored once."""
    grid = {"lr": (3e-3, 1e-3, 3e-4), "weight_decay": (0.01, 0.1), "batch_size": 64, "epochs": 20}
    probes = {"attentive": grid}
    return EvaluationProtocol(
        name="honest@1",
        title="selection on held-out training rows",
        sampler="plain",
        augment={"video": "vjepa_paper", "image": "vjepa_paper"},
        selection="honest",
        draws=0,
        source="ours; selection rule of DINOv2's logistic regression (arXiv 2304.07193, B.3)",
        probe_options={"video": probes, "image": probes},
    )


@register("protocols", "vjepa@1")
def vjepa() -> EvaluationProtocol:
    """The released V-JEPA evaluation: its sampler and augmentation, one head, last epoch.

    Departure: scored clips begin at the start of their segment where that is longer than a clip;
    the released code draws them at random, as `score_clips=drawn` does.
    """
    image = {**RELEASED, "batch_size": 1024, "weight_decay": (0.001,)}
    return EvaluationProtocol(
        name="vjepa@1",
        title="V-JEPA as released",
        sampler="vjepa",
        augment={"video": "vjepa_released", "image": "vjepa_image"},
        selection="single",
        draws=None,
        source="released evaluation configurations of V-JEPA (arXiv 2404.08471)",
        probe_options={"video": {"attentive": RELEASED}, "image": {"attentive": image}},
        departures=(FIXED_CLIPS,),
    )


@register("protocols", "vjepa_paper@1")
def vjepa_paper() -> EvaluationProtocol:
    """V-JEPA as its paper describes it: crop and flip, true stride, constant weight decay."""
    settings = {**RELEASED, "final_weight_decay": None, "clip_norm": None}
    image = {**settings, "batch_size": 1024}
    return EvaluationProtocol(
        name="vjepa_paper@1",
        title="V-JEPA as in the paper",
        sampler="plain",
        augment={"video": "vjepa_paper", "image": "vjepa_paper"},
        selection="single",
        draws=None,
        source="arXiv 2404.08471, appendix tables 9 and 10",
        probe_options={"video": {"attentive": settings}, "image": {"attentive": image}},
    )


# The probe of V-JEPA 2 on video, as its configurations set it: 20 heads, by lr and weight decay.
SWEEP_20: Settings = {
    "num_heads": 16,
    "epochs": 20,
    "batch_size": 256,
    "lr": (5e-3, 3e-3, 1e-3, 3e-4, 1e-4),
    "weight_decay": (0.01, 0.1, 0.4, 0.8),
    "warmup": 0.0,
    "start_lr": 0.0,
    "drop_last": True,
}
STILLS: Settings = {
    **SWEEP_20,
    "batch_size": 1024,
    "lr": (5e-4, 1e-3, 1.5e-3, 2e-3),
    "weight_decay": (8e-3, 4e-3, 2e-3, 1e-3, 5e-4),
    "warmup": 5.0,
    "start_lr": 2e-4,
    "drop_last": False,
}
LONG: Settings = {
    **SWEEP_20,
    "epochs": 100,
    "batch_size": 128,
    "lr": (1e-3, 3e-4, 1e-4),
    "weight_decay": (0.8,),
}
# By depth: ViT-L and ViT-g.
FOUR_LEVELS = {24: (17, 19, 21, 23), 40: (24, 29, 34, 39)}


@register("protocols", "vjepa2@1")
def vjepa2() -> EvaluationProtocol:
    """The released V-JEPA 2 evaluation: a sweep that reports the best head on the scored rows.

    Departures: that of `vjepa@1`; on stills the sweep's head with its own schedule is left out;
    only the last epoch is scored; all rows are scored (released: the last batch is dropped).
    """
    options = {
        "video": SWEEP_20,
        "image": STILLS,
        "coin": {**SWEEP_20, "batch_size": 128},
        "diving48": LONG,
        "jester": LONG,
    }
    return EvaluationProtocol(
        name="vjepa2@1",
        title="V-JEPA 2 as released",
        sampler="vjepa",
        augment={"video": "vjepa_released", "image": "vjepa_image"},
        selection="best_on_score",
        draws=None,
        source="released evaluation configurations of V-JEPA 2 (arXiv 2506.09985)",
        probe_options={key: {"attentive4": settings} for key, settings in options.items()},
        layers={"diving48": FOUR_LEVELS, "jester": FOUR_LEVELS},
        departures=(
            FIXED_CLIPS,
            "on stills the head of the sweep with its own schedule is left out",
            "only the last epoch is scored, and all of its rows",
        ),
    )
