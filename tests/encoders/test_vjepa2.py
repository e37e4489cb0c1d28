"""V-JEPA 2: tokens against the released code and transformers, and files that are not it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2ForVideoClassification

from bench.encoders import vjepa2 as families
from bench.encoders.encoder import Encoder, num_trainable, open_encoder, weight_digest
from bench.encoders.networks.rotary_vit import RotaryViT, fresh_rotary
from bench.encoders.networks.sizes import VJEPA2_RELEASED, VJEPA2_SIZES, Released
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.vjepa import vit_spec
from bench.encoders.weights.encoder_folder import save_encoder
from bench.encoders.weights.layouts import save_released
from bench.encoders.weights.vjepa2_predictor import read_predictor
from bench.errors import CheckpointError, UsageError
from tests.encoders.files import CHECKPOINT as FIRST
from tests.encoders.files import FIXTURES

CHECKPOINT = FIXTURES / "v2_encoder.pt"
SIZE = {"num_heads": 2, "num_frames": 8, "image_size": 32}
IO = {name: torch.from_numpy(a) for name, a in np.load(FIXTURES / "v2_encoder_io.npz").items()}
PREFIX = "module.backbone."
TINY = VitArchitecture(width=24, depth=2, num_heads=2, patch_size=8, num_frames=4, image_size=16)


def close(made: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(made, expected, rtol=0, atol=atol)


def content() -> dict[str, Any]:
    return torch.load(CHECKPOINT, weights_only=True)


def bare(key: str = "target_encoder") -> dict[str, torch.Tensor]:
    return {name.removeprefix(PREFIX): tensor for name, tensor in content()[key].items()}


def saved(folder: Path, held: dict[str, Any]) -> Path:
    torch.save(held, folder / "made.pt")
    return folder / "made.pt"


@pytest.fixture(scope="module")
def target() -> Encoder:
    return open_encoder(f"vjepa2:{CHECKPOINT}", SIZE)


@pytest.fixture(scope="module")
def online() -> Encoder:
    return open_encoder(f"vjepa2:{CHECKPOINT}", {**SIZE, "key": "encoder"})


# ---------------------------------------------------------------------- against the released code
def test_tokens_equal_the_released_implementation(target: Encoder, online: Encoder) -> None:
    close(target(IO["clip"]).last, IO["tokens_target"])
    close(online(IO["clip"]).last, IO["tokens_encoder"])
    assert target(IO["clip"]).grid == (4, 4, 4)
    assert target.notes == ()


def test_other_clip_size_equals_the_released_implementation(target: Encoder) -> None:
    tokens = target(IO["clip_other_size"])
    assert tokens.grid == (6, 3, 5)
    close(tokens.last, IO["tokens_target_other_size"])


@pytest.mark.parametrize("number", [0, 1])
def test_context_tokens_under_a_mask_equal_the_released_implementation(
    online: Encoder, number: int
) -> None:
    tokens = online(IO["clip"], keep=IO[f"mask_enc_{number}"])
    close(tokens.last, IO[f"ctx_tokens_{number}"])
    assert tokens.grid == (4, 4, 4)


def test_mask_indices_need_not_be_sorted(target: Encoder) -> None:
    close(target(IO["clip"], keep=IO["mask_free"]).last, IO["tokens_target_mask_free"])


def test_tapped_layers_equal_the_released_implementation(target: Encoder) -> None:
    taps = target(IO["clip"], layers=(0, 2)).layers
    close(torch.cat(taps, dim=1), IO["tokens_target_out_layers_0_2"])


def test_without_norm_only_the_last_block_is_normed(target: Encoder) -> None:
    normed = target(IO["clip"], layers=(0, 1, 2)).layers
    plain = target(IO["clip"], layers=(0, 1, 2), norm=False).layers
    assert torch.equal(plain[2], normed[2])
    for tap in (0, 1):
        assert torch.equal(target.network.norm(plain[tap]), normed[tap])
        assert not torch.allclose(plain[tap], normed[tap], atol=1e-2)
    [alone] = target(IO["clip"], layers=(1,), norm=False).layers
    assert torch.equal(alone, plain[1])


@pytest.mark.parametrize(("number", "token"), [(0, 0), (1, 0), (0, 1)])
def test_predictions_equal_the_released_implementation(
    online: Encoder, number: int, token: int
) -> None:
    predictor = read_predictor(str(CHECKPOINT), num_heads=2, image_size=32)
    context, places = IO[f"mask_enc_{number}"], IO[f"mask_pred_{number}"]
    made = predictor(online(IO["clip"], keep=context).last, context, places, token)
    close(made, IO["pred_0_masktoken1" if token else f"pred_{number}"])
    assert not any(p.requires_grad for p in predictor.parameters())


# ---------------------------------------------------------------------------- against transformers
@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> tuple[VJEPA2ForVideoClassification, Path]:
    """A tiny random classifier that transformers saved: encoder, predictor and head in one file."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        patch_size=8, crop_size=32, frames_per_clip=8, hidden_size=28, num_attention_heads=2,
        num_hidden_layers=3, pred_hidden_size=24, pred_num_attention_heads=2,
        pred_num_hidden_layers=2, num_pooler_layers=2, num_labels=5, initializer_range=0.3,
        attn_implementation="sdpa",
    )  # fmt: skip
    model = transformers.VJEPA2ForVideoClassification(config).eval()
    with torch.no_grad():  # biases and mask tokens start at zero, which would hide a mistake
        for parameter in model.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp("hub")
    model.save_pretrained(folder)
    return model, folder / "model.safetensors"


