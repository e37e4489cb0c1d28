"""What encoders, tasks, probes and tables must provide, checked before anything is decoded.

A missing or wrong member is reported in one sentence (class, member, expected type), not in a
traceback after hours of fitting. This module has the shared checks and those of encoders; tasks and
probes are checked in `bench/preflight`, tables in `bench/publish`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from bench.errors import UsageError
from bench.types import EncoderSpec, Head, Kind, Tokens

# For each member a test, and a description of what is expected.
Members = Mapping[str, tuple[Callable[[Any], bool], str]]


def require(is_valid: bool, message: str) -> None:
    """Raise `UsageError` with the message unless `is_valid`."""
    if not is_valid:
        raise UsageError(message)


def check_members(what: str, made: Any, members: Members, kind: type = object) -> None:
    """Require that `made` is a `kind` and that each of its members passes its test."""
    should = "not be" if kind is object else f"be of the class bench.{kind.__name__}"
    is_made = made is not None and isinstance(made, kind)
    require(is_made, f"{what} is {kind_of(made)}; it should {should}.")
    for member, (is_valid, expected) in members.items():
        found = "is missing"
        if hasattr(made, member):
            value = getattr(made, member)
            if is_valid(value):
                continue
            found = f"is {value!r}" if len(repr(value)) < 60 else f"is {kind_of(value)}"
            if inspect.isroutine(value):
                found = f"takes {inspect.signature(value)}"
        raise UsageError(
            f"{what}: {type(made).__name__}.{member} {found}; it should be {expected}."
        )


def kind_of(value: Any) -> str:
    """Describe the type of a value: "None", or its class with an article."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def takes(*positional: None, **keywords: None) -> Callable[[Any], bool]:
    """Return a test for callables that accept these arguments."""

    def is_valid(value: Any) -> bool:
        try:
            inspect.signature(value).bind(*positional, **keywords)
        except TypeError:  # also raised if it is not callable
            return False
        except ValueError:  # compiled: the signature is unknown
            return True
        return True

    return is_valid


def is_many(kind: type) -> Callable[[Any], bool]:
    """Return a test for a non-empty sequence of instances of `kind`."""

    def is_valid(value: Any) -> bool:
        is_sequence = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
        return is_sequence and all(isinstance(item, kind) for item in value)

    return is_valid


def is_options(value: Any) -> bool:
    """Return whether a value maps names to values."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


TEXT = (lambda value: isinstance(value, str) and value != "", "a non-empty string")
COUNT = (lambda value: isinstance(value, int) and value > 0, "a positive integer")
OPTIONS = (is_options, "a mapping from names to values")
HEADS = (is_many(Head), "a non-empty sequence of bench.Head")
TEXTS = (is_many(str), "a non-empty sequence of strings")
KIND = (lambda value: value in get_args(Kind), "'video' or 'image'")
SPEC: Members = {
    "name": TEXT,
    **dict.fromkeys(("width", "depth", "num_heads", "num_frames", "image_size"), COUNT),
    **dict.fromkeys(("patch_size", "tubelet_size", "clips_per_call"), COUNT),
    "source": TEXT,
    "takes": KIND,
}
NETWORK: Members = {
    "forward": (
        takes(None, keep=None, layers=None),
        "a method forward(pixels, *, keep=None, layers=None)",
    ),
}


def require_encoder(name: str, encoder: Any) -> None:
    """Check the spec of an opened encoder and the signature of its network.

    Raises:
        UsageError: a member is missing or of the wrong type.
    """
    check_members(f"encoder {name!r}, its spec", encoder.spec, SPEC, kind=EncoderSpec)
    check_members(f"encoder {name!r}, its network", encoder.network, NETWORK)


def require_tokens(spec: EncoderSpec, tokens: Any, *, num_clips: int) -> None:
    """Check the output of a network for `num_clips` clips with one tapped layer.

    Raises:
        UsageError: not `Tokens`, or tokens of the wrong number or width.
    """
    what = f"encoder {spec.name!r}: its network returns"
    require(isinstance(tokens, Tokens), f"{what} {kind_of(tokens)}; it should return bench.Tokens.")
    shape = (num_clips, int(np.prod(tokens.grid)), spec.width)
    found = [tuple(layer.shape) for layer in tokens.layers]
    require(
        found == [shape],
        f"{what} Tokens.layers of shape {', '.join(map(str, found)) or 'nothing'}; it should be one"
        f" tensor of shape {shape}: (clips, product of Tokens.grid {tokens.grid}, spec.width).",
    )
