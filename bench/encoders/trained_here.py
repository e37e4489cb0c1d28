"""The encoder that ships with the project, pretrained by `bench pretrain digits_tiny`.

`digits_tiny/` next to this file is an evaluation folder: `model.safetensors`, `encoder.json` and
`pretraining.json` (recipe, seed, steps).
"""

from __future__ import annotations

from pathlib import Path

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.vjepa import TARGET, load_network, read_network
from bench.encoders.weights.architecture import Request
from bench.encoders.weights.encoder_folder import FACTS_FILE
from bench.encoders.weights.picked import Pick
from bench.errors import CheckpointError
from bench.types import Card

SHIPPED = Path(__file__).parent / "digits_tiny"
# Three tasks share one set of videos.
VIDEOS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
CARD = Card(licence="Apache-2.0", trained_on=VIDEOS, labels="none")


@registry.encoder
def digits_tiny(*, num_frames: int | None = None, image_size: int | None = None) -> Encoder:
    """A small V-JEPA encoder that ships here, pretrained on unlabelled moving digits.

    A different `num_frames` or `image_size` (pixels) than in pretraining recomputes the position
    table.

    Raises:
        CheckpointError: its files are missing from this installation, or damaged.
    """
    return _shipped(SHIPPED, Request(num_frames=num_frames, image_size=image_size))


def _shipped(folder: Path, request: Request) -> Encoder:
    if not (folder / FACTS_FILE).is_file():
        raise CheckpointError(
            f"the encoder {folder.name!r} is missing from this installation ({folder} has no"
            f" {FACTS_FILE}); reinstall frozenbench, or train it: bench pretrain {folder.name}."
        )
    network = read_network(str(folder), Pick(key=TARGET), request)
    return load_network(network, name=folder.name, source="shipped with frozenbench", card=CARD)
