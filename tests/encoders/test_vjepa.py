import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.encoders import vjepa as families
from bench.encoders.encoder import Encoder, open_encoder, weight_digest
from bench.encoders.networks.positions import sincos_3d
from bench.encoders.networks.sizes import VIT_SIZES, Released
from bench.encoders.networks.video_vit import VitArchitecture, fresh_vit
from bench.encoders.vjepa import save_encoder, save_released, stem, vit_spec
from bench.errors import CheckpointError, UsageError
from tests.encoders.files import CHECKPOINT, HEADS, bare, reference

# A width of the published sizes on a short grid, so that heads and depth have defaults.
TINY = replace(VIT_SIZES["vit_tiny"], patch_size=8, num_frames=4, image_size=16)


def test_spec_is_read_off_the_file() -> None:
    spec = open_encoder(f"vjepa:{CHECKPOINT}", HEADS).spec
    assert (spec.name, spec.source) == ("vjepa:v1_encoder", str(CHECKPOINT))
    assert (spec.width, spec.depth, spec.num_heads) == (28, 3, 4)
    assert (spec.num_frames, spec.image_size) == (8, 32)
    assert (spec.patch_size, spec.tubelet_size) == (8, 2)
    # embedding 28*384+28, per block 12*28^2+13*28, final norm 2*28
    assert spec.num_parameters == 10780 + 3 * 9772 + 56
    assert not spec.is_floor


@pytest.mark.parametrize(
    ("weights", "short"),
    [
        ("runs/a/tiny-latest.pth.tar", "tiny-latest"),
        ("https://host/jepa/vitl16.pth.tar?x=1", "vitl16"),
        ("hf://org/name@main/model.safetensors", "model"),
        ("folder/", "folder"),
        ("jepa-e10.5.pt", "jepa-e10.5"),
    ],
)
def test_short_name_leaves_out_folders_and_format(weights: str, short: str) -> None:
    assert stem(weights) == short


def test_released_width_needs_no_options(tmp_path: Path) -> None:
    vit = fresh_vit(TINY, seed=0)
    save_released(tmp_path / "tiny-latest.pth.tar", target=vit, encoder=vit)
    encoder = open_encoder(f"vjepa:{tmp_path}/tiny-latest.pth.tar", {})
    assert encoder.network.architecture == TINY
    assert encoder.spec.name == "vjepa:tiny-latest"
    assert encoder.notes == ()


def test_heads_unlike_the_released_size_are_noted(tmp_path: Path) -> None:
    vit = fresh_vit(TINY, seed=0)
    save_released(tmp_path / "a.pt", target=vit, encoder=vit)
    encoder = open_encoder(f"vjepa:{tmp_path}/a.pt", {"num_heads": 6})
    assert encoder.spec.num_heads == 6
    assert encoder.notes == ("6 heads as requested; vit_tiny has 3",)


def test_released_width_with_too_few_blocks_is_refused_unless_the_depth_is_said(
    tmp_path: Path,
) -> None:
    short = fresh_vit(replace(TINY, depth=2), seed=0)
    save_released(tmp_path / "a.pt", target=short, encoder=short)
    with pytest.raises(CheckpointError, match=r"2 blocks .*vit_tiny has 12.*encoder\.depth=2"):
        open_encoder(f"vjepa:{tmp_path}/a.pt", {})
    assert open_encoder(f"vjepa:{tmp_path}/a.pt", {"depth": 2}).spec.depth == 2


def test_released_file_keeps_target_and_online_encoder_apart(tmp_path: Path) -> None:
    target, online = fresh_vit(TINY, seed=0), fresh_vit(TINY, seed=1)
    save_released(tmp_path / "a.pt", target=target, encoder=online)
    held = torch.load(tmp_path / "a.pt", weights_only=True)
    assert list(held) == [
        "encoder", "predictor", "opt", "scaler", "target_encoder", "epoch", "loss", "batch_size",
        "world_size", "lr",
    ]  # fmt: skip
    assert all(name.startswith("module.backbone.") for name in held["encoder"])
    for key, vit in (("target_encoder", target), ("encoder", online)):
        encoder = open_encoder(f"vjepa:{tmp_path}/a.pt", {"key": key})
        assert weight_digest(encoder.network) == weight_digest(vit)