@pytest.mark.parametrize("head", [False, True])
def test_tokens_of_a_transformers_file_equal_transformers(
    hub: tuple[VJEPA2ForVideoClassification, Path], tmp_path: Path, head: bool
) -> None:
    model, path = hub
    if not head:
        model.vjepa2.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    encoder = open_encoder(f"vjepa2:{path}", SIZE)
    with torch.no_grad():
        expected = model.vjepa2.get_vision_features(IO["clip"].transpose(1, 2))
    close(encoder(IO["clip"]).last, expected)
    # predictor: 16 of each block, mask tokens, embedding 2, norm 2, projection 2
    # head: query 1, cross-attention 14, 16 of each self-attention block, classifier 2
    notes = ("39 tensors of the predictor left out",)
    notes += ("49 tensors of the classification head left out",) if head else ()
    assert encoder.notes == notes


@pytest.mark.parametrize(("frames", "side"), [(4, 48), (16, 24), (2, 16)])
def test_tokens_at_other_sizes_equal_transformers_built_for_them(
    hub: tuple[VJEPA2ForVideoClassification, Path], frames: int, side: int
) -> None:
    import transformers

    model, path = hub
    facts = {**model.config.to_dict(), "crop_size": side, "frames_per_clip": frames}
    other = transformers.VJEPA2Model(transformers.VJEPA2Config(**facts)).eval()
    other.load_state_dict(model.vjepa2.state_dict())
    clip = torch.randn(2, 3, frames, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = other.get_vision_features(clip.transpose(1, 2))
    close(open_encoder(f"vjepa2:{path}", SIZE)(clip).last, expected)


@pytest.mark.parametrize(
    ("facts", "options", "says"),
    [
        ({"hidden_act": "relu"}, {}, "hidden_act 'relu'.*hf:FOLDER"),
        ({"layer_norm_eps": 0.01}, {}, "layer_norm_eps 0.01"),
        (
            {"num_attention_heads": 4},
            {"num_heads": 2},
            "num_attention_heads 4, but 2 was requested",
        ),
    ],
)
def test_configuration_beside_a_transformers_file_is_kept_to(
    hub: tuple[VJEPA2ForVideoClassification, Path],
    tmp_path: Path,
    facts: dict[str, float | str],
    options: dict[str, int],
    says: str,
) -> None:
    _, path = hub
    shutil.copy(path, tmp_path / path.name)
    config = {**json.loads(path.with_name("config.json").read_text()), **facts}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"vjepa2:{tmp_path / path.name}", {**SIZE, **options})


