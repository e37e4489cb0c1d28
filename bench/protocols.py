"""Named, versioned protocols: how clips are chosen and cropped, and how a head is selected.

A protocol never changes once numbers were published with it; a correction gets a new version.
"""

from __future__ import annotations

from bench.registry import register
from bench.types import EvaluationProtocol


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
    video = {
        "epochs": 20,
        "batch_size": 256,
        "lr": (1e-3,),
        "weight_decay": (0.01,),
        "final_weight_decay": 1e-6,
        "warmup": 0.0,
        "clip_norm": 1.0,
    }
    image = {**video, "batch_size": 1024, "weight_decay": (0.001,)}
    return EvaluationProtocol(
        name="vjepa@1",
        title="V-JEPA as released",
        sampler="vjepa",
        augment={"video": "vjepa_released", "image": "vjepa_image"},
        selection="single",
        draws=None,
        source="released evaluation configurations of V-JEPA (arXiv 2404.08471)",
        probe_options={"video": {"attentive": video}, "image": {"attentive": image}},
    )


@register("protocols", "vjepa_paper@1")
def vjepa_paper() -> EvaluationProtocol:
    """V-JEPA as its paper describes it: crop and flip, true stride, constant weight decay."""
    settings = {
        "epochs": 20,
        "batch_size": 256,
        "lr": (1e-3,),
        "weight_decay": (0.01,),
        "final_weight_decay": None,
        "warmup": 0.0,
        "clip_norm": None,
    }
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
