"""The files of a transformers model: found on the hub or in a folder, and loaded completely.

A folder has the layout of `save_pretrained`: `config.json`, tensors, `preprocessor_config.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.encoders.networks.hf_networks import FAMILIES, Family
from bench.encoders.weights.checkpoints import faults_of, shortened
from bench.encoders.weights.hf_preprocessing import FILES
from bench.encoders.weights.intact import require_intact
from bench.encoders.weights.state_dicts import stored_dtype_note
from bench.errors import CheckpointError, UsageError, first_line
from bench.files import parse_json

FACTS = ("config.json", *FILES, "README.md")
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def model_folder(model: str) -> tuple[Path, str, tuple[str, ...]]:
    """Return the folder with a model's files, its source, and notes.

    Raises:
        UsageError: neither a folder nor the name of a model on the hub.
        CheckpointError: the hub cannot be reached, or has no such model or revision.
    """
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser(), model, ()
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", model)
    if not match or model.startswith((".", "/")):
        raise UsageError(
            f"encoder 'hf:{model}' is neither a folder nor a model on the hub; write"
            " hf:ORG/NAME@REVISION or hf:FOLDER, and open a single file with its family, such as"
            " vjepa2:hf://ORG/NAME@REVISION/FILE."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    repository, revision = match.groups()
    try:
        folder = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=[*FACTS, "*.safetensors*"]
            )
        )
        if not any(folder.glob("*.safetensors")):
            snapshot_download(repository, revision=folder.name, allow_patterns=["pytorch_model*"])
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"hf:{model} cannot be downloaded ({first_line(error)}). Without a network, fetch it"
            " elsewhere and pass the folder: --encoder hf:FOLDER."
        ) from error
    commit = folder.name
    note = f"no revision was requested; the newest was {commit}"
    return folder, f"hf:{repository}@{commit}", () if revision else (note,)


def configuration(folder: Path) -> dict[str, Any]:
    """Return `config.json`, with a `model_type` from `FAMILIES`.

    Raises:
        UsageError: an unsupported model type.
        CheckpointError: the file is missing or cannot be parsed.
    """
    path = folder / "config.json"
    try:
        config: dict[str, Any] = parse_json(path.read_text())
        kind = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} is not a transformers model: cannot read {path.name} ({first_line(error)})."
        ) from error
    if kind not in FAMILIES:
        raise UsageError(
            f"{folder} holds a model of type {kind!r}; supported are {', '.join(sorted(FAMILIES))}."
            " For any other, write a function of your own: --encoder py:MODULE:FUNCTION."
        )
    return config


def loaded(folder: Path, family: Family) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model with every tensor loaded in float32, and notes on heads that were left out.

    The library fills missing tensors with random numbers and only warns; here they are an error.

    Raises:
        UsageError: the library is not installed.
        CheckpointError: tensors missing, unexpected, of another shape or type, or not finite.
    """
    try:
        from transformers import AutoModel
    except ModuleNotFoundError as error:
        raise UsageError(
            "encoder hf needs the transformers library; run pip install 'frozenbench[hf]'."
        ) from error

    for path in sorted((*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin"))):
        require_intact(path)
    notes = _stored_types(folder)
    try:
        load: Any = AutoModel.from_pretrained
        network, found = load(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to list them by name; they are refused below
            dtype=torch.float32,
            **family.build,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} does not hold the network that its config.json describes"
            f" ({' '.join(str(error).split())}); copy or download it again."
        ) from error
    heads = _heads_alone(network, found, family, folder)
    bad = [key for key, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"{folder}: {shortened(bad)} have values that are not finite.")
    if heads:
        notes += (f"left out as parts of heads: {shortened(heads)}",)
    return network, notes


def _heads_alone(network: Any, found: Mapping[str, Any], family: Family, folder: Path) -> list[str]:
    """Return the unused tensors of heads, or raise if anything else differs.

    `found` is the loading report of the library.
    """
    prefix = f"{network.base_model_prefix}."
    extra = {key: key.removeprefix(prefix) for key in sorted(found["unexpected_keys"])}
    heads = [key for key, bare in extra.items() if bare.startswith(family.heads)]
    unexpected = extra.keys() - heads
    if faults := faults_of(found["missing_keys"], unexpected, found["mismatched_keys"]):
        raise CheckpointError(
            f"{folder} does not hold exactly the {len(network.state_dict())} tensors of"
            f" {type(network).__name__}; {faults}. Give the complete folder."
        )
    return heads


def _stored_types(folder: Path) -> tuple[str, ...]:
    """Return notes on the stored precision of the tensors in a folder; reads only file headers.

    Raises:
        CheckpointError: a truncated or damaged file, or tensors that are not weights.
    """
    from safetensors import SafetensorError, safe_open

    kinds: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                kinds |= {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is damaged or not safetensors ({first_line(error)}); download it again."
            ) from error
    invalid = [key for key, kind in kinds.items() if kind not in FLOATS]
    if invalid:
        raise CheckpointError(
            f"{folder}: {shortened(invalid)} are not floating-point; give unquantised weights."
        )
    return stored_dtype_note({FLOATS[kind] for kind in kinds.values()})


def licence(folder: Path) -> str:
    """Return the licence in the front matter of the model's README.md."""
    readme = folder / "README.md"
    text = readme.read_text(errors="replace") if readme.is_file() else ""
    found = re.search(r"\A---\n(?:(?!---).*\n)*?license:\s*([\w.-]+)", text)
    return found[1] if found else "unknown"