def test_heads_of_a_transformers_file_are_those_of_its_configuration(
    hub: tuple[VJEPA2ForVideoClassification, Path],
) -> None:
    model, path = hub
    unsaid = {key: value for key, value in SIZE.items() if key != "num_heads"}
    encoder = open_encoder(f"vjepa2:{path}", unsaid)
    assert encoder.spec.num_heads == model.config.num_attention_heads


def test_transformers_names_under_wrappers_are_read_once_each(
    hub: tuple[VJEPA2ForVideoClassification, Path], tmp_path: Path
) -> None:
    _, path = hub
    tensors = load_file(path)
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    first = open_encoder(f"vjepa2:{path}", SIZE)
    again = open_encoder(f"vjepa2:{tmp_path / 'wrapped.pt'}", SIZE)
    assert weight_digest(again) == weight_digest(first)
    twice = {**tensors, **{name.removeprefix("vjepa2."): t + 1 for name, t in tensors.items()}}
    torch.save(twice, tmp_path / "twice.pt")
    with pytest.raises(CheckpointError, match="twice"):
        open_encoder(f"vjepa2:{tmp_path / 'twice.pt'}", SIZE)


def test_predictor_of_a_transformers_file_equals_transformers(
    hub: tuple[VJEPA2ForVideoClassification, Path],
) -> None:
    model, path = hub
    context, places = IO["mask_enc_0"], IO["mask_pred_0"]
    with torch.no_grad():
        out = model.vjepa2(IO["clip"].transpose(1, 2), context_mask=[context], target_mask=[places])
        whole = out.last_hidden_state
        seen = whole.gather(1, context.unsqueeze(-1).expand(-1, -1, 28))
    predictor = read_predictor(str(path), num_heads=2, image_size=32)
    assert len(predictor.mask_tokens) == 10
    close(predictor(seen, context, places, 1), out.predictor_output.last_hidden_state)


def hub_edited(
    hub: tuple[VJEPA2ForVideoClassification, Path],
    folder: Path,
    *,
    drop: list[str] | tuple[Any, ...] = (),
    put: dict[str, torch.Tensor] | None = None,
    rename: dict[str, str] | None = None,
) -> Path:
    tensors = load_file(hub[1])
    tensors = {n: t for n, t in tensors.items() if n not in drop} | (put or {})
    tensors = {(rename or {}).get(n, n): t for n, t in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            {"drop": ["vjepa2.encoder.layer.1.attention.key.bias"]},
            r"missing: blocks\.1\.attn\.qkv\.bias; unexpected: .*attention\.query\.bias",
        ),
        ({"drop": ["vjepa2.encoder.layernorm.bias"]}, r"missing: norm\.bias"),
        ({"put": {"pooler.extra.weight": torch.zeros(2)}}, r"unexpected: pooler\.extra\.weight"),
        (
            {"put": {"vjepa2.predictor.layer.0.attention.scale": torch.zeros(2)}},
            r"unexpected: predictor\.layer\.0\.attention\.scale",
        ),
        (
            {"rename": {"classifier.weight": "classifier.dense.weight"}},
            r"unexpected: classifier\.dense\.weight",
        ),
    ],
)
def test_transformers_file_with_other_tensors_is_refused_by_name(
    hub: tuple[VJEPA2ForVideoClassification, Path],
    tmp_path: Path,
    edit: dict[str, list[str] | dict[str, str | torch.Tensor]],
    says: str,
) -> None:
    path = hub_edited(hub, tmp_path, **edit)
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"vjepa2:{path}", SIZE)


def test_transformers_file_is_no_v_jepa_file(
    hub: tuple[VJEPA2ForVideoClassification, Path],
) -> None:
    with pytest.raises(CheckpointError, match=r"as vjepa2:FILE"):
        open_encoder(f"vjepa:{hub[1]}", {"num_heads": 2})


