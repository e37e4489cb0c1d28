"""Read off the tensors which network a V-JEPA file holds, and hold it against what was asked.

Width, depth, patch, tubelet and MLP width are shapes. The grid of frames and pixels is found by
comparing the stored position table with computed ones. The number of heads leaves no trace: it
comes from the named sizes or from the user.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from bench.encoders.networks.positions import sincos_3d
from bench.encoders.networks.sizes import size_of_width
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.weights.checkpoints import shortened
from bench.errors import CheckpointError

TABLE_TOLERANCE = 1e-4
Named = tuple[str, VitArchitecture] | None  # the size that has the width of a file


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user said about the network; None leaves it to the file."""

    depth: int | None = None
    num_heads: int | None = None
    num_frames: int | None = None
    image_size: int | None = None
    patch_size: int | None = None
    tubelet_size: int | None = None
    uniform_power: bool | None = None

    @classmethod
    def like(cls, promised: VitArchitecture, **given: Any) -> Asked:
        """Return what asks for the blocks and heads of a released network, and what is given."""
        return replace(cls(depth=promised.depth, num_heads=promised.num_heads), **given)


@dataclass(frozen=True, kw_only=True)
class Body:
    """What the shapes alone say."""

    width: int
    depth: int
    mlp_hidden: int
    patch_size: int
    tubelet_size: int
    num_tokens: int

    def architecture(
        self, *, num_heads: int, num_frames: int, image_size: int, uniform_power: bool = True
    ) -> VitArchitecture:
        """Return the network, given what shapes do not say."""
        return VitArchitecture(
            width=self.width,
            depth=self.depth,
            num_heads=num_heads,
            mlp_ratio=self.mlp_hidden / self.width,
            patch_size=self.patch_size,
            tubelet_size=self.tubelet_size,
            num_frames=num_frames,
            image_size=image_size,
            uniform_power=uniform_power,
        )


def architecture_of(
    tensors: Mapping[str, torch.Tensor],
    asked: Asked,
    where: str,
    recorded: VitArchitecture | None = None,
    tolerance: float = TABLE_TOLERANCE,
) -> tuple[VitArchitecture, VitArchitecture, tuple[str, ...]]:
    """Return the architecture in the file, the one to build, and notes on the position table.

    The two differ in frames or pixels if others were asked than the file has.
    `recorded` is what our own folder says of itself. `tolerance` is how far the stored position
    table may be from the computed one (more for half precision).

    Raises:
        CheckpointError: the file contradicts what was asked, or does not say enough.
    """
    body = body_of(tensors, where)
    named = size_of_width(body.width)
    agree(body, asked, recorded, named, where)
    heads = heads_of(body, asked, recorded.num_heads if recorded else None, named, where)
    table = tensors["pos_embed"][0].cpu()
    held, is_sincos = _held(table, body, heads, asked, recorded, where, tolerance)
    if asked.uniform_power is not None and asked.uniform_power != held.uniform_power:
        raise CheckpointError(
            f"{where} was made with uniform_power={held.uniform_power} (its position table says"
            f" so), but uniform_power={asked.uniform_power} was asked; leave the option out."
        )
    built = held.changed(num_frames=asked.num_frames, image_size=asked.image_size)
    note = (
        f"position table rebuilt for {built.num_frames} frames at {built.image_size} pixels; the"
        f" file's is for {held.num_frames} at {held.image_size}"
    )
    if not is_sincos:
        note = "the file's position table is not the sin-cos one; it is used as stored"
    return held, built, () if built == held and is_sincos else (note,)


def body_of(tensors: Mapping[str, torch.Tensor], where: str, *, has_table: bool = True) -> Body:
    """Return what the shapes say; `num_tokens` is 0 for networks without a position table.

    Raises:
        CheckpointError: no complete video ViT, or tensors that do not go together.
    """
    tables = ("pos_embed",) if has_table else ()
    needed = ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", *tables)
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{where} does not hold {', '.join(missing)}, so it is no complete video ViT; give a"
            " V-JEPA checkpoint with all its tensors."
        )
    kernel, fc1 = (tuple(tensors[name].shape) for name in needed[:2])
    if len(kernel) != 5 or kernel[1] != 3 or kernel[3] != kernel[4]:
        raise CheckpointError(
            f"{where}: patch_embed.proj.weight has the shape {list(kernel)}; a video ViT has"
            " [width, 3, tubelet, patch, patch]"
            f"{' (this one is for single images)' if len(kernel) == 4 else ''}."
        )
    table = tuple(tensors["pos_embed"].shape) if has_table else (1, 1, kernel[0])
    if (
        len(table) != 3
        or (table[0], table[2]) != (1, kernel[0])
        or len(fc1) != 2
        or min(*kernel, *table, *fc1) < 1
    ):
        raise CheckpointError(
            f"{where}: {f'pos_embed {list(table)} or ' if has_table else ''}blocks.0.mlp.fc1.weight"
            f" {list(fc1)} do not go with the width {kernel[0]} of patch_embed.proj.weight; the"
            " file is mixed up."
        )
    numbers = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    gaps = [f"blocks.{i}.*" for i in range(len(numbers)) if i not in numbers]
    if gaps:
        raise CheckpointError(
            f"{where} is incomplete: it lacks {shortened(gaps)} (its last block is"
            f" {max(numbers)}); give the complete file."
        )
    return Body(
        width=kernel[0],
        depth=len(numbers),
        mlp_hidden=fc1[0],
        patch_size=kernel[3],
        tubelet_size=kernel[2],
        num_tokens=table[1] if has_table else 0,
    )


