"""What encoders, tasks, probes and tables must provide, checked before anything is decoded.

A member that is missing or of the wrong kind ends in one sentence that names the class, the member
and what it should be, not in a traceback after hours of fitting. Here are the checks themselves and
those of encoders; tasks and probes have theirs in `bench/preflight`, tables in `bench/publish`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from bench.errors import UsageError
from bench.types import (
    EncoderSpec,
    Head,
    Kind,
    Tokens,
)

# For each member a test, and in words what it should be.
Members = Mapping[str, tuple[Callable[[Any], bool], str]]


def require(is_right: bool, sentence: str) -> None:
    """Raise `UsageError` with that sentence unless it is right."""
    if not is_right:
        raise UsageError(sentence)


def check_members(what: str, made: Any, members: Members, kind: type = object) -> None:
    """Require that `made` is of that class and that each of its members passes its test."""
    should = "not be" if kind is object else f"be of the class bench.{kind.__name__}"
    is_made = made is not None and isinstance(made, kind)
    require(is_made, f"{what} is {kind_of(made)}; it should {should}.")
    for member, (is_right, words) in members.items():
        found = "is missing"
        if hasattr(made, member):
            value = getattr(made, member)
            if is_right(value):
                continue
            found = f"is {value!r}" if len(repr(value)) < 60 else f"is {kind_of(value)}"
            if inspect.isroutine(value):
                found = f"takes {inspect.signature(value)}"
        raise UsageError(f"{what}: {type(made).__name__}.{member} {found}; it should be {words}.")


def kind_of(value: Any) -> str:
    """Return what a value is, in words: None, or its class with an article."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def takes(*positional: None, **keywords: None) -> Callable[[Any], bool]:
    """Return a test for what can be called with such arguments."""

    def is_right(value: Any) -> bool:
        try:
            inspect.signature(value).bind(*positional, **keywords)
        except TypeError:  # also of what cannot be called at all
            return False
        except ValueError:  # compiled, so there is no telling
            return True
        return True

    return is_right


def is_many(kind: type) -> Callable[[Any], bool]:
    """Return a test for a sequence of such things, at least one."""

    def is_right(value: Any) -> bool:
        is_sequence = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
        return is_sequence and all(isinstance(item, kind) for item in value)

    return is_right


def is_options(value: Any) -> bool:
    """Return whether a value maps names to values."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


TEXT = (lambda value: isinstance(value, str) and value != "", "a non-empty string")


COUNT = (lambda value: isinstance(value, int) and value > 0, "a whole number above 0")


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
    """Check the spec of an open encoder and the arguments of its network.

    Raises:
        UsageError: a member that is missing or of the wrong kind.
    """
    check_members(f"encoder {name!r}, its spec", encoder.spec, SPEC, kind=EncoderSpec)
    check_members(f"encoder {name!r}, its network", encoder.network, NETWORK)


def require_tokens(spec: EncoderSpec, tokens: Any, *, num_clips: int) -> None:
    """Check what a network made of so many clips; one layer is tapped.

    Raises:
        UsageError: no `Tokens`, or tokens of another number or width than they should be.
    """
    what = f"encoder {spec.name!r}: its network returns"
    require(isinstance(tokens, Tokens), f"{what} {kind_of(tokens)}; it should return bench.Tokens.")
    shape = (num_clips, int(np.prod(tokens.grid)), spec.width)
    found = [tuple(layer.shape) for layer in tokens.layers]
    require(
        found == [shape],
        f"{what} Tokens.layers of shape {', '.join(map(str, found)) or 'nothing'}; it should be one"
        f" tensor of shape {shape}: clips, the product of Tokens.grid {tokens.grid}, spec.width.",
    )
