"""V-JEPA encoders (arXiv 2404.08471): the released ones by name, any other by its file.

Evaluation uses the target (EMA) encoder, as the released evaluation does. Unlike there, a file
without it is refused instead of falling back to the online encoder, and no tensor may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath

import torch

from bench import registry
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.named import run_notes, step_of_run
from bench.encoders.networks.sizes import NO_CARD, RELEASED, VIT_SIZES, Released, size_of_width
from bench.encoders.networks.video_vit import VideoViT, Vit, VitArchitecture
from bench.encoders.weights.architecture import TABLE_TOLERANCE, Named, Request, architecture_of
from bench.encoders.weights.checkpoints import check_coverage, fetch, load_all
from bench.encoders.weights.encoder_folder import save_encoder
from bench.encoders.weights.held_tensors import StoredEncoder
from bench.encoders.weights.layouts import read_vjepa, save_released
from bench.encoders.weights.picked import NETWORKS, Pick
from bench.errors import CheckpointError, UsageError
from bench.types import Card, EncoderSpec

__all__ = ["RELEASED", "VIT_SIZES", "save_encoder", "save_released", "vjepa"]

TARGET = NETWORKS[0]


@registry.encoder
def vjepa(
    *,
    weights: str,
    key: str = TARGET,
    drop: tuple[str, ...] = (),
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
    patch_size: int | None = None,
    tubelet_size: int | None = None,
    uniform_power: bool | None = None,
    still_frames: int | None = None,
) -> Encoder:
    """Any V-JEPA encoder from a checkpoint, a state dict or a folder saved here.

    Everything except the number of heads is read from the tensors, and options are checked against
    them. A different `num_frames` or `image_size` (pixels) than the file's recomputes the position
    table, as the released evaluation does. `key` is the dotted place of the encoder in the file,
    `drop` are patterns (`head.*`) of tensors to leave out. A still is repeated `still_frames` times
    (default, as released: `num_frames`; the paper finds 2 enough).

    Raises:
        CheckpointError: the file does not hold the complete encoder that was requested.
    """
    request = Request(
        depth=depth,
        num_heads=num_heads,
        num_frames=num_frames,
        image_size=image_size,
        patch_size=patch_size,
        tubelet_size=tubelet_size,
        uniform_power=uniform_power,
    )
    network = read_network(weights, Pick(key=key, drop=drop), request)
    encoder = load_network(network, name=f"vjepa:{stem(weights)}", source=weights)
    encoder.notes += run_notes(weights)
    return with_still_frames(encoder, still_frames)


def _released(name: str) -> Callable[..., Encoder]:
    def released(
        *,
        weights: str | None = None,
        key: str = TARGET,
        drop: tuple[str, ...] = (),
        num_frames: int | None = None,
        image_size: int | None = None,
        still_frames: int | None = None,
    ) -> Encoder:
        published = RELEASED[name]
        promised, source = published.architecture, weights or published.address
        request = Request.like(promised, num_frames=num_frames, image_size=image_size)
        network = read_network(
            source, Pick(key=key, drop=drop), request, opened_as=f" (opened as {name})"
        )
        check_promised(network, promised, f"vjepa:{source}")
        encoder = load_network(network, name=name, source=source, card=published.card)
        return with_still_frames(encoder, still_frames)

    return released


def register_released(
    table: Mapping[str, Released], make: Callable[[str], Callable[..., Encoder]]
) -> None:
    """Register `make(name)` for every name in a table of released encoders."""
    for name, released in table.items():
        function = make(name)
        function.__name__, function.__doc__ = name, released.about
        registry.register("encoders", name)(function)


register_released(RELEASED, _released)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A complete network in a JEPA file; its architecture there is `stored`, here `built`."""

    kind: Callable[[VitArchitecture], Vit]
    file: StoredEncoder
    stored: VitArchitecture
    built: VitArchitecture


