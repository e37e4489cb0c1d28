"""Infer the network of a V-JEPA file from its tensors, and check it against the user's options.

Width, depth, patch, tubelet and MLP width follow from tensor shapes. The grid of frames and pixels
is found by comparing the stored position table with computed ones. The number of heads leaves no
trace: it comes from the named sizes or from the user.
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
Named = tuple[str, VitArchitecture] | None  # the named size with the width of a file


@dataclass(frozen=True, kw_only=True)
class Request:
    """The user's options for the network; None leaves a value to the file."""

    depth: int | None = None
    num_heads: int | None = None
    num_frames: int | None = None
    image_size: int | None = None
    patch_size: int | None = None
    tubelet_size: int | None = None
    uniform_power: bool | None = None

    @classmethod
    def like(cls, promised: VitArchitecture, **given: Any) -> Request:
        """Return the depth and heads of a released network, with other fields as given."""
        return replace(cls(depth=promised.depth, num_heads=promised.num_heads), **given)


@dataclass(frozen=True, kw_only=True)
class Body:
    """What follows from tensor shapes alone."""

    width: int
    depth: int
    mlp_hidden: int
    patch_size: int
    tubelet_size: int
    num_tokens: int

    def architecture(
        self, *, num_heads: int, num_frames: int, image_size: int, uniform_power: bool = True
    ) -> VitArchitecture:
        """Return the architecture, given what shapes do not show."""
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
    request: Request,
    where: str,
    recorded: VitArchitecture | None = None,
    tolerance: float = TABLE_TOLERANCE,
) -> tuple[VitArchitecture, VitArchitecture, tuple[str, ...]]:
    """Return the architecture in the file, the one to build, and notes on the position table.

    The two differ if other frames or pixels are requested than the file has. `recorded` is the
    description in a folder saved here. `tolerance` is how far the stored position table may be from
    the computed one (more for half precision).

    Raises:
        CheckpointError: the file contradicts the options, or is ambiguous.
    """
    body = body_of(tensors, where)
    named = size_of_width(body.width)
    agree(body, request, recorded, named, where)
    heads = heads_of(body, request, recorded.num_heads if recorded else None, named, where)
    table = tensors["pos_embed"][0].cpu()
    stored, is_sincos = _stored_architecture(
        table, body, heads, request, recorded, where, tolerance
    )
    if request.uniform_power is not None and request.uniform_power != stored.uniform_power:
        raise CheckpointError(
            f"{where} has a position table with uniform_power={stored.uniform_power}, but"
            f" uniform_power={request.uniform_power} was requested; leave the option out."
        )
    built = stored.changed(num_frames=request.num_frames, image_size=request.image_size)
    note = (
        f"position table rebuilt for {built.num_frames} frames at {built.image_size} pixels; the"
        f" file's is for {stored.num_frames} at {stored.image_size}"
    )
    if not is_sincos:
        note = "the file's position table is not the sin-cos one; it is used as stored"
    return stored, built, () if built == stored and is_sincos else (note,)


def body_of(tensors: Mapping[str, torch.Tensor], where: str, *, has_table: bool = True) -> Body:
    """Return what the shapes show; `num_tokens` is 0 for networks without a position table.

    Raises:
        CheckpointError: not a complete video ViT, or tensors that do not match each other.
    """
    tables = ("pos_embed",) if has_table else ()
    needed = ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", *tables)
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{where} is not a complete video ViT: it has no {', '.join(missing)}; give a V-JEPA"
            " checkpoint with all its tensors."
        )
    kernel, fc1 = (tuple(tensors[name].shape) for name in needed[:2])
    if len(kernel) != 5 or kernel[1] != 3 or kernel[3] != kernel[4]:
        raise CheckpointError(
            f"{where}: patch_embed.proj.weight is {list(kernel)}, not [width, 3, tubelet, patch,"
            f" patch] as in a video ViT{' (it is for images)' if len(kernel) == 4 else ''}."
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
            f" {list(fc1)} does not match the width {kernel[0]} of patch_embed.proj.weight; the"
            " file mixes tensors of different networks."
        )
    numbers = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    gaps = [f"blocks.{i}.*" for i in range(len(numbers)) if i not in numbers]
    if gaps:
        raise CheckpointError(
            f"{where} lacks {shortened(gaps)} before its last block; give the complete file."
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
    body: Body, request: Request, recorded: VitArchitecture | None, named: Named, where: str
) -> None:
    """Raise `CheckpointError` if shapes contradict the request, the record or the named size."""
    for what in ("depth", "patch_size", "tubelet_size"):
        wanted, found = getattr(request, what), getattr(body, what)
        if wanted is not None and wanted != found:
            raise CheckpointError(
                f"{where} has {what} {found}, not {wanted} as requested; leave the option out."
            )
    if recorded is not None:
        for what in ("width", "depth", "mlp_hidden", "patch_size", "tubelet_size"):
            if getattr(recorded, what) != getattr(body, what):
                raise CheckpointError(
                    f"{where}: its encoder.json has {what} {getattr(recorded, what)}, its tensors"
                    f" have {getattr(body, what)}; save the folder again."
                )
    elif request.depth is None and named is not None and named[1].depth != body.depth:
        raise CheckpointError(
            f"{where} has {body.depth} blocks of width {body.width}, {named[0]} has"
            f" {named[1].depth}; if the file is complete, use --set encoder.depth={body.depth}."
        )


