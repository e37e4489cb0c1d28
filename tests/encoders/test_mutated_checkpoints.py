"""Files of every family changed in one way each: every tensor loads, or the file is refused.

That every tensor was loaded is told by values alone: all numbers of the file that are not zero are
in the network, and all numbers of its parameters are in the file.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bench.encoders.encoder import Encoder
from bench.errors import CheckpointError, UsageError
from tests.encoders.families import FAMILIES, Family, open_at

# One reader opens all folders of transformers: three of them stand for the rest here.
SAME_READER = ("hf vivit", "hf timesformer", "hf dinov3", "hf hiera")
FILES = {n: family for n, family in FAMILIES.items() if family.has_file and n not in SAME_READER}
TABLES = r".*pos_embed"  # computed ones are checked against, and may be left over
COUNTERS = r".*num_batches_tracked"


@pytest.fixture(params=FILES)
def family(request: pytest.FixtureRequest) -> Family:
    return FILES[request.param]


# ------------------------------------------------------------------------- what the encoder's are
def own(family: Family) -> dict:
    """Tensors of the encoder in the family's file, decoder, classifier and tables left out."""
    held = family.held()
    return {n: t for n, t in held.items() if not re.match(rf"{family.apart}|{TABLES}", n)}


def blocks(family: Family) -> list[int]:
    return sorted({int(m[1]) for n in own(family) if (m := BLOCK.search(n))})


BLOCK = re.compile(r"(?:blocks|layer)\.(\d+)\.")


