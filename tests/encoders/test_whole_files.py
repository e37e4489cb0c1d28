"""Weight files as people have them: wrapped, nested, damaged, hostile, or something else."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.encoders.encoder import Encoder, open_encoder, weight_digest
from bench.encoders.weights.checkpoints import read_tensors
from bench.encoders.weights.encoder_folder import save_encoder
from bench.errors import CheckpointError
from tests.encoders.families import FAMILIES, open_at
from tests.encoders.files import CHECKPOINT, FIXTURES, HEADS, bare, content

WRAPPERS = ("module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
Tensors = dict[str, torch.Tensor]


def opened(path: Path, **options: Any) -> Encoder:
    return open_encoder(f"vjepa:{path}", {**HEADS, **options})


@cache
def expected() -> str:
    return weight_digest(opened(CHECKPOINT))


def save(path: Path, value: Any, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


@contextmanager
def refused(says: str) -> Iterator[None]:
    with pytest.raises(CheckpointError, match=says) as found:
        yield
    said = str(found.value)
    assert said.endswith((".", "git lfs pull")) and "weights_only" not in said


# ------------------------------------------------------------------------ names, places and values
def inside(*segments: str) -> Callable[[str], str]:
    """Put segments where activation checkpointing, compiling and sharding put them."""
    return lambda name: name.replace("mlp.", f"{'.'.join(segments)}.mlp.{segments[0]}.")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_segments_of_wrappers_are_left_out_anywhere(wrapper: str, tmp_path: Path) -> None:
    for name_of in (
        lambda name: f"{wrapper}.{name}",
        inside(wrapper),
        inside(wrapper, wrapper, "_orig_mod"),
        lambda name: f"module.{inside('_fsdp_wrapped_module', wrapper)(name)}",
    ):
        path = save(tmp_path / "a.pt", {name_of(name): t for name, t in bare().items()})
        assert weight_digest(opened(path)) == expected()


def test_names_that_become_equal_are_refused(tmp_path: Path) -> None:
    twice = {**bare(), "_orig_mod.norm.bias": bare()["norm.bias"] + 1}
    with refused(r"has 'norm\.bias' twice"):
        opened(save(tmp_path / "a.pt", twice))


def test_values_that_training_leaves_next_to_weights_do_no_harm(tmp_path: Path) -> None:
    counts: defaultdict[str, list[int]] = defaultdict(list)
    counts["a"].append(3)
    odd = {
        "opt": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-3}]},
        "counts": counts,
        "recent": deque([1, 2], maxlen=3),
        "folder": Path("/data/run"),
        "time": datetime(2026, 1, 2),
        "losses": np.arange(4.0),
        "loss": np.float16(0.5),
        "order": OrderedDict(a=1),
    }
    path = save(tmp_path / "a.pt", {**content(), **odd})
    assert weight_digest(opened(path)) == expected()
    found = read_tensors(path)
    assert found["counts"] == {"a": [3]} and found["recent"] == [1, 2]
    assert found["losses"].tolist() == [0, 1, 2, 3]


PLACES: dict[str, Callable[[Tensors], Any]] = {
    "module": lambda t: {"module": t, "dp_world_size": 1},
    "model_ema": lambda t: {"model": {n: v + 1 for n, v in t.items()}, "model_ema": t},
    "state_dict.teacher": lambda t: {"state_dict": {"teacher": t, "student": {}}},
    "state_dict.teacher.backbone": lambda t: {
        "state_dict": {f"teacher.backbone.{n}": v for n, v in t.items()}
    },
    "again": lambda t: {"again": t, "same": t, "own": {}},
    "networks.1": lambda t: {"networks": [{}, t]},
}


@pytest.mark.parametrize("key", PLACES)
def test_any_place_in_a_file_can_be_named_and_a_refusal_lists_them(
    key: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.pt", PLACES[key](bare()))
    assert weight_digest(opened(path, key=key)) == expected()
    number = len(bare())
    place = "state_dict" if "backbone" in key else key
    for options in ({}, {"key": "nothing"}):
        with refused(rf"{place} \({number}\).*--set encoder\.key=NAME"):
            opened(path, **options)


def test_other_weights_of_the_same_network_are_said(tmp_path: Path) -> None:
    family = FAMILIES["videomae"]
    tensors = family.held()
    averaged = {name: tensor + 1 for name, tensor in tensors.items()}
    path = save(tmp_path / "a.pt", {"model": tensors, "model_ema": averaged, "optimizer": {}})
    found = open_at(family, f"videomae:{path}")
    assert found.notes[0] == "weights under 'model'; the file has others under model_ema (key=)"
    other = open_encoder(f"videomae:{path}", {**family.options, "key": "model_ema"})
    assert weight_digest(found) != weight_digest(other)
    alone = open_at(family, f"videomae:{save(tmp_path / 'b.pt', averaged)}")
    assert weight_digest(other) == weight_digest(alone)


def test_tensors_are_left_out_by_name_and_said(tmp_path: Path) -> None:
    more = {
        "head.weight": torch.ones(3, 28),
        "head.bias": torch.ones(3),
        "temperature": torch.ones(1),
    }
    path = save(tmp_path / "a.pt", {**bare(), **more})
    encoder = opened(path, drop=("head.*", "temp*"))
    assert weight_digest(encoder) == expected()
    assert encoder.notes[:2] == (
        "left out as requested by drop=head.*: head.bias, head.weight",
        "left out as requested by drop=temp*: temperature",
    )
    with refused(r"unexpected: head\.bias, head\.weight, temperature"):
        opened(path)
    with refused(r"drop=heads\* matches none of its tensors"):
        opened(path, drop=("heads*",))
    with refused(r"missing: norm\.bias, norm\.weight"):
        opened(path, drop=("head.*", "temp*", "norm.*"))


# --------------------------------------------------------------------------- files of another kind
def tarred(folder: Path) -> bytes:
    with tarfile.open(folder / "whole.tar", "w") as archive:
        archive.add(CHECKPOINT, "latest.pt")
    return (folder / "whole.tar").read_bytes()


def scripted(folder: Path) -> bytes:
    return (FIXTURES / "scripted.pt").read_bytes()


def arrays(folder: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


KINDS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda f: b"", r"is empty \(0 bytes\)"),
    "LFS": (lambda f: b"version https://git-lfs.github.com/spec/v1\noid sha", "Git LFS pointer"),
    "page": (lambda f: b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
    "index": (lambda f: b'{"metadata": {}, "weight_map": {}}', "is a JSON text"),
    "gzip": (lambda f: gzip.compress(CHECKPOINT.read_bytes()), "is compressed; unpack it"),
    "tar": (tarred, "is a tar archive; unpack it"),
    "HDF5": (lambda f: b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file"),
    "npy": (lambda f: b"\x93NUMPY\x01\x00" + bytes(99), "is an array of numpy"),
    "npz": (arrays, r"is an \.npz of numpy"),
    "ONNX": (lambda f: b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "ONNX"),
    "TorchScript": (scripted, "is a TorchScript program"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".pth.tar", ".safetensors"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_refused_by_name(kind: str, suffix: str, tmp_path: Path) -> None:
    make, says = KINDS[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(make(tmp_path))
    with refused(says):
        opened(path)


def test_whole_modules_and_pipes_are_refused(tmp_path: Path) -> None:
    with refused(r"would run code when loaded \(torch\.nn\.modules.*state_dict\(\)"):
        opened(save(tmp_path / "a.pt", torch.nn.Linear(2, 2)))
    os.mkfifo(tmp_path / "pipe.pt")
    with refused("is not a regular file"):
        opened(tmp_path / "pipe.pt")


def test_the_format_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    save_file(bare(), path)
    assert weight_digest(opened(path)) == expected()
    with refused("was written by torch.save; rename it"):
        opened(save(tmp_path / "model.safetensors", bare()))


# ---------------------------------------------------------------------------------- damaged files
def outcome(path: Path) -> str:
    """Return the digest of what is loaded, '' if it is refused."""
    try:
        return weight_digest(opened(path))
    except CheckpointError:
        return ""


def test_flipped_bits_and_zeroed_sectors_never_pass_in_silence(tmp_path: Path) -> None:
    whole, chance = CHECKPOINT.read_bytes(), random.Random(0)
    path = tmp_path / "a.pth.tar"
    silent, in_data = [], 0
    for trial in range(120):
        data = bytearray(whole)
        place = chance.randrange(len(data))
        if trial < 100:
            data[place] ^= 1 << chance.randrange(8)
        else:
            place -= place % 512
            data[place : place + 512] = bytes(len(data[place : place + 512]))
        path.write_bytes(data)
        found = outcome(path)
        in_data += found == ""
        if found not in ("", expected()):
            silent.append(place)
    assert not silent and in_data > 90


def test_flipped_bits_in_an_encoder_folder_never_pass_in_silence(tmp_path: Path) -> None:
    save_encoder(tmp_path, opened(CHECKPOINT))
    made, chance = open_encoder(f"vjepa:{tmp_path}", {}), random.Random(1)
    expected_spec = replace(made.spec, source="")
    refusals = 0
    for name in ("encoder.json", "model.safetensors"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            (tmp_path / name).write_bytes(data)
            try:
                found = open_encoder(f"vjepa:{tmp_path}", {})
            except CheckpointError:
                refusals += 1
            else:
                assert weight_digest(found) == expected()
                assert replace(found.spec, source="") == expected_spec
        (tmp_path / name).write_bytes(whole)
    assert refusals > 100


@pytest.mark.parametrize("beside", [True, False])
def test_a_file_whose_digest_is_known_is_verified(beside: bool, tmp_path: Path) -> None:
    save_file(bare(), tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    known = hashlib.sha256(data).hexdigest()
    path = tmp_path / "model.safetensors"
    if beside:
        (tmp_path / "model.safetensors.sha256").write_text(f"{known}  model.safetensors\n")
        held = path
    else:  # the hub's cache
        (tmp_path / "blobs").mkdir()
        held = tmp_path / "blobs" / known
        path.symlink_to(held)
    held.write_bytes(data)
    assert outcome(path) == expected()
    data[-9] ^= 1
    held.write_bytes(data)
    with refused("is damaged: its SHA-256 is not"):
        opened(path)


# ---------------------------------------------------------------------------------- hostile files
def rewritten(path: Path, **options: Any) -> Path:
    with zipfile.ZipFile(CHECKPOINT) as old, zipfile.ZipFile(path, "w", **options) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    return path


def test_archives_that_unpack_to_more_than_the_file_are_refused_first(tmp_path: Path) -> None:
    assert outcome(rewritten(tmp_path / "a.pt")) == expected()
    with refused("compressed members"):
        opened(rewritten(tmp_path / "b.pt", compression=zipfile.ZIP_DEFLATED))
    path = rewritten(tmp_path / "c.pt")
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(path, "a") as archive,
    ):
        archive.writestr(archive.namelist()[-1], b"other")
    with refused("members have equal names"):
        opened(path)


@pytest.mark.parametrize("old", [True, False])
def test_tensors_that_repeat_a_small_storage_are_refused(old: bool, tmp_path: Path) -> None:
    big = {"encoder": {"list": [{"w": torch.zeros(1).expand(40_000, 40_000)}]}}
    with refused(r"encoder\.list\.0\.w \[40000, 40000\] repeats a smaller tensor"):
        read_tensors(save(tmp_path / "a.pt", big, _use_new_zipfile_serialization=not old))
    shared = torch.zeros(1 << 18)
    many = {f"w{i}": shared.view(512, 512) for i in range(40)}
    with refused("repeats a smaller tensor"):
        read_tensors(save(tmp_path / "a.pt", many, _use_new_zipfile_serialization=not old))


class Call:
    """Pickled as a call that torch allows."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("old", [True, False])