# ------------------------------------------------------------------ generations are told apart
def with_tables(num_tokens: int | None = None) -> dict[str, float | dict[str, Any] | None]:
    """The fixture with leftover position tables, as released files are said to have."""
    held = content()
    for key in ("encoder", "target_encoder"):
        held[key] = {**held[key], f"{PREFIX}pos_embed": torch.zeros(1, 64, 28)}
    named = {f"{PREFIX}predictor_pos_embed": torch.zeros(1, 64, 24)}
    for name, tensor in held["predictor"].items():
        number = name.rpartition(".")[2]
        if num_tokens is None or "mask_tokens" not in name or int(number) < num_tokens:
            named[name] = tensor
    return {**held, "predictor": named}


def test_leftover_table_is_not_used_and_noted(target: Encoder, tmp_path: Path) -> None:
    encoder = open_encoder(f"vjepa2:{saved(tmp_path, with_tables())}", SIZE)
    assert weight_digest(encoder.network) == weight_digest(target.network)
    assert encoder.notes == ("pos_embed of the file is an unused leftover: positions are rotary",)
    predictor = read_predictor(str(tmp_path / "made.pt"), num_heads=2, image_size=32)
    assert predictor.notes == ("predictor_pos_embed of the file is an unused leftover",)


def test_v_jepa_file_is_refused_as_v_jepa_2(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a V-JEPA file: .*open it as vjepa:FILE"):
        open_encoder(f"vjepa2:{FIRST}", SIZE)
    with pytest.raises(CheckpointError, match="holds a V-JEPA predictor"):
        read_predictor(str(FIRST), num_heads=2, image_size=32)
    two = saved(tmp_path, with_tables(num_tokens=2))
    with pytest.raises(CheckpointError, match="is a V-JEPA file"):
        open_encoder(f"vjepa2:{two}", SIZE)


def test_v_jepa_2_file_is_refused_as_v_jepa(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"open V-JEPA 2 as vjepa2:FILE"):
        open_encoder(f"vjepa:{CHECKPOINT}", {"num_heads": 2})
    with pytest.raises(CheckpointError, match=r"is a V-JEPA 2 file: .*open it as vjepa2:FILE"):
        open_encoder(f"vjepa:{saved(tmp_path, with_tables())}", {"num_heads": 2})


def test_state_dict_with_a_table_needs_a_word_about_it(target: Encoder, tmp_path: Path) -> None:
    path = saved(tmp_path, {**bare(), "pos_embed": torch.zeros(1, 64, 28)})
    with pytest.raises(CheckpointError, match=r"is unclear whether .*encoder\.leftover_table=true"):
        open_encoder(f"vjepa2:{path}", SIZE)
    encoder = open_encoder(f"vjepa2:{path}", {**SIZE, "leftover_table": True})
    assert weight_digest(encoder.network) == weight_digest(target.network)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"drop": "blocks.1.attn.qkv.bias"}, r"39 of the 40 .*blocks\.1\.attn\.qkv\.bias"),
        ({"drop": "patch_embed.proj.weight"}, r"it has no patch_embed\.proj\.weight"),
        ({"put": "blocks.0.mlp.fc3.weight"}, r"unexpected: blocks\.0\.mlp\.fc3\.weight"),
        ({"put": "predictor_embed.weight"}, "holds a predictor"),
    ],
)
def test_incomplete_or_other_network_is_refused_by_name(
    tmp_path: Path, change: dict[str, str], says: str
) -> None:
    tensors = bare()
    tensors.pop(change.get("drop", ""), None)
    if name := change.get("put"):
        tensors[name] = torch.zeros(2, 2)
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"vjepa2:{saved(tmp_path, tensors)}", SIZE)


@pytest.mark.parametrize(
    ("drop", "options", "says"),
    [
        ("mask_tokens.1", {}, r"missing: mask_tokens\.1"),
        ("predictor_blocks.0.norm1.bias", {}, r"missing: predictor_blocks\.0\.norm1\.bias"),
        ("predictor_proj.weight", {}, r"it has no predictor_proj\.weight"),
        ("", {"num_heads": None}, r"width 24 is not the released 384"),
        ("", {"patch_size": 16}, "has patch_size 8, not 16"),
    ],
)
def test_incomplete_predictor_is_refused(
    tmp_path: Path, drop: str, options: dict[str, int | None], says: str
) -> None:
    held = content()
    held["predictor"].pop(PREFIX + drop, None)
    path = str(saved(tmp_path, held))
    with pytest.raises(CheckpointError, match=says):
        read_predictor(path, **{"num_heads": 2, "image_size": 32, **options})