def pick(family: Family, ends: str) -> str:
    """A tensor of the second block whose name ends so; of what has none, one in the middle."""
    names = [n for n in own(family) if n.endswith(ends)]
    inner = [n for n in names if (m := BLOCK.search(n)) and m[1] == "1"]
    return (inner or names)[len(inner or names) // 2]


def kernel(family: Family) -> str:
    return next(n for n, t in own(family).items() if t.ndim >= 4)


def numbers(tensors: Iterable[Any] | Iterator[Any]) -> torch.Tensor:
    values = [t.detach().float().flatten() for t in tensors]
    values = torch.cat(values).unique()
    return values[values != 0]


def holds_all_of(encoder: Encoder, tensors: dict, family: Family) -> bool:
    """Say whether the network has what the file has, and nothing that the file has not."""
    parts = {
        n: t for n, t in tensors.items()
        if not re.match(rf"{family.apart}|{TABLES}|{COUNTERS}", bare(n))
    }  # fmt: skip
    in_file = numbers(tensors.values())
    loaded = numbers(encoder.network.state_dict().values())
    parameters = numbers(encoder.network.parameters())
    return bool(
        torch.isin(numbers(parts.values()), loaded).all()
        and torch.isin(parameters, in_file).all()
    )  # fmt: skip


def bare(name: str) -> str:
    return re.sub(r"^(module\.|_orig_mod\.|backbone\.|model\.)+", "", name)


# ------------------------------------------------------------------------ changes of a state dict
@dataclass(frozen=True)
class Change:
    """`make` gives the changed tensors and the names that a refusal has to say; `loads` says that
    the file is still whole, so that it may load."""

    make: object
    loads: bool = False


def dropped(ends: str) -> Callable[..., Any]:
    def make(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
        name = pick(family, ends)
        return {n: t for n, t in family.held().items() if n != name}, [name]

    return make


def replaced(choose: Callable[..., Any], value: Callable[..., Any]) -> Callable[..., Any]:
    def make(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
        name, held = choose(family), family.held()
        return {**held, name: value(held[name])}, [name]

    return make


def a_weight(family: Family) -> str:
    """A matrix in the middle of the network, none of attention's, which some layouts join."""
    names = [n for n, t in own(family).items() if t.ndim > 1 and n.endswith("weight")]
    names = [n for n in names if BLOCK.search(n) and not re.search(r"att", n)]
    return names[len(names) // 2]


def a_norm(family: Family) -> str:
    # A fine-tuned file may have norms of its classifier alone beside those of the blocks.
    names = [n for n, t in own(family).items() if t.ndim == 1 and n.endswith("weight")]
    return names[len(names) // 2]


def renamed_tensor(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
    name, held = a_weight(family), family.held()
    return {n + "x" if n == name else n: t for n, t in held.items()}, [name]


def extra(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
    return {**family.held(), "surprise.weight": torch.ones(3)}, ["surprise.weight"]


def extra_in_block(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
    name = a_weight(family).removesuffix("weight") + "lora_A"
    return {**family.held(), name: torch.ones(2, 3)}, [name]


def without_block(family: Family, index: int) -> tuple[dict[str, torch.Tensor], list[Any]]:
    gone = blocks(family)[index]
    held = family.held()
    kept = {n: t for n, t in held.items() if not (m := BLOCK.search(n)) or int(m[1]) != gone}
    return kept, []


def predictor(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
    width = own(family)[kernel(family)].shape[0]
    names = {
        "predictor_embed.weight": torch.ones(12, width), "predictor_embed.bias": torch.ones(12),
        "predictor_blocks.0.norm1.weight": torch.ones(12), "mask_tokens.0": torch.ones(1, 1, 12),
        "predictor_norm.weight": torch.ones(12), "predictor_proj.weight": torch.ones(width, 12),
    }  # fmt: skip
    return names, []


def twice(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
    name, held = a_norm(family), family.held()
    prefix = "" if name.startswith("module.") else "module."
    return {**held, prefix + name if prefix else bare(name): held[name] + 1}, [bare(name)]


def prefixed_with(prefix: str) -> Callable[..., Any]:
    return lambda family: ({prefix + n: t for n, t in family.held().items()}, [])


def typed(dtype: torch.dtype) -> Callable[..., tuple[dict[str, torch.Tensor], list[Any]]]:
    def make(family: Family) -> tuple[dict[str, torch.Tensor], list[str]]:
        held = family.held()
        return {n: t.to(dtype) if t.is_floating_point() else t for n, t in held.items()}, []

    return make


def spoiled(value: float) -> Callable[..., Any]:
    def spoil(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[1] = value
        return tensor

    return spoil


CHANGES = {
    "nothing": Change(lambda f: (f.held(), []), loads=True),
    "in another order": Change(lambda f: (dict(reversed(f.held().items())), []), loads=True),
    "DDP prefix": Change(prefixed_with("module."), loads=True),
    "compiled prefix": Change(prefixed_with("_orig_mod."), loads=True),
    "backbone prefix": Change(prefixed_with("backbone."), loads=True),
    "unknown prefix": Change(prefixed_with("teacher."), loads=True),
    "float64": Change(typed(torch.float64), loads=True),
    "missing weight": Change(dropped(".weight")),
    "missing bias": Change(dropped("bias")),
    "missing patch embedding": Change(
        lambda f: ({n: t for n, t in f.held().items() if n != kernel(f)}, [kernel(f)])
    ),
    "renamed tensor": Change(renamed_tensor),
    "unknown tensor": Change(extra),
    "unknown tensor in a block": Change(extra_in_block),
    "one column less": Change(replaced(a_weight, lambda t: t[..., :-1].contiguous())),
    "one row more": Change(replaced(a_norm, lambda t: torch.cat([t, t[:1]]))),
    "one axis more": Change(replaced(a_norm, lambda t: t.unsqueeze(0))),
    "not a number": Change(replaced(a_weight, spoiled(float("nan")))),
    "infinite": Change(replaced(a_norm, spoiled(float("inf")))),
    "integers": Change(replaced(a_norm, lambda t: t.to(torch.int8))),
    "empty tensor": Change(replaced(a_norm, lambda t: t[:0].clone())),
    "predictor instead": Change(predictor),
    "two copies of a tensor": Change(twice),
    "one axis of the patches": Change(
        replaced(kernel, lambda t: t[:, :, 0].clone() if t.ndim == 5 else t.unsqueeze(2))
    ),
    "patches that are not square": Change(replaced(kernel, lambda t: t[..., :-1].clone())),
    "five colours": Change(replaced(kernel, lambda t: torch.cat([t, t[:, :2]], dim=1))),
}
BLOCK_CHANGES = {
    "missing first block": Change(lambda f: without_block(f, 0)),
    "missing middle block": Change(lambda f: without_block(f, 1)),
    "missing last block": Change(lambda f: without_block(f, -1)),
}


def outcome(family: Family, spec: str) -> Encoder | str:
    """Open a file; return the encoder, or the sentence that refuses it."""
    try:
        return open_at(family, spec)
    except (CheckpointError, UsageError) as refused:
        return str(refused)


def check_refusal(said: str, names: list[str]) -> None:
    assert isinstance(said, str), "a file that is not whole was loaded"
    assert said.endswith(".")
    assert all(any(part in said for part in spellings(name)) for name in names), said


def spellings(name: str) -> set[str]:
    """Ways in which a sentence may name a tensor: as the file does, bare, or in official words."""
    short = re.sub(r"^(encoder|trunk)\.", "", bare(name))
    found = {name, bare(name), short, official(bare(name)), official(short)}
    if "patch_embed" in short:
        found |= {"patch_embed.proj", "patch embedding", "image encoder", "for images"}
    return found


def official(name: str) -> str:
    """The name that `VideoViT` has for a tensor, whose attention joins queries, keys and values."""
    from bench.encoders.videomae import HUB_NAMES

    for pattern, template in HUB_NAMES:
        name = re.sub(f"^{pattern}$", template, name)
    name = re.sub(r"^layer\.(\d+)\.attention", r"blocks.\1.attn", name)
    name = re.sub(r"^layer\.(\d+)\.", r"blocks.\1.", name)
    name = re.sub(r"attn\.(query|key|value|[qkv])(\.|_)", "attn.qkv.", name)
    return re.sub(r"^embeddings\.patch_embeddings", "patch_embed", name)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_file_loads_every_tensor_or_is_refused_by_name(
    family: Family, change: Change, tmp_path: Path
) -> None:
    tensors, names = change.make(family)
    made = outcome(family, family.save(tmp_path, tensors))
    if change.loads and isinstance(made, Encoder):
        assert holds_all_of(made, tensors, family)
    else:
        check_refusal(made, names)


@pytest.mark.parametrize("change", BLOCK_CHANGES)
def test_a_file_without_one_of_its_blocks_is_refused(
    family: Family, change: str, tmp_path: Path
) -> None:
    tensors, _ = BLOCK_CHANGES[change].make(family)
    made = outcome(family, family.save(tmp_path, tensors))
    if change == "missing last block" and not family.tells_depth:
        assert holds_all_of(made, tensors, family)  # a network that is whole, and shallower
    else:
        check_refusal(made, [])
        assert re.search(r"\b(blocks?|layer|depth)\b", made.partition("weights")[2] or made)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_to_the_bit_and_said(
    family: Family, dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors, _ = typed(dtype)(family)
    made = open_at(family, family.save(tmp_path, tensors))
    assert holds_all_of(made, tensors, family)
    assert any(f"{str(dtype)[6:]}" in note and "float32" in note for note in made.notes)
    assert {p.dtype for p in made.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", [n for n in FILES if not FILES[n].library])
def test_an_intact_file_loads_from_safetensors_too(name: str, tmp_path: Path) -> None:
    family = FILES[name]
    path = tmp_path / "weights.safetensors"
    save_file({n: t.contiguous() for n, t in family.held().items()}, path)
    made = open_at(family, f"{family.spec}{path}")
    assert holds_all_of(made, family.held(), family)


def test_what_is_left_out_of_a_file_is_said(family: Family, tmp_path: Path) -> None:
    left = [n for n in family.held() if re.match(family.apart, n)]
    notes = open_at(family, family.save(tmp_path)).notes
    said = sum(int(m[1]) for note in notes if (m := re.search(r"\((\d+) tensors\)", note)))
    assert said == len(left) or family.spec.startswith(("timm", "hf"))


# ----------------------------------------------------------------------------- damaged whole files
class Code:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("code in a checkpoint ran",))


def cut(share: float) -> Callable[..., Any]:
    return lambda data: data[: int(share * len(data))]


DAMAGE = {
    "cut at the end": cut(0.95),
    "cut in half": cut(0.5),
    "only its beginning": cut(0.01),
    "without its beginning": lambda data: data[len(data) // 3 :],
    "empty": lambda data: b"",
    "a web page": lambda data: b"<html>404 Not Found</html>",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_refused(
    family: Family, damage: Callable[..., Any], tmp_path: Path
) -> None:
    spec = family.save(tmp_path)
    path = tmp_path / family.file
    path.write_bytes(damage(path.read_bytes()))
    check_refusal(outcome(family, spec), [])


@pytest.mark.parametrize("name", [n for n in FILES if not FILES[n].library])
def test_a_file_that_would_run_code_is_refused_and_runs_none(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family = FILES[name]
    spec = family.save(tmp_path)
    torch.save({"model": family.wrap(family.held()), "x": Code()}, tmp_path / "weights.pt")
    check_refusal(outcome(family, spec), ["would run code"])
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [{}, [1, 2], {"model": {}}, {"a": 1}, torch.zeros(3)])
@pytest.mark.parametrize("name", [n for n in FILES if not FILES[n].library])
def test_a_file_without_a_state_dict_is_refused(
    name: str, content: torch.Tensor | list[int] | dict[str, int | dict[str, Any]], tmp_path: Path
) -> None:
    family = FILES[name]
    spec = family.save(tmp_path)
    torch.save(content, tmp_path / "weights.pt")
    check_refusal(outcome(family, spec), [])


def test_a_file_that_is_not_there_is_refused(family: Family, tmp_path: Path) -> None:
    spec = f"{family.spec}{tmp_path / 'weights.pt'}"
    said = outcome(family, spec)
    assert isinstance(said, str) and "weights.pt" in said


# ------------------------------------------------------------------------ one family for another
@pytest.mark.parametrize("other", FILES)
def test_a_file_of_another_family_is_refused_or_loads_whole(
    family: Family, other: str, tmp_path: Path
) -> None:
    tensors = FILES[other].held()
    path = FILES[other].save(tmp_path).removeprefix(FILES[other].spec)
    made = outcome(family, f"{family.spec}{path}")
    if isinstance(made, Encoder):
        both = Family(apart=rf"{family.apart}|{FILES[other].apart}")
        assert holds_all_of(made, tensors, both)
    else:
        check_refusal(made, [])


def test_weights_of_another_image_size_are_named(tmp_path: Path) -> None:
    """The released confusion: weights of 384 pixels with a configuration of 256."""
    family = FILES["vjepa2"]
    family.save(tmp_path)
    path = (tmp_path / "weights.pt").rename(tmp_path / "vitg-384.pt")
    made = open_at(family, f"{family.spec}{path}")
    assert any("says 384 pixels, the encoder takes 16" in note for note in made.notes)


def test_a_fixed_table_of_another_size_is_rebuilt_and_said(tmp_path: Path) -> None:
    family = FILES["vjepa"]
    made = open_at(
        Family(spec=family.spec, options={**family.options, "image_size": 48}),
        family.save(tmp_path),
    )
    assert any("position table rebuilt for 8 frames at 48 pixels" in note for note in made.notes)
