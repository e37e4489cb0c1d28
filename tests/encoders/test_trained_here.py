from pathlib import Path

import pytest
import torch

from bench import registry
from bench.encoders import trained_here
from bench.encoders.encoder import weight_digest
from bench.encoders.networks.positions import sincos_3d
from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.video_vit import VideoViT, fresh_vit
from bench.encoders.trained_here import _shipped
from bench.encoders.weights.architecture import Request
from bench.errors import CheckpointError
from bench.pretrain.checkpoint import save_evaluation_folder

SIZE = VIT_SIZES["vit_digits"]


@pytest.fixture
def shipped(tmp_path: Path) -> tuple[Path, VideoViT]:
    target = fresh_vit(SIZE, seed=0)
    save_evaluation_folder(tmp_path / "digits_tiny", target, name="digits_tiny", facts={"step": 5})
    return tmp_path / "digits_tiny", target


def test_shipped_encoder_gives_the_features_of_the_pretrained_target(
    shipped: tuple[Path, VideoViT],
) -> None:
    folder, target = shipped
    encoder = _shipped(folder, Request())
    assert weight_digest(encoder.network) == weight_digest(target)
    assert (encoder.spec.name, encoder.spec.source) == ("digits_tiny", "shipped with frozenbench")
    assert not encoder.spec.is_floor
    assert encoder.notes == ()
    shape = (1, 3, SIZE.num_frames, SIZE.image_size, SIZE.image_size)
    clip = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoder(clip).last, target(clip).last)


def test_shipped_encoder_can_be_built_at_another_size(shipped: tuple[Path, VideoViT]) -> None:
    encoder = _shipped(shipped[0], Request(num_frames=4, image_size=32))
    assert torch.equal(encoder.network.pos_embed[0], sincos_3d(SIZE.width, (2, 4, 4)))
    assert "rebuilt" in encoder.notes[0]


def test_installation_without_its_files_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"'digits_tiny' is missing from .*bench pretrain dig"
    ):
        _shipped(tmp_path / "digits_tiny", Request())


def test_damaged_file_is_refused(shipped: tuple[Path, VideoViT]) -> None:
    path = shipped[0] / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        _shipped(shipped[0], Request())


def test_registered_encoder_opens_the_folder_beside_its_module(
    shipped: tuple[Path, VideoViT], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained_here.SHIPPED.parent.name == "encoders"
    monkeypatch.setattr(trained_here, "SHIPPED", shipped[0])
    encoder = registry.build("encoders", "digits_tiny", {"image_size": "32"})
    assert encoder.spec.image_size == 32