def agree(
    body: Body, asked: Asked, recorded: VitArchitecture | None, named: Named, where: str
) -> None:
    """Raise `CheckpointError` if the shapes contradict what was asked, recorded or named."""
    for what in ("depth", "patch_size", "tubelet_size"):
        wanted, found = getattr(asked, what), getattr(body, what)
        if wanted is not None and wanted != found:
            raise CheckpointError(
                f"{where} has {what} {found}, but {wanted} was asked; leave the option out or name"
                " another file."
            )
    if recorded is not None:
        for what in ("width", "depth", "mlp_hidden", "patch_size", "tubelet_size"):
            if getattr(recorded, what) != getattr(body, what):
                raise CheckpointError(
                    f"{where}: its description says {what} {getattr(recorded, what)}, its tensors"
                    f" {getattr(body, what)}; write the folder again."
                )
    elif asked.depth is None and named is not None and named[1].depth != body.depth:
        raise CheckpointError(
            f"{where} has {body.depth} blocks of width {body.width}, where {named[0]} has"
            f" {named[1].depth}: is it complete? If it is, say --set encoder.depth={body.depth}."
        )


def heads_of(
    body: Body,
    asked: Asked,
    recorded: int | None,
    named: Named,
    where: str,
    sizes: str = "released",
) -> int:
    """Return the number of heads: as recorded, asked or of the named size.

    Raises:
        CheckpointError: nobody says it, two say otherwise, or the width cannot be split.
    """
    known = recorded or (named[1].num_heads if named else None)
    if recorded and asked.num_heads not in (None, recorded):
        raise CheckpointError(
            f"{where} was written with num_heads {recorded}, but {asked.num_heads} was asked;"
            " leave the option out."
        )
    heads = known if asked.num_heads is None else asked.num_heads
    if heads is None:
        raise CheckpointError(
            f"{where}: the number of attention heads cannot be read off the tensors (width"
            f" {body.width} is no {sizes} size); say --set encoder.num_heads=N."
        )
    if heads < 1 or body.width % heads:
        raise CheckpointError(
            f"{where}: width {body.width} cannot be split over num_heads {heads}; say the number"
            " it was trained with."
        )
    return heads


def square_clips(body: Body) -> list[tuple[int, int]]:
    """List (frames, pixels) of the square grids with this many tokens, the finest first."""
    return [
        (body.num_tokens // (side * side) * body.tubelet_size, side * body.patch_size)
        for side in range(math.isqrt(body.num_tokens), 0, -1)
        if body.num_tokens % (side * side) == 0
    ]


def clip_options(possible: Sequence[tuple[int, int]]) -> str:
    """Return what to say to pick one of several (frames, pixels)."""
    return "; ".join(
        f"--set encoder.num_frames={frames} --set encoder.image_size={pixels}"
        for frames, pixels in possible
    )


def _held(
    table: torch.Tensor,
    body: Body,
    heads: int,
    asked: Asked,
    recorded: VitArchitecture | None,
    where: str,
    tolerance: float,
) -> tuple[VitArchitecture, bool]:
    """Return the network whose computed table is the stored one, and that it is; else not.

    Where no computed table is, what was recorded, asked or released decides.
    """
    possible = square_clips(body)
    if recorded is not None:
        possible = [clip for clip in possible if clip == (recorded.num_frames, recorded.image_size)]
    make = partial(body.architecture, num_heads=heads)
    for uniform in (True, False) if body.width % 8 == 0 else (True,):
        for frames, size in possible:
            held = make(num_frames=frames, image_size=size, uniform_power=uniform)
            made = sincos_3d(body.width, held.grid, uniform_power=uniform)
            if float((made - table).abs().max()) <= tolerance:
                return held, True
    named = size_of_width(body.width) if recorded is None else None
    default = named[1].num_frames if named else None
    frames_wanted = default if asked.num_frames is None else asked.num_frames
    fitting = [
        (frames, size)
        for frames, size in possible
        if frames_wanted in (None, frames) and asked.image_size in (None, size)
    ]
    if len(fitting) != 1:
        raise CheckpointError(
            f"{where}: its position table ({body.num_tokens} tokens) is not the sin-cos one, so it"
            " cannot be rebuilt, and what was asked does not tell its frames and pixels; possible:"
            f" {clip_options(possible) or 'none'}."
        )
    frames, size = fitting[0]
    uniform = asked.uniform_power is not False
    return make(num_frames=frames, image_size=size, uniform_power=uniform), False