# ------------------------------------------------------------------------------- position tables
@pytest.mark.parametrize("uniform", [True, False])
def test_frames_and_pixels_are_found_from_the_stored_table(tmp_path: Path, uniform: bool) -> None:
    # 4 x 2 x 2 and 1 x 4 x 4 have as many tokens; only the table tells them apart
    for frames, size in ((8, 16), (2, 32)):
        made = replace(TINY, num_frames=frames, image_size=size, uniform_power=uniform)
        vit = fresh_vit(made, seed=0)
        save_released(tmp_path / "a.pt", target=vit, encoder=vit)
        assert open_encoder(f"vjepa:{tmp_path}/a.pt", {}).network.architecture == made


def test_asked_grid_with_as_many_tokens_still_gets_its_own_table() -> None:
    encoder = open_encoder(f"vjepa:{CHECKPOINT}", {**HEADS, "num_frames": 2, "image_size": 64})
    assert torch.equal(encoder.network.pos_embed[0], sincos_3d(28, (1, 8, 8)))
    assert "the file's is for 8 at 32" in encoder.notes[0]


def learned(tmp_path: Path) -> tuple[str, dict[str, torch.Tensor]]:
    tensors = bare()
    tensors["pos_embed"] += 0.01
    torch.save(tensors, tmp_path / "learned.pt")
    return f"vjepa:{tmp_path}/learned.pt", tensors


def test_table_that_is_not_sincos_is_used_as_stored_at_its_size(tmp_path: Path) -> None:
    spec, tensors = learned(tmp_path)
    encoder = open_encoder(spec, {**HEADS, "num_frames": 8})
    assert torch.equal(encoder.network.pos_embed, tensors["pos_embed"])
    assert any("not the sin-cos one" in note for note in encoder.notes)


def test_table_that_is_not_sincos_needs_its_frames_said(tmp_path: Path) -> None:
    spec, _ = learned(tmp_path)
    with pytest.raises(
        CheckpointError,
        match=r"possible: .*--set encoder\.num_frames=8 --set encoder\.image_size=32",
    ):
        open_encoder(spec, HEADS)


def test_table_that_is_not_sincos_cannot_be_rebuilt(tmp_path: Path) -> None:
    vit = fresh_vit(replace(TINY, num_frames=16), seed=0)
    vit.pos_embed += 0.01
    save_released(tmp_path / "a.pt", target=vit, encoder=vit)
    assert open_encoder(f"vjepa:{tmp_path}/a.pt", {}).spec.num_frames == 16
    with pytest.raises(CheckpointError, match="possible"):
        open_encoder(f"vjepa:{tmp_path}/a.pt", {"num_frames": 16, "image_size": 32})


# ----------------------------------------------------------------------------------- our folders
def test_saved_folder_loads_with_an_equal_digest_and_needs_no_options(tmp_path: Path) -> None:
    first = open_encoder(f"vjepa:{CHECKPOINT}", HEADS)
    save_encoder(tmp_path / "mine", first)
    again = open_encoder(f"vjepa:{tmp_path}/mine", {})
    assert weight_digest(again) == weight_digest(first)
    assert again.network.architecture == first.network.architecture
    assert again.spec == replace(first.spec, name="vjepa:mine", source=f"{tmp_path}/mine")
    clip = reference()["clip"]
    assert torch.equal(again(clip).last, first(clip).last)


def test_saved_folder_can_be_opened_at_another_size(tmp_path: Path) -> None:
    save_encoder(tmp_path, open_encoder(f"vjepa:{CHECKPOINT}", HEADS))
    options = {"num_frames": 4, "image_size": 48}
    made = open_encoder(f"vjepa:{tmp_path}", options)
    assert weight_digest(made) == weight_digest(
        open_encoder(f"vjepa:{CHECKPOINT}", {**HEADS, **options})
    )


def test_saved_floor_stays_a_floor(tmp_path: Path) -> None:
    save_encoder(tmp_path, open_encoder("random:vit_digits", {}))
    assert open_encoder(f"vjepa:{tmp_path}", {}).spec.is_floor


