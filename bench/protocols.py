"""Named, versioned protocols: how clips are chosen and cropped, and how a head is selected.

A protocol never changes once numbers were published with it; a correction gets a new version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.registry import register
from bench.types import Kind, Settings


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """A named, versioned choice of sampler, transforms, selection rule and probe settings.

    `name` is the full id such as `honest@1`. `selection` is `honest` (choose the head on a
    stratified tenth of the training rows, refit, report once) or `single` (one head, last epoch).
    `augment` names the training transform per kind of task; it is used for `draws` > 0 stored
    draws of every training sample, or fresh in every epoch where `draws` is None (live features).
    With `draws` = 0 training clips get the deterministic single view. `probe_options` holds, per
    kind of task and probe, the settings that the protocol fixes; any other value is recorded as a
    deviation.
    """

    name: str
    title: str
    sampler: str
    augment: Mapping[Kind, str]
    selection: Literal["honest", "single"]
    draws: int | None
    source: str
    probe_options: Mapping[Kind, Mapping[str, Settings]] = field(default_factory=dict)


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
    """The released V-JEPA evaluation: its sampler and augmentation, one head, last epoch."""
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
