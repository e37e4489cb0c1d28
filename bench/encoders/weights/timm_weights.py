"""Cards and weights of timm models; weights are published, in a file, or from a seed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.encoders.networks.sizes import NO_CARD
from bench.encoders.weights.checkpoints import (
    load_all,
    read_tensors,
    shortened,
    without_wrappers,
)
from bench.encoders.weights.fetch import fetch
from bench.encoders.weights.intact import require_intact
from bench.encoders.weights.picked import Pick
from bench.encoders.weights.state_dicts import Tensors, as_float32, bare_names, unwrapped
from bench.errors import CheckpointError, UsageError, first_line
from bench.types import Card

WRAPPERS = ("state_dict", "model")
# Data sets as spelled in timm's tags; most have the same name here.
DATA_SETS = frozenset(
    (
        *("in1k", "in12k", "in21k", "in22k", "lvd142m", "lvd1689m", "sat493m", "sa1b", "ig1b"),
        *("laion2b", "laion400m", "laiona", "webli", "merged2b", "datacompxl", "dfn2b", "dfn5b"),
        *("metaclip", "yfcc100m", "yfcc15m", "cc12m", "jft300m"),
    )
)
UNLABELLED = ("mae", "dino", "lvd142m", "lvd1689m", "sat493m", "mim")


@dataclass(frozen=True, kw_only=True)
class TimmModel:
    """A timm network with its weights, and their source and card."""

    network: nn.Module
    source: str
    card: Card = NO_CARD
    notes: tuple[str, ...] = ()
    is_floor: bool = False


def pretrained_card(name: str) -> dict[str, Any]:
    """Return timm's `pretrained_cfg` of `NAME` or `NAME.TAG`.

    Raises:
        UsageError: timm has no such model, or the model no such tag.
    """
    # Slow to import: registers all of its networks.
    import timm as library

    architecture, _, tag = name.partition(".")
    if not library.is_model(architecture):
        near = difflib.get_close_matches(architecture, library.list_models(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see timm.list_models()."
        raise UsageError(
            f"encoder 'timm/{name}': timm {library.__version__} has no such model; {hint}"
        )
    tags = library.list_pretrained(f"{architecture}.*") if tag else [name]
    if name not in tags:
        raise UsageError(
            f"encoder 'timm/{name}': timm {library.__version__} has no such weights for"
            f" {architecture}; available: {shortened(tags) or 'none'}."
        )
    found: Any = library.get_pretrained_cfg(name)
    card = dict(_built(name).pretrained_cfg) if found is None else found.to_dict()  # type: ignore[arg-type]
    return {**card, "architecture": architecture}


def fresh(name: str, seed: int) -> TimmModel:
    """Return a network as timm initialises it, depending on `seed` alone."""
    network = _built(name, seed=seed)
    return TimmModel(network=network, source=f"random seed {seed}", is_floor=True)


def with_tensors(
    name: str,
    tensors: Tensors,
    where: str,
    notes: tuple[str, ...] = (),
    *,
    source: str,
    card: Card = NO_CARD,
) -> TimmModel:
    """Return the network with every tensor loaded; the classifier may be of any size.

    Raises:
        CheckpointError: tensors missing, unexpected or of another shape, or not finite.
    """
    classifier = pretrained_card(name).get("classifier")
    parts = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    heads = [tensors[key] for key in (f"{part}.weight" for part in parts) if key in tensors]
    network = _built(name, num_classes=len(heads[0]) if heads else 0)
    state = network.state_dict()
    # Some networks have layers that are named like wrappers.
    whole = {without_wrappers(key): key for key in state}
    tensors = {whole.get(key, key): tensor for key, tensor in tensors.items()}
    counters = {key for key, tensor in state.items() if not tensor.is_floating_point()}
    weights, kinds = as_float32(tensors, where, counters=counters)
    load_all(network, weights, where)
    return TimmModel(network=network, source=source, card=card, notes=notes + kinds)


def about(card: Mapping[str, Any]) -> Card:
    """Return the card of published weights, from the words of their tag."""
    words = str(card.get("tag") or "").split("_")
    labels: Any = "unknown"
    if int(card.get("num_classes") or 0) >= 1000 and any(w in DATA_SETS for w in words):
        labels = "all" if words[-1].startswith("in") else "unknown"
    elif any(word in UNLABELLED for word in words):
        labels = "none"
    return Card(
        licence=str(card.get("license") or "unknown"),
        trained_on=tuple(dict.fromkeys(word for word in words if word in DATA_SETS)),
        labels=labels,
    )


def _built(name: str, *, seed: int = 0, **more: Any) -> nn.Module:
    """Return a network that interpolates its positions to any input shape, if it can."""
    import timm as library

    def make(**options: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network: nn.Module = library.create_model(name, **options)
        return network

    try:
        return make(dynamic_img_size=True, **more)
    except TypeError:  # a network without that option
        return make(**more)


def published(name: str, revision: str, card: Mapping[str, Any]) -> TimmModel:
    """Return the network with the weights that timm publishes.

    Raises:
        UsageError: a revision of weights that are not on the hub.
        CheckpointError: weights that are not published, unavailable or incomplete.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    place = card.get("hf_hub_id")
    if not place and not card.get("url"):
        raise CheckpointError(
            f"timm/{name}: timm publishes no weights for it; give a file (--set"
            " encoder.weights=FILE), or use random weights (--set encoder.random=true)."
        )
    if revision and not place:
        raise UsageError(f"timm/{name}: its weights are not on the hub; leave the revision out.")
    address = f"{place}@{revision}" if revision else place
    overlay: dict[str, Any] = {"pretrained_cfg_overlay": {"hf_hub_id": address}}
    try:
        # With the card's number of classes: timm does not load strictly if it differs.
        network = _built(name, pretrained=True, **(overlay if revision else {}))
    except RuntimeError as error:
        raise CheckpointError(
            f"timm/{name}: the published weights do not match: {' '.join(str(error).split())}"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"timm/{name}: its weights cannot be downloaded ({first_line(error)}). Without a"
            " network, fetch them elsewhere and pass the file: --set encoder.weights=FILE."
        ) from error
    for file in ("model.safetensors", "pytorch_model.bin") if place else ():
        cached = try_to_load_from_cache(str(place), file, revision=revision or None)
        if isinstance(cached, str):
            require_intact(Path(cached))
    source = f"hf:{address}" if place else str(card["url"])
    return TimmModel(network=network, source=source, card=about(card))


def read_bare(weights: str, pick: Pick) -> tuple[Tensors, str, tuple[str, ...]]:
    """Return the tensors of a file under bare names, its path, and notes.

    Raises:
        CheckpointError: no such file, or not the state dict of one network.
    """
    path = fetch(weights)
    content: Mapping[str, Any] = read_tensors(path)
    if pick.key:
        content = pick.found(content, str(path))
    named, where, others = unwrapped(content, WRAPPERS, str(path))
    expected = "give the state dict of one network, bare or under 'state_dict' or 'model'"
    tensors, notes = pick.kept(bare_names(named, (), where, expected=expected), where)
    return tensors, str(path), others + notes
