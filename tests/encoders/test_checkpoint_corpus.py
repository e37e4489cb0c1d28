"""Checkpoints that were changed in one way each: all tensors load, or the file is refused."""

import pickle
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.encoders.encoder import open_encoder
from bench.errors import CheckpointError, UsageError
from tests.encoders.files import CHECKPOINT, HEADS, bare, content

PREFIX = "module.backbone."


def saved(folder: Path, value: Any, **options: Any) -> Path:
    path = folder / "mutant.pt"
    torch.save(value, path, **options)
    return path


def renamed(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def released(**changes: Any) -> dict[str, Any]:
    """The published dict with the given entries replaced; None takes the entry out."""
    return {k: v for k, v in {**content(), **changes}.items() if v is not None or k == "scaler"}


def edited(
    drop: Sequence[str] = (), put: dict[str, torch.Tensor] | None = None, sibling: bool = True
) -> dict[str, Any]:
    """The published dict whose target (and online) encoder lack or have some tensors."""
    made = released()
    for key in ("target_encoder", "encoder") if sibling else ("target_encoder",):
        network = {n: t for n, t in made[key].items() if not any(d in n for d in drop)}
        made[key] = {**network, **renamed(put or {}, PREFIX)}
    return made


def typed(dtype: torch.dtype) -> Callable[..., Path]:
    def build(folder: Path) -> Path:
        return saved(folder, {n: t.to(dtype) for n, t in bare().items()})

    return build


# --------------------------------------------------------------------- files that load completely
def as_safetensors(folder: Path) -> Path:
    save_file(bare(), folder / "mutant.safetensors")
    return folder / "mutant.safetensors"


def half_prefixed(folder: Path) -> Path:
    names = sorted(bare())
    return saved(
        folder, {(PREFIX if i % 2 else "") + name: bare()[name] for i, name in enumerate(names)}
    )


def numpy_numbers(folder: Path) -> Path:
    return saved(folder, released(loss=np.float64(0.5), epoch=np.int64(3)))


LOADS = {
    "published": lambda folder: CHECKPOINT,
    "module.backbone. prefix": lambda f: saved(f, renamed(bare(), PREFIX)),
    "DDP prefix": lambda f: saved(f, renamed(bare(), "module.")),
    "backbone prefix": lambda f: saved(f, renamed(bare(), "backbone.")),
    "compiled DDP prefix": lambda f: saved(f, renamed(bare(), "module._orig_mod.")),
    "no prefix": lambda f: saved(f, bare()),
    "half of the names prefixed": half_prefixed,
    "safetensors": as_safetensors,
    "old torch.save format": lambda f: saved(f, released(), _use_new_zipfile_serialization=False),
    "target encoder alone": lambda f: saved(f, released(encoder=None, predictor=None)),
    "empty predictor": lambda f: saved(f, released(predictor={})),
    "numpy numbers beside": numpy_numbers,
    "float64": typed(torch.float64),
}


@pytest.mark.parametrize("build", LOADS.values(), ids=LOADS.keys())
def test_complete_file_loads_every_tensor_to_the_bit(
    build: Callable[..., Any], tmp_path: Path
) -> None:
    state = open_encoder(f"vjepa:{build(tmp_path)}", HEADS).network.state_dict()
    expected = bare()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_file_loads_its_values_as_float32_and_says_so(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    encoder = open_encoder(f"vjepa:{typed(dtype)(tmp_path)}", HEADS)
    state = encoder.network.state_dict()
    assert all(torch.equal(state[n], t.to(dtype).float()) for n, t in bare().items())
    assert any(f"stored as {str(dtype)[6:]}, read as float32" in note for note in encoder.notes)
    assert encoder.spec.image_size == 32


def test_online_and_target_encoder_are_told_apart() -> None:
    for key in ("target_encoder", "encoder"):
        state = open_encoder(f"vjepa:{CHECKPOINT}", {**HEADS, "key": key}).network.state_dict()
        assert all(torch.equal(state[name], t) for name, t in bare(key).items())
    assert not torch.equal(bare()["norm.weight"], bare("encoder")["norm.weight"])


# ------------------------------------------------------------------------- files that are refused
class Code:
    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (print, ("code in a checkpoint ran",))


def bytes_of(start: float, stop: float) -> Callable[..., Any]:
    def build(folder: Path) -> Path:
        data = CHECKPOINT.read_bytes()
        path = folder / "mutant.pt"
        path.write_bytes(data[int(start * len(data)) : int(stop * len(data))])
        return path

    return build


def text_file(folder: Path) -> Path:
    path = folder / "mutant.pt"
    path.write_text("<html>404 Not Found</html>")
    return path


def plain_pickle(folder: Path) -> Path:
    path = folder / "mutant.pt"
    path.write_bytes(pickle.dumps({"encoder": 1}))
    return path


def zip_of_text(folder: Path) -> Path:
    import zipfile

    path = folder / "mutant.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    return path


def cut_safetensors(folder: Path) -> Path:
    path = as_safetensors(folder)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def spoiled(value: float) -> Callable[..., Any]:
    def build(folder: Path) -> Path:
        tensors = bare()
        tensors["blocks.2.mlp.fc1.weight"][3, 4] = value
        return saved(folder, tensors)

    return build


def image_patches(folder: Path) -> Path:
    kernel = bare()["patch_embed.proj.weight"][:, :, 0].contiguous()
    return saved(folder, edited(put={"patch_embed.proj.weight": kernel}))


def collision(folder: Path) -> Path:
    return saved(folder, {**bare(), "module.norm.bias": torch.zeros(28)})


def rotary(folder: Path) -> Path:
    predictor = {
        n: t for n, t in content()["predictor"].items() if not n.endswith("predictor_pos_embed")
    }
    return saved(folder, released(predictor=predictor))


def replaced(**tensors: Any) -> Callable[..., Any]:
    put = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return lambda folder: saved(folder, edited(put=put))


@dataclass(frozen=True)
class Refusal:
    build: object
    says: str
    options: dict = field(default_factory=dict)


REFUSED = {
    "extra tensor": Refusal(
        replaced(cls_token=torch.zeros(1, 1, 28)), r"41 of the 41.*unexpected: cls_token"
    ),
    "missing bias": Refusal(
        lambda f: saved(f, edited(drop=["blocks.1.attn.qkv.bias"])),
        r"40 of the 41 .*97\.6 %.*missing: blocks\.1\.attn\.qkv\.bias",
    ),
    "missing norm": Refusal(
        lambda f: saved(f, edited(drop=["backbone.norm."])), r"missing: norm\.bias, norm\.weight"
    ),
    "missing middle block": Refusal(
        lambda f: saved(f, edited(drop=["blocks.1."])), r"lacks blocks\.1\.\* before its last block"
    ),
    "missing last block": Refusal(
        lambda f: saved(f, edited(drop=["blocks.2."], sibling=False)),
        r"'target_encoder' has no blocks\.2\.attn\.proj\.bias.*but 'encoder' does",
    ),
    "missing last block against what was asked": Refusal(
        lambda f: saved(f, edited(drop=["blocks.2."])),
        "has depth 2, not 3 as requested",
        {"depth": 3},
    ),
    "missing patch embedding": Refusal(
        lambda f: saved(f, edited(drop=["patch_embed.proj.weight"])),
        r"it has no patch_embed\.proj\.weight",
    ),
    "missing position table": Refusal(
        lambda f: saved(f, edited(drop=["pos_embed"])), "no fixed position table"
    ),
    "wrong shape": Refusal(
        replaced(blocks__0__mlp__fc2__weight=torch.zeros(28, 111)),
        r"wrong shape: blocks\.0\.mlp\.fc2\.weight \(file \[28, 111\], network \[28, 112\]\)",
    ),
    "mixed widths": Refusal(
        replaced(pos_embed=torch.zeros(1, 64, 32)), "mixes tensors of different networks"
    ),
    "wrong patch asked": Refusal(
        lambda f: CHECKPOINT, "has patch_size 8, not 16 as requested", {"patch_size": 16}
    ),
    "wrong tubelet asked": Refusal(
        lambda f: CHECKPOINT, "has tubelet_size 2, not 4 as requested", {"tubelet_size": 4}
    ),
    "wrong code layout asked": Refusal(
        lambda f: CHECKPOINT, "position table with uniform_power=True", {"uniform_power": False}
    ),
    "wrong heads": Refusal(
        lambda f: CHECKPOINT, "cannot be split over num_heads 5", {"num_heads": 5}
    ),
    "heads unknown": Refusal(
        lambda f: CHECKPOINT, r"use --set encoder\.num_heads=N", {"num_heads": None}
    ),
    "predictor alone": Refusal(
        lambda f: saved(f, {"predictor": content()["predictor"]}),
        "holds a predictor .*predictor_pos_embed.*not an encoder",
    ),
    "predictor as a bare state dict": Refusal(
        lambda f: saved(f, content()["predictor"]), "holds a predictor .*predictor_pos_embed"
    ),
    "predictor under the encoder's key": Refusal(
        lambda f: saved(f, released(target_encoder=content()["predictor"])), "holds a predictor"
    ),
    "online encoder only": Refusal(
        lambda f: saved(f, released(target_encoder=None)),
        r"no 'target_encoder', only .*--set encoder\.key=encoder",
    ),
    "probe": Refusal(lambda f: saved(f, {"classifier": {}, "epoch": 3}), "not a state dict"),
    "attentive probe tensors": Refusal(
        lambda f: saved(f, {"module.pooler.query_tokens": torch.zeros(1, 1, 28)}),
        "attentive probe",
    ),
    "rotary positions": Refusal(rotary, "V-JEPA 2 has rotary positions"),
    "image patches": Refusal(image_patches, "it is for images"),
    "two networks in one": Refusal(collision, r"'norm\.bias' twice"),
    "not finite": Refusal(spoiled(float("nan")), r"blocks\.2\.mlp\.fc1\.weight are not finite"),
    "infinite": Refusal(spoiled(float("inf")), "not finite"),
    "integers": Refusal(
        replaced(norm__bias=torch.zeros(28, dtype=torch.int8)), r"norm\.bias are not dense"
    ),
    "truncated": Refusal(bytes_of(0, 0.6), "is cut short"),
    "without its beginning": Refusal(bytes_of(0.3, 1), "is not a checkpoint"),
    "empty file": Refusal(bytes_of(0, 0), r"is empty \(0 bytes\)"),
    "truncated safetensors": Refusal(cut_safetensors, "not a safetensors file"),
    "web page": Refusal(text_file, "is a web page"),
    "plain pickle": Refusal(plain_pickle, "a pickle that torch.save did not write"),
    "other archive": Refusal(zip_of_text, "a zip archive that torch.save did not write"),
    "pickled code": Refusal(
        lambda f: saved(f, {**released(), "loss": Code()}), "would run code when loaded .*print"
    ),
    "pickled class": Refusal(
        lambda f: saved(f, {**released(), "loss": types.SimpleNamespace(a=1)}),
        r"would run code when loaded .*types\.SimpleNamespace",
    ),
    "pickled code, old format": Refusal(
        lambda f: saved(f, {"encoder": Code()}, _use_new_zipfile_serialization=False),
        "would run code when loaded .*print",
    ),
    "one tensor": Refusal(lambda f: saved(f, torch.zeros(3)), "holds a Tensor"),
    "nothing in it": Refusal(lambda f: saved(f, {}), "it is empty"),
    "folder of something else": Refusal(lambda f: f, "is not an encoder folder"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_file_that_is_not_the_whole_encoder_is_refused_by_name(
    case: Refusal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = case.build(tmp_path)
    with pytest.raises(CheckpointError, match=case.says) as refused:
        open_encoder(f"vjepa:{path}", {**HEADS, **case.options})
    assert str(path) in str(refused.value)
    assert str(refused.value).endswith(".")
    assert "ran" not in capsys.readouterr().out


def test_size_that_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="image_size 50"):
        open_encoder(f"vjepa:{CHECKPOINT}", {**HEADS, "image_size": 50})


def test_random_damage_is_refused_or_leaves_the_checkpoint_loadable(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = {old: saved(tmp_path, released(), _use_new_zipfile_serialization=not old).read_bytes()
             for old in (True, False)}  # fmt: skip
    path = tmp_path / "mutant.pt"
    for number in range(60):
        data = bytearray(whole[number % 2 == 0])
        for position in rng.integers(0, len(data), size=200):
            data[position] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data) // 2, len(data))] if number % 5 else data)
        try:
            encoder = open_encoder(f"vjepa:{path}", HEADS)
        except (CheckpointError, UsageError):
            continue
        assert len(encoder.network.state_dict()) == 41
