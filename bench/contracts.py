"""What an encoder, a task, a probe and a table must provide, checked before anything is decoded.

A member that is missing or of the wrong kind ends in one sentence that names the class, the member
and what it should be, not in a traceback after hours of fitting.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch

from bench import registry
from bench.data.manifest import Manifest, Task
from bench.errors import UsageError
from bench.publish.leaderboard import Column, Leaderboard
from bench.types import (
    Batch,
    ClipPlan,
    EncoderSpec,
    Head,
    IntArray,
    Kind,
    Probe,
    Reads,
    Silent,
    Tokens,
)

log = logging.getLogger(__name__)

# For each member a test, and in words what it should be.
Members = Mapping[str, tuple[Callable[[Any], bool], str]]

# A trial fit is quick, and yet has enough rows for a vote of ten neighbours or a few folds.
TRIAL_ROWS, TRIAL_CLASSES, TRIAL_TOKENS = 32, 8, 4
TOLERANCE = 0.01  # of a probability, which may have been computed or kept in half precision


def require_encoder(name: str, encoder: Any) -> None:
    """Check the spec of an open encoder and the arguments of its network.

    Raises:
        UsageError: a member that is missing or of the wrong kind.
    """
    _check(f"encoder {name!r}, its spec", encoder.spec, SPEC, kind=EncoderSpec)
    _check(f"encoder {name!r}, its network", encoder.network, NETWORK)


def require_tokens(spec: EncoderSpec, tokens: Any, *, num_clips: int) -> None:
    """Check what a network made of so many clips; one layer is tapped.

    Raises:
        UsageError: no `Tokens`, or tokens of another number or width than they should be.
    """
    what = f"encoder {spec.name!r}: its network returns"
    _require(isinstance(tokens, Tokens), f"{what} {_kind(tokens)}; it should return bench.Tokens.")
    shape = (num_clips, int(np.prod(tokens.grid)), spec.width)
    found = [tuple(layer.shape) for layer in tokens.layers]
    _require(
        found == [shape],
        f"{what} Tokens.layers of shape {', '.join(map(str, found)) or 'nothing'}; it should be one"
        f" tensor of shape {shape}: clips, the product of Tokens.grid {tokens.grid}, spec.width.",
    )


def require_task(name: str, task: Any) -> None:
    """Check a task and both of its splits; those of this distribution have tests.

    Raises:
        UsageError: a missing member, one of the wrong kind, or splits that do not match.
    """
    if registry.is_ours(registry.find("tasks", name).function.__module__):
        return
    _check(f"task {name!r}", task, TASK, kind=Task)
    for split, manifest in (("fit", task.fit), ("score", task.score)):
        what = f"task {name!r}, {split}"
        _check(what, manifest, MANIFEST)
        labels, rows, classes = manifest.labels, len(manifest.ids), len(manifest.classes)
        last = classes - 1 if labels.ndim == 1 else 1
        for is_right, member, words in (
            (len(manifest.media) == rows, "media", f"a file for each of the {rows} ids"),
            (len(labels) == rows, "labels", f"a row for each of the {rows} ids"),
            (labels.shape[1:] in ((), (classes,)), "labels", f"{classes} columns, one per class"),
            (labels.min() >= 0 and labels.max() <= last, "labels", f"numbers from 0 to {last}"),
        ):
            _require(is_right, f"{what}: Manifest.{member} should hold {words}.")
    for member in ("classes", "kind"):
        _require(
            [*getattr(task.fit, member)] == [*getattr(task.score, member)],
            f"task {name!r}: Manifest.{member} should be the same in fit and score.",
        )


def require_probe(name: str, probe: Any) -> None:
    """Check the members of a probe, and that `only` gives one head.

    Raises:
        UsageError: a member that is missing or of the wrong kind.
    """
    _check(f"probe {name!r}", probe, PROBE)
    alone = getattr(probe.only(0), "heads", None)
    _require(
        isinstance(alone, Sequence) and [*alone] == [probe.heads[0]],
        f"probe {name!r}: {type(probe).__name__}.only(0) has the heads {alone}; it should be the"
        " same probe with heads[0] alone.",
    )


def require_board(name: str, board: Any) -> None:
    """Check a table; how it is written may be left out.

    Raises:
        UsageError: a member that is missing or of the wrong kind.
    """
    _check(f"board {name!r}", board, BOARD, kind=Leaderboard)
    if getattr(board, "write", None) is not None:
        _check(f"board {name!r}", board, WRITER)


def try_fit(name: str, probe: Probe, *, width: int, num_classes: int, many_labels: bool) -> None:
    """Fit a probe of the user's own on a few random rows of that width, and check what it gives.

    A fit that fails here is only a warning, since some refuse so few rows. Probes of this
    distribution are skipped, since they have tests.

    Raises:
        UsageError: what `fit`, `probabilities`, `state` or `restore` gives is of the wrong kind.
    """
    if registry.is_ours(type(probe).__module__):
        return
    rows = _random_rows(probe.reads, width, min(num_classes, TRIAL_CLASSES), many_labels)
    with torch.random.fork_rng(devices=[]):  # the real fit draws as if there had been no trial
        try:
            fitted = probe.fit(rows, seed=0, device=torch.device("cpu"), progress=Silent())
        except Exception as error:
            log.warning(
                "probe %r: a trial fit on %d random rows failed (%s: %s); the real fit follows",
                name,
                len(rows),
                type(error).__name__,
                error,
            )
            return
        first = _scores(f"probe {name!r}, what fit returns", fitted, probe, rows)
        tensors, facts = _state(f"probe {name!r}: {type(fitted).__name__}.state", fitted.state())
        restored = probe.restore(tensors, facts)
        second = _scores(f"probe {name!r}, what restore returns", restored, probe, rows)
    _require(
        first.shape == second.shape
        and torch.allclose(first, second, atol=TOLERANCE, equal_nan=True),
        f"probe {name!r}: {type(probe).__name__}.restore gives other probabilities; it should"
        f" rebuild what {type(fitted).__name__}.state was taken of.",
    )


def _scores(what: str, fitted: Any, probe: Probe, rows: _Rows) -> torch.Tensor:
    """Check what was fitted and return its probabilities of all rows."""
    _check(what, fitted, FITTED)
    _require(
        all(head in probe.heads for head in fitted.heads),
        f"{what}: {type(fitted).__name__}.heads should hold heads of the probe alone.",
    )
    scores = fitted.probabilities(rows.x)
    found = _kind(scores)
    is_right = isinstance(scores, torch.Tensor)
    shape = (len(fitted.heads), len(rows), rows.num_classes)
    if is_right:
        found = f"numbers of shape {tuple(scores.shape)}"
        sums = torch.ones(1) if rows.labels.ndim == 2 else scores.double().sum(dim=-1)
        # Random features may make a fit diverge, which is not this check's concern.
        is_one = bool(((sums - 1).abs() < TOLERANCE)[~sums.isnan()].all())
        is_right = tuple(scores.shape) == shape and not bool((scores < 0).any()) and is_one
    _require(
        is_right,
        f"{what}: {type(fitted).__name__}.probabilities gives {found}; it should give probabilities"
        f" [heads, rows, classes], here {shape}, that add up to 1 where a row has one label.",
    )
    return scores  # type: ignore[no-any-return]


def _state(what: str, state: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the state of what was fitted as it comes back from its files."""
    sentence = f"{what} gives {_kind(state)}; it should give a dict of tensors and one of facts."
    _require(isinstance(state, tuple) and len(state) == 2, sentence)
    tensors, facts = state
    _require(_is_options(tensors) and _is_options(facts), sentence)
    _require(all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()), sentence)
    try:
        return tensors, json.loads(json.dumps(facts, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{what} gives facts that JSON cannot hold ({error}); they should be strings, numbers,"
            " lists and dicts."
        ) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """A `FeatureSource` in memory, with labels of either kind."""

    x: torch.Tensor
    labels: IntArray
    num_classes: int
    reads: Reads
    groups: None = None

    @property
    def width(self) -> int:
        return self.x.shape[-1]

    def __len__(self) -> int:
        return len(self.x)

    def epoch(self, number: int, *, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
        rows = torch.arange(len(self))
        if seed is not None:
            rows = rows[np.random.default_rng((seed, number)).permutation(len(self))]
        for part in torch.split(rows, batch_size):
            yield Batch(x=self.x[part], y=torch.from_numpy(self.labels)[part], row=part)

    def subset(self, rows: IntArray) -> _Rows:
        return replace(self, x=self.x[rows], labels=self.labels[rows])


def _random_rows(reads: Reads, width: int, num_classes: int, many_labels: bool) -> _Rows:
    tokens = () if reads == "vector" else (TRIAL_TOKENS,)
    x = np.random.default_rng(0).standard_normal((TRIAL_ROWS, 1, *tokens, width), dtype=np.float32)
    labels = np.arange(TRIAL_ROWS, dtype=np.int64) % num_classes
    if many_labels:
        labels = np.eye(num_classes, dtype=np.int64)[labels]
    return _Rows(x=torch.from_numpy(x), labels=labels, num_classes=num_classes, reads=reads)


# --------------------------------------------------------------------------------------- members
def _require(is_right: bool, sentence: str) -> None:
    if not is_right:
        raise UsageError(sentence)


def _check(what: str, made: Any, members: Members, kind: type = object) -> None:
    should = "not be" if kind is object else f"be of the class bench.{kind.__name__}"
    is_made = made is not None and isinstance(made, kind)
    _require(is_made, f"{what} is {_kind(made)}; it should {should}.")
    for member, (is_right, words) in members.items():
        found = "is missing"
        if hasattr(made, member):
            value = getattr(made, member)
            if is_right(value):
                continue
            found = f"is {value!r}" if len(repr(value)) < 60 else f"is {_kind(value)}"
            if inspect.isroutine(value):
                found = f"takes {inspect.signature(value)}"
        raise UsageError(f"{what}: {type(made).__name__}.{member} {found}; it should be {words}.")


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _takes(*positional: None, **keywords: None) -> Callable[[Any], bool]:
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


def _is_many(kind: type) -> Callable[[Any], bool]:
    """Return a test for a sequence of such things, at least one."""

    def is_right(value: Any) -> bool:
        is_sequence = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
        return is_sequence and all(isinstance(item, kind) for item in value)

    return is_right


def _is_options(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_labels(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.int64 and value.ndim in (1, 2)


_TEXT = (lambda value: isinstance(value, str) and value != "", "a non-empty string")
_COUNT = (lambda value: isinstance(value, int) and value > 0, "a whole number above 0")
_OPTIONS = (_is_options, "a mapping from names to values")
_HEADS = (_is_many(Head), "a non-empty sequence of bench.Head")
_TEXTS = (_is_many(str), "a non-empty sequence of strings")
_KIND = (lambda value: value in get_args(Kind), "'video' or 'image'")
_MANIFEST = (lambda value: isinstance(value, Manifest), "a bench.Manifest")
_PLAN = (lambda value: isinstance(value, ClipPlan), "a bench.ClipPlan")

SPEC: Members = {
    "name": _TEXT,
    **dict.fromkeys(("width", "depth", "num_heads", "num_frames", "image_size"), _COUNT),
    **dict.fromkeys(("patch_size", "tubelet_size", "clips_per_call"), _COUNT),
    "source": _TEXT,
    "takes": _KIND,
}
NETWORK: Members = {
    "forward": (
        _takes(None, keep=None, layers=None),
        "a method forward(pixels, *, keep=None, layers=None)",
    ),
}
TASK: Members = {
    **dict.fromkeys(("name", "title"), _TEXT),
    **dict.fromkeys(("fit", "score"), _MANIFEST),
    **dict.fromkeys(("fit_plan", "score_plan"), _PLAN),
    "metric": (lambda value: value in ("top1", "mean_ap"), "'top1' or 'mean_ap'"),
    **dict.fromkeys(("options", "files", "probe_options"), _OPTIONS),
}
MANIFEST: Members = {
    **dict.fromkeys(("name", "split"), _TEXT),
    "kind": _KIND,
    "ids": _TEXTS,
    "media": (lambda value: hasattr(value, "__len__"), "a sequence of the files behind the ids"),
    "classes": _TEXTS,
    "labels": (_is_labels, "int64 [rows], or 0 and 1 int64 [rows, classes]"),
}
PROBE: Members = {
    "name": _TEXT,
    "reads": (lambda value: value in get_args(Reads), "'vector' or 'tokens'"),
    "heads": _HEADS,
    "settings": _OPTIONS,
    "only": (_takes(None), "a method only(index)"),
    "fit": (
        _takes(None, seed=None, device=None, progress=None),
        "a method fit(source, *, seed, device, progress)",
    ),
    "restore": (_takes(None, None), "a method restore(tensors, facts)"),
    "read_released": (_takes(None), "a method read_released(path)"),
}
FITTED: Members = {
    "heads": _HEADS,
    "log": _OPTIONS,
    "probabilities": (_takes(None), "a method probabilities(x)"),
    "state": (_takes(), "a method state()"),
}
BOARD: Members = {
    **dict.fromkeys(("name", "title"), _TEXT),
    "columns": (
        lambda value: not value or _is_many(Column)(value),
        "a sequence of bench.Column",
    ),
}
WRITER: Members = {
    "write": (
        _takes(None, None, None, include_unreportable=None),
        "a function (board, records, folder, *, include_unreportable)",
    ),
}