def heads_of(
    body: Body,
    request: Request,
    recorded: int | None,
    named: Named,
    where: str,
    sizes: str = "released",
) -> int:
    """Return the number of heads: recorded, requested or of the named size.

    Raises:
        CheckpointError: it is unknown, contradictory, or does not divide the width.
    """
    known = recorded or (named[1].num_heads if named else None)
    if recorded and request.num_heads not in (None, recorded):
        raise CheckpointError(
            f"{where} has num_heads {recorded}, not {request.num_heads}; leave the option out."
        )
    heads = known if request.num_heads is None else request.num_heads
    if heads is None:
        raise CheckpointError(
            f"{where}: the tensors do not show the number of attention heads (width {body.width}"
            f" is not a {sizes} size); use --set encoder.num_heads=N."
        )
    if heads < 1 or body.width % heads:
        raise CheckpointError(
            f"{where}: width {body.width} cannot be split over num_heads {heads}; give the number"
            " it was trained with."
        )
    return heads


def square_clips(body: Body) -> list[tuple[int, int]]:
    """List (frames, pixels) of all square grids with this many tokens, finest first."""
    return [
        (body.num_tokens // (side * side) * body.tubelet_size, side * body.patch_size)
        for side in range(math.isqrt(body.num_tokens), 0, -1)
        if body.num_tokens % (side * side) == 0
    ]


def clip_options(possible: Sequence[tuple[int, int]]) -> str:
    """Return the options that select each of several (frames, pixels)."""
    return "; ".join(
        f"--set encoder.num_frames={frames} --set encoder.image_size={pixels}"
        for frames, pixels in possible
    )


def _stored_architecture(
    table: torch.Tensor,
    body: Body,
    heads: int,
    request: Request,
    recorded: VitArchitecture | None,
    where: str,
    tolerance: float,
) -> tuple[VitArchitecture, bool]:
    """Return the network with the stored table, and whether that table is a sin-cos one.

    If not, the recorded, requested or released clip size decides.
    """
    possible = square_clips(body)
    if recorded is not None:
        possible = [clip for clip in possible if clip == (recorded.num_frames, recorded.image_size)]
    make = partial(body.architecture, num_heads=heads)
    for uniform in (True, False) if body.width % 8 == 0 else (True,):
        for frames, size in possible:
            stored = make(num_frames=frames, image_size=size, uniform_power=uniform)
            made = sincos_3d(body.width, stored.grid, uniform_power=uniform)
            if float((made - table).abs().max()) <= tolerance:
                return stored, True
    named = size_of_width(body.width) if recorded is None else None
    default = named[1].num_frames if named else None
    frames_wanted = default if request.num_frames is None else request.num_frames
    fitting = [
        (frames, size)
        for frames, size in possible
        if frames_wanted in (None, frames) and request.image_size in (None, size)
    ]
    if len(fitting) != 1:
        raise CheckpointError(
            f"{where}: its position table ({body.num_tokens} tokens) is not the sin-cos one, so its"
            f" frames and pixels are unknown; possible: {clip_options(possible) or 'none'}."
        )
    frames, size = fitting[0]
    uniform = request.uniform_power is not False
    return make(num_frames=frames, image_size=size, uniform_power=uniform), False
