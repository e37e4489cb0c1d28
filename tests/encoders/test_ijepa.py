"""I-JEPA: tokens against the released code, clips frame by frame, and files that are not it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.encoders import ijepa as families
from bench.encoders.encoder import Encoder, num_trainable, open_encoder
from bench.encoders.networks.image_vit import ImageViT
from bench.encoders.networks.positions import sincos_2d
from bench.encoders.networks.sizes import IJEPA_RELEASED, VIT_SIZES, Released
from bench.encoders.networks.video_vit import VitArchitecture, fresh_vit, initialise
from bench.encoders.vjepa import save_released
from bench.errors import CheckpointError, UsageError
from tests.encoders.files import CHECKPOINT as VIDEO
from tests.encoders.files import FIXTURES

CHECKPOINT = FIXTURES / "ijepa.pt"
HEADS = {"num_heads": 3}
IO = {name: torch.from_numpy(a) for name, a in np.load(FIXTURES / "ijepa_io.npz").items()}
CLIP = IO["image"].unsqueeze(2)  # one frame
TINY = VitArchitecture(
    width=24, depth=1, num_heads=2, patch_size=8, num_frames=1, tubelet_size=1, image_size=16
)


def close(made: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


def content() -> dict[str, Any]:
    return torch.load(CHECKPOINT, weights_only=True)


def bare() -> dict[str, torch.Tensor]:
    named = content()["target_encoder"].items()
    return {name.removeprefix("module."): tensor for name, tensor in named}


def saved(folder: Path, held: dict[str, Any]) -> Path:
    torch.save(held, folder / "made.pt")
    return folder / "made.pt"


@pytest.fixture(scope="module")
def target() -> Encoder:
    return open_encoder(f"ijepa:{CHECKPOINT}", HEADS)


def test_tokens_equal_the_released_implementation(target: Encoder) -> None:
    tokens = target(CLIP)
    close(tokens.last, IO["tokens_target"])
    assert tokens.grid == (1, 8, 8)
    assert tokens.prefix == ()
    assert target.notes == ()


def test_context_tokens_under_a_mask_equal_the_released_implementation() -> None:
    online = open_encoder(f"ijepa:{CHECKPOINT}", {**HEADS, "key": "encoder"})
    close(online(CLIP, keep=IO["mask_enc"][0]).last, IO["ctx_tokens"])


def test_frames_of_a_clip_are_encoded_alone(target: Encoder) -> None:
    clip = torch.stack([IO["image"][0], IO["image"][1], IO["image"][0]], dim=1).unsqueeze(0)
    tokens = target(clip)
    assert tokens.grid == (3, 8, 8)
    frames = IO["tokens_target"]
    close(tokens.last, torch.cat([frames[0], frames[1], frames[0]]).unsqueeze(0))


def test_without_norm_only_the_last_block_is_normed(target: Encoder) -> None:
    normed, plain = (target(CLIP, layers=(0, 1), norm=norm).layers for norm in (True, False))
    assert torch.equal(plain[1], normed[1])
    assert torch.equal(target.network.network.norm(plain[0]), normed[0])
    assert not torch.allclose(plain[0], normed[0], atol=1e-2)


def test_patch_embedding_is_the_convolution(target: Encoder) -> None:
    embedding = target.network.network.patch_embed
    expected = embedding.proj(IO["image"]).flatten(2).transpose(1, 2)
    close(embedding(IO["image"]), expected)


def test_spec_is_that_of_an_image_encoder(target: Encoder) -> None:
    spec = target.spec
    assert (spec.name, spec.takes, spec.tubelet_size) == ("ijepa:ijepa", "image", 1)
    assert (spec.width, spec.depth, spec.num_heads) == (12, 2, 3)
    assert (spec.num_frames, spec.image_size, spec.patch_size) == (16, 64, 8)
    # embedding 12*192+12, per block 12*12^2+13*12, final norm 2*12
    assert spec.num_parameters == 2316 + 2 * 1884 + 24


def test_other_image_size_has_a_fresh_table() -> None:
    encoder = open_encoder(f"ijepa:{CHECKPOINT}", {**HEADS, "image_size": 32})
    table = encoder.network.network.pos_embed[0]
    assert torch.equal(table, sincos_2d(12, (4, 4), column_first=True))
    assert encoder.notes == ("position table rebuilt for 32 pixels; the file's is for 64",)
    assert encoder(torch.zeros(1, 3, 2, 32, 32)).grid == (2, 4, 4)


def test_image_of_another_size_is_refused(target: Encoder) -> None:
    with pytest.raises(UsageError, match=r"encoder\.image_size=PIXELS"):
        target(torch.zeros(1, 3, 1, 32, 64))


def test_table_with_the_row_code_first_is_used_as_stored_at_its_size(tmp_path: Path) -> None:
    table = sincos_2d(12, (8, 8)).unsqueeze(0)
    path = saved(tmp_path, {**bare(), "pos_embed": table})
    encoder = open_encoder(f"ijepa:{path}", HEADS)
    assert torch.equal(encoder.network.network.pos_embed, table)
    assert any("not the sin-cos one" in note for note in encoder.notes)
    with pytest.raises(CheckpointError, match="cannot be rebuilt for 32 pixels"):
        open_encoder(f"ijepa:{path}", {**HEADS, "image_size": 32})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blocks.1.mlp.fc2.bias": None}, r"28 of the 29 .*missing: blocks\.1\.mlp\.fc2\.bias"),
        ({"cls_token": torch.zeros(1, 1, 12)}, r"unexpected: cls_token"),
        ({"pos_embed": None}, "no fixed position table"),
        ({"pos_embed": torch.zeros(1, 65, 12)}, "65 tokens, which is not a square grid"),
        ({"patch_embed.proj.weight": None}, r"it has no patch_embed\.proj\.weight"),
        ({"patch_embed.proj.weight": torch.zeros(12, 3, 8, 4)}, r"is \[12, 3, 1, 8, 4\], not"),
        ({"predictor_pos_embed": torch.zeros(1)}, "holds a predictor"),
        ({"norm.weight": torch.full((12,), torch.nan)}, "not finite"),
    ],
)
def test_file_that_is_not_the_whole_encoder_is_refused_by_name(
    tmp_path: Path, change: dict[str, torch.Tensor | None], says: str
) -> None:
    tensors = {n: t for n, t in {**bare(), **change}.items() if t is not None}
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"ijepa:{saved(tmp_path, tensors)}", HEADS)


def test_video_and_image_encoders_are_not_taken_for_each_other() -> None:
    for spec in (f"ijepa:{VIDEO}", f"ijepa:{FIXTURES / 'v2_encoder.pt'}"):
        with pytest.raises(CheckpointError, match="video encoder"):
            open_encoder(spec, {"num_heads": 2})
    for family in ("vjepa", "vjepa2"):
        with pytest.raises(CheckpointError, match=r"it is for images|is a V-JEPA file"):
            open_encoder(f"{family}:{CHECKPOINT}", HEADS)


def test_clip_has_at_least_one_frame() -> None:
    with pytest.raises(UsageError, match="num_frames 0 must be"):
        open_encoder(f"ijepa:{CHECKPOINT}", {**HEADS, "num_frames": 0})


# ------------------------------------------------------------------------------------------ names
def test_published_names_have_their_published_addresses_and_sizes() -> None:
    base = "https://dl.fbaipublicfiles.com/ijepa"
    facts = {
        name: (r.address, r.architecture.width, r.architecture.patch_size,
               r.architecture.image_size, r.card.trained_on)
        for name, r in IJEPA_RELEASED.items()
    }  # fmt: skip
    assert facts == {
        "ijepa_in1k_vith14": (f"{base}/IN1K-vit.h.14-300e.pth.tar", 1280, 14, 224, ("in1k",)),
        "ijepa_in1k_vith16_448": (
            f"{base}/IN1K-vit.h.16-448px-300e.pth.tar", 1280, 16, 448, ("in1k",)
        ),
        "ijepa_in22k_vith14": (f"{base}/IN22K-vit.h.14-900e.pth.tar", 1280, 14, 224, ("in22k",)),
        "ijepa_in22k_vitg16": (f"{base}/IN22K-vit.g.16-600e.pth.tar", 1408, 16, 224, ("in22k",)),
    }  # fmt: skip


def test_image_vit_has_as_many_parameters_as_a_plain_vit() -> None:
    with torch.device("meta"):
        network = ImageViT(IJEPA_RELEASED["ijepa_in1k_vith14"].architecture)
    block = 12 * 1280**2 + 13 * 1280
    assert num_trainable(network) == 3 * 14 * 14 * 1280 + 1280 + 32 * block + 2 * 1280


def test_named_encoder_takes_a_local_file_of_its_architecture_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Released(architecture=TINY, address="", card=IJEPA_RELEASED["ijepa_in1k_vith14"].card)
    monkeypatch.setattr(families, "IJEPA_RELEASED", {"ijepa_in1k_vith14": made})
    for size, says in ((16, None), (32, "image_size 32 instead of 16.*ijepa:")):
        network = ImageViT(replace(TINY, image_size=size))
        initialise(network, torch.Generator().manual_seed(0))
        named = {f"module.{name}": t for name, t in network.state_dict().items()}
        path = saved(tmp_path, {"encoder": named, "target_encoder": named, "predictor": {}})
        if says is None:
            encoder = open_encoder(f"ijepa_in1k_vith14:{path}", {"num_frames": 4})
            assert (encoder.spec.name, encoder.spec.num_frames) == ("ijepa_in1k_vith14", 4)
            assert encoder.spec.card.licence == "CC BY-NC 4.0"
            for name, tensor in network.state_dict().items():
                assert torch.equal(encoder.network.network.state_dict()[name], tensor)
        else:
            with pytest.raises(CheckpointError, match=says):
                open_encoder(f"ijepa_in1k_vith14:{path}", {})


def test_video_file_of_a_released_width_is_refused(tmp_path: Path) -> None:
    video = fresh_vit(replace(VIT_SIZES["vit_tiny"], num_frames=4, image_size=32), seed=0)
    save_released(tmp_path / "a.pt", target=video, encoder=video)
    with pytest.raises(CheckpointError, match=r"tubelets of 2 frames"):
        open_encoder(f"ijepa:{tmp_path}/a.pt", {})
