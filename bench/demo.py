"""The main job on the embedded data set: two floors and a checkpoint, three tasks, four probes."""

from __future__ import annotations

from pathlib import Path

from bench.config import RunConfig
from bench.encoders.layouts import save_released
from bench.encoders.sizes import VIT_SIZES
from bench.encoders.video_vit import fresh_vit
from bench.errors import UsageError

BOARD = "frozen_video"
TASKS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
PROBES = ("attentive", "linear", "logistic", "knn")
ARCHITECTURE = "vit_digits"


def demo_configs(home: Path, size: str) -> list[RunConfig]:
    """Return the runs of the demo; write its checkpoint, in the released layout, if absent.

    Raises:
        UsageError: a size that is neither full nor small.
    """
    if size not in ("full", "small"):
        raise UsageError(f"--size {size!r} is unknown: write full or small.")
    checkpoint = home / "checkpoints" / "digits-latest.pth.tar"
    if not checkpoint.exists():
        write_checkpoint(checkpoint)
    encoders = {f"random:{ARCHITECTURE}": {}, "pixel_mean": {}, f"vjepa:{checkpoint}": OPTIONS}
    return [
        RunConfig(
            encoder=encoder,
            task=task,
            probe=probe,
            encoder_options=options,
            task_options={"data": home, "size": size},
        )
        for encoder, options in encoders.items()
        for task in TASKS
        for probe in PROBES
    ]


OPTIONS = {"num_heads": 3, "num_frames": 8, "image_size": 48}


def write_checkpoint(path: Path) -> None:
    """Write a V-JEPA checkpoint as the pretraining code does; its weights are random."""
    network = fresh_vit(VIT_SIZES[ARCHITECTURE], seed=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_released(path, target=network, encoder=network)