def test_pixel_floor_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be saved"):
        save_encoder(tmp_path, open_encoder("pixel_mean", {}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": "0" * 64}, "SHA-256 differ"),
        ({"format": "other"}, "format or"),
        ({"architecture": {"width": 28}}, "cannot be parsed"),
        ({"architecture": None}, "cannot be parsed"),
    ],
)
def test_folder_whose_description_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, str | dict[str, int] | None], says: str
) -> None:
    save_encoder(tmp_path, open_encoder(f"vjepa:{CHECKPOINT}", HEADS))
    facts = json.loads((tmp_path / "encoder.json").read_text())
    del facts["seal"]  # as in folders of earlier versions
    (tmp_path / "encoder.json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"vjepa:{tmp_path}", {})


@pytest.mark.parametrize(
    ("change", "says"),
    [({"depth": 4}, "has depth 4, its tensors have 3"), ({"num_frames": 16}, "position table")],
)
def test_folder_whose_architecture_contradicts_its_tensors_is_refused(
    tmp_path: Path, change: dict[str, int], says: str
) -> None:
    save_encoder(tmp_path, open_encoder(f"vjepa:{CHECKPOINT}", HEADS))
    facts = json.loads((tmp_path / "encoder.json").read_text())
    del facts["seal"]  # as in folders of earlier versions
    facts["architecture"].update(change)
    (tmp_path / "encoder.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"vjepa:{tmp_path}", {})


def test_folder_heads_cannot_be_contradicted(tmp_path: Path) -> None:
    save_encoder(tmp_path, open_encoder(f"vjepa:{CHECKPOINT}", HEADS))
    with pytest.raises(CheckpointError, match="has num_heads 4, not 7"):
        open_encoder(f"vjepa:{tmp_path}", {"num_heads": 7})


# --------------------------------------------------------------------------------- named families
@pytest.fixture
def shrunk(monkeypatch: pytest.MonkeyPatch) -> dict[str, VitArchitecture]:
    """Give the published names small architectures, so that files for them can be made here."""
    small = {
        "vjepa_vitl16": TINY,
        "vjepa_vith16": replace(TINY, depth=2),
        "vjepa_vith16_384": replace(TINY, depth=2, image_size=32),
    }
    made = {n: Released(architecture=a, address="https://nowhere.invalid/x.pth.tar")
            for n, a in small.items()}  # fmt: skip
    monkeypatch.setattr(families, "RELEASED", made)
    return small


def test_named_encoder_takes_a_local_file_of_its_architecture(
    tmp_path: Path, shrunk: dict[str, VitArchitecture]
) -> None:
    for name, architecture in shrunk.items():
        vit = fresh_vit(architecture, seed=0)
        save_released(tmp_path / "local.pt", target=vit, encoder=vit)
        encoder = open_encoder(f"{name}:{tmp_path}/local.pt", {})
        assert encoder.spec.name == name
        assert encoder.spec.source == f"{tmp_path}/local.pt"
        assert weight_digest(encoder.network) == weight_digest(vit)


@pytest.mark.parametrize(
    ("name", "of", "says"),
    [
        ("vjepa_vitl16", "vjepa_vith16", r"opened as vjepa_vitl16\) has depth 2, not 12"),
        ("vjepa_vith16", "vjepa_vitl16", "has depth 12, not 2 as requested"),
        ("vjepa_vith16", "vjepa_vith16_384", "image_size 32 instead of 16"),
        ("vjepa_vith16_384", "vjepa_vith16", "image_size 16 instead of 32"),
    ],
)
def test_named_encoder_refuses_the_file_of_another(
    tmp_path: Path, shrunk: dict[str, VitArchitecture], name: str, of: str, says: str
) -> None:
    vit = fresh_vit(shrunk[of], seed=0)
    save_released(tmp_path / "local.pt", target=vit, encoder=vit)
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"{name}:{tmp_path}/local.pt", {})


def test_named_encoder_can_be_opened_at_another_size(
    tmp_path: Path, shrunk: dict[str, VitArchitecture]
) -> None:
    vit = fresh_vit(TINY, seed=0)
    save_released(tmp_path / "local.pt", target=vit, encoder=vit)
    encoder = open_encoder(f"vjepa_vitl16:{tmp_path}/local.pt", {"image_size": 32})
    assert encoder.spec.image_size == 32
    assert "rebuilt" in encoder.notes[0]


def test_published_names_have_their_published_addresses_and_sizes() -> None:
    facts = {n: (r.address, r.architecture.depth, r.architecture.image_size)
             for n, r in families.RELEASED.items()}  # fmt: skip
    base = "https://dl.fbaipublicfiles.com/jepa"
    assert facts == {
        "vjepa_vitl16": (f"{base}/vitl16/vitl16.pth.tar", 24, 224),
        "vjepa_vith16": (f"{base}/vith16/vith16.pth.tar", 32, 224),
        "vjepa_vith16_384": (f"{base}/vith16-384/vith16-384.pth.tar", 32, 384),
    }


def test_encoder_can_be_made_from_a_network_being_trained() -> None:
    architecture = VitArchitecture(width=24, depth=1, num_heads=2, patch_size=8, image_size=16)
    vit = fresh_vit(architecture, seed=0)
    encoder = Encoder(vit, vit_spec(vit, name="mine", source="step 10"))
    assert encoder.spec.num_parameters == sum(p.numel() for p in vit.parameters())
