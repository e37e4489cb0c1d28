"""The encoder that ships with the project, pretrained by `bench pretrain digits_tiny`.

`digits_tiny/` beside this file is an evaluation folder: `model.safetensors`, `encoder.json` and
`pretraining.json` (recipe, seed, steps).
"""

from __future__ import annotations

from pathlib import Path

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.vjepa import load_network, read_network
from bench.encoders.weights.architecture import Asked
from bench.encoders.weights.encoder_folder import FACTS_FILE
from bench.errors import CheckpointError
from bench.types import Card

SHIPPED = Path(__file__).parent / "digits_tiny"
# One set of videos stands behind three tasks.
VIDEOS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
CARD = Card(licence="Apache-2.0", trained_on=VIDEOS, labels="none")


@registry.encoder
def digits_tiny(*, num_frames: int | None = None, image_size: int | None = None) -> Encoder:
    """A small V-JEPA encoder that ships here, pretrained on unlabelled moving digits.

    Another `num_frames` or `image_size` (pixels) than it was pretrained with builds it at that
    size with a fresh position table.

    Raises:
        CheckpointError: its files are not in this installation, or are damaged.
    """
    return _shipped(SHIPPED, Asked(num_frames=num_frames, image_size=image_size))


def _shipped(folder: Path, asked: Asked) -> Encoder:
    if not (folder / FACTS_FILE).is_file():
        raise CheckpointError(
            f"the encoder {folder.name!r} is not in this installation ({folder} has no"
            f" {FACTS_FILE}); install frozenbench again, or train it with: bench pretrain"
            f" {folder.name}."
        )
    network = read_network(str(folder), "target_encoder", asked)
    return load_network(network, name=folder.name, source="shipped with frozenbench", card=CARD)