def read_network(weights: str, pick: Pick, request: Request, opened_as: str = "") -> Network:
    """Fetch `weights` and find the complete encoder in them, without loading it into a module.

    Raises:
        CheckpointError: see `fetch`, `read_vjepa`, `architecture_of` and `check_coverage`.
    """
    content = read_vjepa(fetch(weights), pick)
    where = content.where + opened_as
    tolerance = max(TABLE_TOLERANCE, content.rounding)
    stored, built, notes = architecture_of(
        content.tensors, request, where, recorded=content.architecture, tolerance=tolerance
    )
    if content.architecture is None:
        notes += head_notes(stored, size_of_width(stored.width))
    file = replace(content, where=where, notes=content.notes + notes)
    return complete(Network(kind=VideoViT, file=file, stored=stored, built=built))


def complete(network: Network) -> Network:
    """Return the network if its file has exactly its tensors, else raise `CheckpointError`."""
    with torch.device("meta"):
        wanted = network.kind(network.stored).state_dict()
    check_coverage(wanted, network.file.tensors, network.file.where)
    return network


def head_notes(built: VitArchitecture, named: Named) -> tuple[str, ...]:
    """Return a note if the number of heads differs from that of the named size."""
    if named and named[1].num_heads != built.num_heads:
        return (f"{built.num_heads} heads as requested; {named[0]} has {named[1].num_heads}",)
    return ()


def load_network(network: Network, *, name: str, source: str, card: Card = NO_CARD) -> Encoder:
    """Return the encoder with every tensor of its file loaded."""
    file = network.file
    with torch.device("meta"):
        vit = network.kind(network.built)
    tensors = dict(file.tensors)
    if network.built != network.stored:
        tensors["pos_embed"] = vit.get_buffer("pos_embed")
    load_all(vit, tensors, file.where)
    spec = vit_spec(vit, name=name, source=source, is_floor=file.is_floor, card=card)
    return Encoder(vit, spec, notes=file.notes)


def check_promised(
    network: Network, promised: VitArchitecture, as_it_is: str, *, unseen: Sequence[str] = ()
) -> None:
    """Raise `CheckpointError` unless the file holds the network that the encoder name promises.

    `as_it_is` is an encoder name that promises nothing; `unseen` fields leave no trace in tensors.
    """
    stored = network.stored
    differences = [
        f"{f.name} {getattr(stored, f.name)} instead of {getattr(promised, f.name)}"
        for f in fields(promised)
        if f.name not in unseen and getattr(stored, f.name) != getattr(promised, f.name)
    ]
    if differences:
        raise CheckpointError(
            f"{network.file.where} is another encoder: {', '.join(differences)}; name the right"
            f" file, or open this one with --encoder {as_it_is}."
        )


def vit_spec(
    network: Vit, *, name: str, source: str, is_floor: bool = False, card: Card = NO_CARD
) -> EncoderSpec:
    """Return the spec of a ViT, as a video encoder."""
    a = network.architecture
    return EncoderSpec(
        name=name,
        width=a.width,
        depth=a.depth,
        num_heads=a.num_heads,
        num_frames=a.num_frames,
        image_size=a.image_size,
        patch_size=a.patch_size,
        tubelet_size=a.tubelet_size,
        source=source,
        num_parameters=num_trainable(network),
        card=card,
        is_floor=is_floor,
    )


def with_still_frames(encoder: Encoder, still_frames: int | None) -> Encoder:
    """Return the encoder with its number of copies of a still set to `still_frames`, if given.

    Raises:
        UsageError: `still_frames` is not a positive multiple of the tubelet size.
    """
    tubelet = encoder.spec.tubelet_size
    if still_frames is None:
        return encoder
    if still_frames < 1 or still_frames % tubelet:
        raise UsageError(
            f"{encoder.spec.name}: still_frames {still_frames} must be a multiple of {tubelet}."
        )
    spec = replace(encoder.spec, still_frames=still_frames)
    return Encoder(encoder.network, spec, notes=encoder.notes)


def stem(weights: str) -> str:
    """Return the name of a weight file without folders, query and format suffixes.

    For an evaluation folder of a pretraining run it is `RUN-step_000000200`.
    """
    if step := step_of_run(weights):
        return "-".join(step)
    name = PurePosixPath(weights.split("?")[0].replace("\\", "/")).name
    for suffix in (".tar", ".pth", ".pt", ".safetensors"):
        name = name.removesuffix(suffix)
    return name