def test_file_without_predictor_has_none_to_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no predictor"):
        read_predictor(str(saved(tmp_path, {"encoder": content()["encoder"]})), num_heads=2)


# ---------------------------------------------------------------------------- specs, names, folders
def test_spec_is_read_off_the_file(target: Encoder) -> None:
    spec = target.spec
    assert (spec.name, spec.source) == ("vjepa2:v2_encoder", str(CHECKPOINT))
    assert (spec.width, spec.depth, spec.num_heads) == (28, 3, 2)
    assert (spec.num_frames, spec.image_size, spec.patch_size, spec.tubelet_size) == (8, 32, 8, 2)
    # embedding 28*384+28, per block 12*28^2+13*28, final norm 2*28
    assert spec.num_parameters == 10780 + 3 * 9772 + 56


def test_clips_are_of_the_released_evaluation_unless_said() -> None:
    spec = open_encoder(f"vjepa2:{CHECKPOINT}", {"num_heads": 2}).spec
    assert (spec.num_frames, spec.image_size) == (16, 256)


@pytest.mark.parametrize("options", [{"num_frames": 7}, {"image_size": 30}, {"num_frames": 0}])
def test_size_that_does_not_divide_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        open_encoder(f"vjepa2:{CHECKPOINT}", {"num_heads": 2, **options})


def test_heads_must_be_said_where_the_width_has_no_name() -> None:
    with pytest.raises(CheckpointError, match=r"--set encoder\.num_heads=N"):
        open_encoder(f"vjepa2:{CHECKPOINT}", {})


def test_saved_folder_loads_again_as_v_jepa_2_alone(target: Encoder, tmp_path: Path) -> None:
    save_encoder(tmp_path / "folder", target)
    assert json.loads((tmp_path / "folder" / "encoder.json").read_text())["family"] == "vjepa2"
    again = open_encoder(f"vjepa2:{tmp_path}/folder", {})
    assert weight_digest(again.network) == weight_digest(target.network)
    assert again.network.architecture == target.network.architecture
    with pytest.raises(CheckpointError, match=rf"as vjepa2:{tmp_path}/folder\."):
        open_encoder(f"vjepa:{tmp_path}/folder", {})


def test_published_names_have_their_published_addresses_and_sizes() -> None:
    facts = {
        name: (r.address, r.architecture.depth, r.architecture.num_heads, r.architecture.image_size)
        for name, r in VJEPA2_RELEASED.items()
    }
    base = "https://dl.fbaipublicfiles.com/vjepa2"
    assert facts == {
        "vjepa2_vitl16": (f"{base}/vitl.pt", 24, 16, 256),
        "vjepa2_vith16": (f"{base}/vith.pt", 32, 16, 256),
        "vjepa2_vitg16": (f"{base}/vitg.pt", 40, 22, 256),
        "vjepa2_vitg16_384": (f"{base}/vitg-384.pt", 40, 22, 384),
    }
    assert all(r.card.labels == "none" and "k400" in r.card.trained_on
               for r in VJEPA2_RELEASED.values())  # fmt: skip


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("vit_large", 303.89), ("vit_huge", 631.65), ("vit_giant", 1012.17),
        ("vit_gigantic", 1598.48),
    ],
)  # fmt: skip
def test_sizes_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = RotaryViT(VJEPA2_SIZES[name])
    assert round(num_trainable(network) / 1e6, 2) == millions


