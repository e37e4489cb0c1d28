"""Backbones of transformers: tiny random models saved by the library and read here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.modeling_utils import PreTrainedModel

from bench.data.views.transforms import normalise, score_views
from bench.encoders.encoder import open_encoder
from bench.encoders.weights.hf_preprocessing import read_preprocessing
from bench.errors import CheckpointError, UsageError

transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
}
WITHOUT_PATCH = {key: value for key, value in SMALL.items() if key != "patch_size"}
DINO = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
CLASSES = {
    "videomae": (
        lambda **more: transformers.VideoMAEConfig(
            **(SMALL | more), num_frames=4, use_mean_pooling=False
        ),
        "VideoMAEModel",
    ),
    "vivit": (
        lambda **more: transformers.VivitConfig(
            **(WITHOUT_PATCH | more), num_frames=4, tubelet_size=[2, 16, 16]
        ),
        "VivitModel",
    ),
    "timesformer": (
        lambda **more: transformers.TimesformerConfig(**(SMALL | more), num_frames=4),
        "TimesformerModel",
    ),
    "vjepa2": (
        lambda **more: transformers.VJEPA2Config(
            **({"num_hidden_layers": 3} | more), hidden_size=48, num_attention_heads=2,
            crop_size=32,
            frames_per_clip=4, pred_hidden_size=48, pred_num_hidden_layers=1,
            pred_num_attention_heads=2,
        ),
        "VJEPA2Model",
    ),
    "vit": (lambda **more: transformers.ViTConfig(**(SMALL | more)), "ViTModel"),
    "dinov2": (lambda **more: transformers.Dinov2Config(**(DINO | more)), "Dinov2Model"),
    "dinov2_with_registers": (
        lambda **more: transformers.Dinov2WithRegistersConfig(**(DINO | more)),
        "Dinov2WithRegistersModel",
    ),
    "dinov3_vit": (
        lambda **more: transformers.DINOv3ViTConfig(**(SMALL | more), num_register_tokens=3),
        "DINOv3ViTModel",
    ),
    "hiera": (
        lambda: transformers.HieraConfig(
            embed_dim=8, image_size=[64, 64], depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8]
        ),
        "HieraModel",
    ),
}  # fmt: skip
VIDEO = ("videomae", "vivit", "timesformer", "vjepa2")


def saved(folder: Path, family: str, seed: int = 0) -> PreTrainedModel:
    """A tiny model with every weight drawn, saved by its library; returns it in eval mode."""
    config, name = CLASSES[family]
    torch.manual_seed(seed)
    model = getattr(transformers, name)(config()).eval()
    for parameter in model.parameters():  # not the zeros and ones that initialisation leaves
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model


def library_tokens(model: PreTrainedModel, family: str, pixels: torch.Tensor) -> torch.Tensor:
    """What the library gives of `[B, 3, T, H, W]`: all tokens, those of image models by frame."""
    clips = pixels.transpose(1, 2)
    with torch.inference_mode():
        if family == "vjepa2":
            return model(pixel_values_videos=clips, skip_predictor=True).last_hidden_state
        if family in VIDEO:
            return model(pixel_values=clips).last_hidden_state
        return torch.stack([model(pixel_values=clip).last_hidden_state for clip in clips])


@pytest.mark.parametrize("family", CLASSES)
def test_tokens_are_those_of_the_library(family: str, tmp_path: Path) -> None:
    model = saved(tmp_path, family)
    encoder = open_encoder(f"hf:{tmp_path}", {})
    spec = encoder.spec
    pixels = torch.randn(2, 3, 4, spec.image_size, spec.image_size)
    with torch.inference_mode():
        tokens = encoder(pixels)
    t, h, w = tokens.grid
    assert tokens.last.shape == (2, t * h * w, spec.width)
    expected = library_tokens(model, family, pixels)
    prefix, patches = expected.split(
        [spec.num_prefix, expected.shape[-2] - spec.num_prefix], dim=-2
    )
    if family == "timesformer":  # the library has the frames of a place side by side
        patches = patches.reshape(2, h, w, t, -1).permute(0, 3, 1, 2, 4)
    torch.testing.assert_close(tokens.last, patches.reshape(tokens.last.shape), atol=1e-5, rtol=0)
    assert bool(tokens.prefix) == (spec.num_prefix > 0)
    for one in tokens.prefix:
        torch.testing.assert_close(one, prefix.reshape(2, -1, spec.width), atol=1e-5, rtol=0)
    assert spec.num_frames == (4 if family in VIDEO else 16)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("family", [name for name in CLASSES if name != "hiera"])
def test_a_tap_is_what_a_model_without_the_later_blocks_gives(family: str, tmp_path: Path) -> None:
    saved(tmp_path / "whole", family)
    encoder = open_encoder(f"hf:{tmp_path / 'whole'}", {})
    config, name = CLASSES[family]
    cut = getattr(transformers, name)(config(num_hidden_layers=2))
    whole = getattr(transformers, name).from_pretrained(tmp_path / "whole")
    cut.load_state_dict({key: whole.state_dict()[key] for key in cut.state_dict()})
    cut.save_pretrained(tmp_path / "cut")
    pixels = torch.randn(1, 3, 4, encoder.spec.image_size, encoder.spec.image_size)
    with torch.inference_mode():
        tapped = encoder(pixels, layers=(1, 2))
        bare = encoder(pixels, layers=(1, 2), norm=False)
        expected = open_encoder(f"hf:{tmp_path / 'cut'}", {})(pixels).last
    torch.testing.assert_close(tapped.layers[0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(tapped.layers[1], bare.layers[1], atol=0, rtol=0)
    assert (bare.layers[0] - expected).abs().max() > 0.1


def changed(folder: Path, change: Callable[..., Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("encoder.layer.1.layernorm_after.weight"), "layernorm_after"),
        (lambda t: t.update(stranger=torch.ones(3)), "unexpected: stranger"),
        (
            lambda t: t.update({"layernorm.weight": torch.ones(16)}),
            r"wrong shape: layernorm\.weight \(file \[16\], network \[32\]\)",
        ),
        (lambda t: t.update({"layernorm.weight": torch.full((32,), torch.nan)}), "not finite"),
    ],
)
def test_folder_that_does_not_hold_every_tensor_is_refused(
    change: Callable[..., Any], said: str, tmp_path: Path
) -> None:
    saved(tmp_path, "videomae")
    assert "encoder.layer.1.layernorm_after.weight" in load_file(tmp_path / "model.safetensors")
    changed(tmp_path, change)
    with pytest.raises(CheckpointError, match=said):
        open_encoder(f"hf:{tmp_path}", {})


def test_damaged_file_of_torch_in_a_folder_is_refused(tmp_path: Path) -> None:
    model = saved(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / "pytorch_model.bin"
    torch.save(model.state_dict(), path)
    assert open_encoder(f"hf:{tmp_path}", {})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is damaged"):
        open_encoder(f"hf:{tmp_path}", {})


def test_heads_of_a_fine_tuned_model_are_left_out_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CLASSES["dinov2"][0]()
    model = transformers.Dinov2ForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    encoder = open_encoder(f"hf:{tmp_path}", {})
    [note] = [n for n in encoder.notes if "heads" in n]
    assert "classifier.weight" in note and "classifier.bias" in note
    pixels = torch.randn(1, 3, 1, 32, 32)
    with torch.inference_mode():
        expected = model.dinov2(pixels[:, :, 0]).last_hidden_state[:, 1:]
        torch.testing.assert_close(encoder(pixels).last, expected, atol=1e-5, rtol=0)


def test_two_configurations_of_the_same_weights_have_two_identities(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    first = open_encoder(f"hf:{tmp_path}", {}).network.identity
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a"}}))
    assert open_encoder(f"hf:{tmp_path}", {}).network.identity == first
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    assert open_encoder(f"hf:{tmp_path}", {}).network.identity != first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 48}, "supports only image_size 32"),
        ({"num_frames": 8}, "num_frames 4"),
        ({"still_frames": 2}, "num_frames 4|still_frames 4"),
        ({"image_size": 33}, "multiple of 16"),
    ],
)
def test_sizes_that_fixed_positions_do_not_have_are_refused(
    options: dict[str, int], said: str, tmp_path: Path
) -> None:
    saved(tmp_path, "videomae")
    with pytest.raises(UsageError, match=said):
        open_encoder(f"hf:{tmp_path}", options)


def test_vjepa2_takes_other_sizes_and_two_copies_of_a_still(tmp_path: Path) -> None:
    model = saved(tmp_path, "vjepa2")
    options = {"num_frames": 6, "image_size": 48, "still_frames": 2}
    encoder = open_encoder(f"hf:{tmp_path}", options)
    spec = encoder.spec
    assert (spec.num_frames, spec.image_size, spec.still_frames) == (6, 48, 2)
    assert spec.num_parameters == sum(p.numel() for p in model.encoder.parameters())
    pixels = torch.randn(1, 3, 6, 48, 48)
    # The library counts places on the grid of its configuration, so one built for this size tells.
    config, name = CLASSES["vjepa2"]
    other = getattr(transformers, name)(config()).config.to_dict() | {"crop_size": 48}
    built = transformers.VJEPA2Model(transformers.VJEPA2Config(**other)).eval()
    built.load_state_dict(model.state_dict())
    own = open_encoder(f"vjepa2:{tmp_path / 'model.safetensors'}", {})
    with torch.inference_mode():
        expected = library_tokens(built, "vjepa2", pixels)
        torch.testing.assert_close(encoder(pixels).last, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(own(pixels).last, expected, atol=1e-5, rtol=1e-5)
        assert (library_tokens(model, "vjepa2", pixels) - expected).abs().max() > 1e-3
    with pytest.raises(UsageError, match="48 x 48"):
        encoder(torch.randn(1, 3, 6, 32, 32))
    first = open_encoder(f"hf:{tmp_path}", {}).network.identity
    assert first != encoder.network.identity


@pytest.mark.parametrize("family", ["videomae", "timesformer", "dinov2"])
def test_models_of_oblong_images_are_refused(family: str, tmp_path: Path) -> None:
    config, name = CLASSES[family]
    getattr(transformers, name)(config(image_size=[32, 48])).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="32 x 48 pixels, and only square"):
        open_encoder(f"hf:{tmp_path}", {})


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "own.py").write_text("raise SystemExit('this ran')\n")
    auto = {"AutoModel": "own.Model", "AutoConfig": "own.Config"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": auto}))
    assert open_encoder(f"hf:{tmp_path}", {}).spec.width == 32
    unknown = {**config, "auto_map": auto, "model_type": "own"}
    (tmp_path / "config.json").write_text(json.dumps(unknown))
    with pytest.raises(UsageError, match="of type 'own'"):
        open_encoder(f"hf:{tmp_path}", {})


@pytest.mark.parametrize(
    "model", ["no/such/folder", "./nothing", "//org/name@main/model.safetensors"]
)
def test_names_that_are_no_model_are_refused(model: str) -> None:
    with pytest.raises(UsageError, match="hf:ORG/NAME@REVISION"):
        open_encoder(f"hf:{model}", {})


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of a hub that cannot be reached, with one model at one commit."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--lab--tiny"
    saved(repository / "snapshots" / COMMIT, "vit")
    (repository / "snapshots" / COMMIT / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)


@pytest.mark.usefixtures("offline_hub")
def test_revision_from_the_hub_is_pinned_and_recorded() -> None:
    named = open_encoder(f"hf:lab/tiny@{COMMIT}", {})
    assert named.spec.source == f"hf:lab/tiny@{COMMIT}" and named.spec.card.licence == "mit"
    assert not any("newest" in note for note in named.notes)
    newest = open_encoder("hf:lab/tiny", {})
    assert newest.spec.source == f"hf:lab/tiny@{COMMIT}"
    assert any(f"the newest was {COMMIT}" in note for note in newest.notes)
    with pytest.raises(CheckpointError, match="pass the folder"):
        open_encoder("hf:lab/other@main", {})


@pytest.mark.parametrize(
    "processor",
    [
        lambda: transformers.VivitImageProcessor(
            size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, offset=True
        ),
        lambda: transformers.VideoMAEImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        lambda: transformers.BitImageProcessor(
            size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, do_convert_rgb=True
        ),
    ],
)
def test_stills_are_preprocessed_as_by_the_library(
    processor: Callable[..., Any], tmp_path: Path
) -> None:
    made = processor()
    made.save_pretrained(tmp_path)
    found = read_preprocessing(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    is_video = "Bit" not in type(made).__name__
    given = [[Image.fromarray(picture)]] if is_video else Image.fromarray(picture)
    expected = torch.as_tensor(np.asarray(made(given)["pixel_values"])).reshape(3, 32, 32)
    [view] = score_views(
        picture[None], size=32, num_views=1, kind="image",
        crop_fraction=found.crop_fraction, interpolation=found.interpolation,
    )  # fmt: skip
    ours = normalise(torch.from_numpy(view), found.mean, found.std)[:, 0]
    assert found.size == 32 and found.notes == ()
    # Libraries round a resized level differently, by one step of 256 at most.
    step = 1 / 255 / min(found.std)
    assert (ours - expected).abs().max() < 1.01 * step
    assert (ours - expected).abs().mean() < 0.1 * step


def test_squashing_and_missing_preprocessing_are_said(tmp_path: Path) -> None:
    assert "no preprocessor_config.json" in read_preprocessing(tmp_path).notes[0]
    said = {"size": {"height": 24, "width": 24}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = read_preprocessing(tmp_path)
    assert found.size == 24 and found.mean == (0.5, 0.5, 0.5) and "squashes" in found.notes[0]
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be parsed"):
        read_preprocessing(tmp_path)
