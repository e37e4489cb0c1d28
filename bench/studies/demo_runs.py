"""The runs of the demo on embedded data: pretraining, encoders, families and few labels."""

from __future__ import annotations

from pathlib import Path

from bench import registry
from bench.config import RunConfig
from bench.errors import UsageError
from bench.pretrain.job import PretrainJob
from bench.types import Settings

BOARD = "frozen_video"
TASKS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
PROBES = ("attentive", "linear", "logistic", "knn")
BOX_TASK = "moving_digits_ava"
BOX_PROBES = PROBES[:2]  # those that take several labels per row
RECIPE = "digits_tiny"
# The shipped encoder, its random initialisation, and raw pixels.
ENCODERS = (RECIPE, f"random:{RECIPE}", "pixel_mean")
PRETRAINING_STEPS = {"full": 240, "small": 20}

# One small member of each of several families; only one has real pretrained weights.
FAMILY_BOARD = "frozen_encoders"
FAMILY_PROBE = "linear"
FAMILIES: tuple[tuple[str, Settings], ...] = (
    (RECIPE, {}),
    ("efficientnet_lite0", {"num_frames": 8, "image_size": 64}),
    ("random:vjepa2_digits", {}),
    ("timm/vit_tiny_patch16_224", {"random": True, "num_frames": 8, "image_size": 64}),
    ("pixel_mean", {}),
)

LOW_SHOT_BOARD = "low_shot"
LOW_SHOT_PROBES = ("linear", "logistic", "knn")
LOW_SHOT_FRACTIONS = {"full": (0.05, 0.1, 0.5, 1.0), "small": (0.25, 0.5, 1.0)}
LOW_SHOT_DRAWS = 3


def demo_pretraining(home: Path, size: str) -> PretrainJob:
    """Return about a minute of pretraining with the recipe of the shipped encoder.

    Raises:
        UsageError: a size other than full or small.
    """
    if size not in PRETRAINING_STEPS:
        raise UsageError(f"--size {size!r} is unknown: write full or small.")
    return PretrainJob(
        recipe=registry.build("recipes", RECIPE, {}),
        lists=(f"task:{TASKS[0]}",),
        out=home / "pretrained" / f"{RECIPE}-{size}",
        data=home,
        stop_after=PRETRAINING_STEPS[size],
        resume=True,
        log_every=10,
        watch_every=PRETRAINING_STEPS[size] // 2,
        watch=TASKS[1],
        workers=0,
        keep_decoded_gb=1.0,
    )


def demo_configs(home: Path, size: str) -> list[RunConfig]:
    """Return the runs of the demo: every encoder on every task with every compatible probe."""
    pairs = [(task, probe) for task in TASKS for probe in PROBES]
    pairs += [(BOX_TASK, probe) for probe in BOX_PROBES]
    given = {"data": home, "size": size}
    return [
        RunConfig(encoder=encoder, task=task, probe=probe, task_options=given)
        for encoder in ENCODERS
        for task, probe in pairs
    ]


def demo_families(home: Path) -> list[RunConfig]:
    """Return the runs that compare encoder families: one fast probe on the small tasks."""
    given = {"data": home, "size": "small"}
    return [
        RunConfig(
            encoder=encoder,
            encoder_options=options,
            task=task,
            probe=FAMILY_PROBE,
            task_options=given,
        )
        for encoder, options in FAMILIES
        for task in (*TASKS, BOX_TASK)
    ]


def demo_study(home: Path, size: str) -> list[RunConfig]:
    """Return the low-shot runs of the demo: two encoders on the motions, with fast probes."""
    given = {"data": home, "size": size}
    return [
        RunConfig(encoder=encoder, task=TASKS[1], probe=probe, task_options=given)
        for encoder in ENCODERS[:2]
        for probe in LOW_SHOT_PROBES
    ]