@pytest.fixture
def shrunk(monkeypatch: pytest.MonkeyPatch) -> dict[str, Released]:
    made = {
        name: Released(architecture=a, address="https://nowhere.invalid/x.pt", card=r.card)
        for (name, r), a in zip(
            VJEPA2_RELEASED.items(),
            (TINY, replace(TINY, depth=1), replace(TINY, depth=3), replace(TINY, image_size=32)),
            strict=True,
        )
    }
    monkeypatch.setattr(families, "VJEPA2_RELEASED", made)
    return made


def test_named_encoder_takes_a_local_file_of_its_architecture(
    tmp_path: Path, shrunk: dict[str, Released]
) -> None:
    for name, released in shrunk.items():
        vit = fresh_rotary(released.architecture, seed=0)
        save_released(tmp_path / "local.pt", target=vit, encoder=vit)
        encoder = open_encoder(f"{name}:{tmp_path}/local.pt", {})
        assert encoder.spec.name == name
        assert encoder.network.architecture == released.architecture
        assert encoder.spec.card.licence == "MIT"
        assert weight_digest(encoder.network) == weight_digest(vit)


def test_named_encoder_refuses_the_file_of_another(
    tmp_path: Path, shrunk: dict[str, Released]
) -> None:
    vit = fresh_rotary(replace(TINY, mlp_ratio=2), seed=0)
    save_released(tmp_path / "local.pt", target=vit, encoder=vit)
    with pytest.raises(CheckpointError, match=r"mlp_ratio 2\.0 instead of 4\.0.*vjepa2:"):
        open_encoder(f"vjepa2_vitl16:{tmp_path}/local.pt", {})
    with pytest.raises(CheckpointError, match="has depth 2, not 1 as requested"):
        open_encoder(f"vjepa2_vith16:{tmp_path}/local.pt", {})


def test_file_whose_name_says_another_image_size_is_noted(tmp_path: Path) -> None:
    vit = fresh_rotary(TINY, seed=0)
    for name, notes in (("vitg-384.pt", 1), ("vitl-fpc64-256.pt", 0), ("vit.pt", 0)):
        save_released(tmp_path / name, target=vit, encoder=vit)
        encoder = open_encoder(f"vjepa2:{tmp_path}/{name}", {"num_heads": 2})
        assert sum("pixels" in note for note in encoder.notes) == notes


def test_untrained_v_jepa_2_is_named_like_the_released_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.encoders import floors

    small = {"vjepa2_vitl16": Released(architecture=TINY, address="")}
    monkeypatch.setattr(floors, "VJEPA2_RELEASED", small)
    encoder = open_encoder("random:vjepa2_vitl16", {"seed": 3})
    assert isinstance(encoder, Encoder)
    assert encoder.spec.is_floor
    assert weight_digest(encoder.network) == weight_digest(fresh_rotary(TINY, seed=3))


def test_fresh_weights_keep_the_scaling_by_depth() -> None:
    vit = fresh_rotary(replace(VJEPA2_SIZES["vit_tiny"], depth=3), seed=0)
    for number, block in enumerate(vit.blocks, start=1):
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            assert weight.std().item() == pytest.approx(0.02 / (2 * number) ** 0.5, rel=0.03)
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.03)


def test_clip_that_patches_do_not_divide_is_refused(target: Encoder) -> None:
    with pytest.raises(UsageError, match="cannot be encoded"):
        target(torch.zeros(2, 3, 8, 30, 32))


def test_spec_can_be_made_from_a_network() -> None:
    vit = fresh_rotary(TINY, seed=0)
    assert vit_spec(vit, name="mine", source=str(Path("here"))).num_parameters == num_trainable(vit)


@pytest.mark.parametrize("spec", [f"vjepa:{FIRST}", f"vjepa2:{CHECKPOINT}"])
def test_copies_of_a_still_can_be_said(spec: str) -> None:
    options = {"num_heads": 4 if spec.endswith("v1_encoder.pt") else 2}
    assert open_encoder(spec, options).spec.still_frames is None
    assert open_encoder(spec, {**options, "still_frames": 2}).spec.still_frames == 2
    for odd in (0, 3):
        with pytest.raises(UsageError, match=f"still_frames {odd} must be a multiple of"):
            open_encoder(spec, {**options, "still_frames": odd})