def test_calls_that_fill_the_memory_are_refused_before_they_are_made(
    old: bool, tmp_path: Path
) -> None:
    import resource

    grow = torch._utils._rebuild_device_tensor_from_cpu_tensor  # type: ignore[attr-defined]
    small = torch.zeros(1).expand(10**9)
    for value in (Call(bytearray, 4 * 10**9), Call(grow, small, torch.float64, "cpu", False)):
        path = save(
            tmp_path / "a.pt",
            {**bare(), "more": value},
            _use_new_zipfile_serialization=not old,
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with refused("asks for memory that its size does not show"):
            opened(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_file_nested_too_deeply_or_too_often_is_refused(tmp_path: Path) -> None:
    twice: list[Any] = [torch.zeros(1)]
    for _ in range(40):
        twice = [twice, twice]
    with refused("has over 50,000 nested places"):
        opened(save(tmp_path / "b.pt", {**bare(), "more": twice}))
    itself: dict[str, Any] = {"model": bare()}
    itself["me"] = itself
    assert weight_digest(opened(save(tmp_path / "c.pt", itself), key="model")) == expected()
    path, deep = (
        tmp_path / "a.pt",
        b"\x80\x02}X\x01\x00\x00\x00a" + b"]" * 9000 + b"a" * 8999 + b"s.",
    )
    with zipfile.ZipFile(CHECKPOINT) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            new.writestr(member, deep if member.endswith("data.pkl") else old.read(member))
    with refused("is nested too deeply"):
        opened(path)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    "value", [torch.empty(28, device="meta"), torch.zeros(28).to_sparse(), torch.zeros(28).long()]
)
def test_tensors_without_dense_floats_are_refused(value: torch.Tensor, tmp_path: Path) -> None:
    with refused(r"norm\.bias are not dense"):
        opened(save(tmp_path / "a.pt", {**bare(), "norm.bias": value}))
