"""Check a probe's members, and what it returns for a few random rows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch

from bench import registry
from bench.contracts import (
    HEADS,
    OPTIONS,
    TEXT,
    Members,
    check_members,
    is_options,
    kind_of,
    require,
    takes,
)
from bench.errors import UsageError
from bench.types import Batch, IntArray, Probe, Reads, Silent

log = logging.getLogger(__name__)

PROBE: Members = {
    "name": TEXT,
    "reads": (lambda value: value in get_args(Reads), "'vector' or 'tokens'"),
    "heads": HEADS,
    "settings": OPTIONS,
    "only": (takes(None), "a method only(index)"),
    "fit": (
        takes(None, seed=None, device=None, progress=None),
        "a method fit(source, *, seed, device, progress)",
    ),
    "restore": (takes(None, None), "a method restore(tensors, facts)"),
    "read_released": (takes(None), "a method read_released(path)"),
}

FITTED: Members = {
    "heads": HEADS,
    "log": OPTIONS,
    "probabilities": (takes(None), "a method probabilities(x)"),
    "state": (takes(), "a method state()"),
}

# A trial fit is quick, but has enough rows for ten nearest neighbours or a few folds.
TRIAL_ROWS, TRIAL_CLASSES, TRIAL_TOKENS = 32, 8, 4
TOLERANCE = 0.01  # of a probability, which may be computed or saved in half precision


def require_probe(name: str, probe: Any) -> None:
    """Check the members of a probe, and that `only` gives one head.

    Raises:
        UsageError: a member is missing or of the wrong kind.
    """
    check_members(f"probe {name!r}", probe, PROBE)
    alone = getattr(probe.only(0), "heads", None)
    require(
        isinstance(alone, Sequence) and [*alone] == [probe.heads[0]],
        f"probe {name!r}: {type(probe).__name__}.only(0) has the heads {alone}; it should be the"
        " same probe with only heads[0].",
    )


def try_fit(name: str, probe: Probe, *, width: int, num_classes: int, many_labels: bool) -> None:
    """Fit a user-defined probe on a few random rows of that width, and check its output.

    A failing fit is only a warning, since some probes reject so few rows. Built-in probes are
    skipped, since they have tests.

    Raises:
        UsageError: `fit`, `probabilities`, `state` or `restore` returns something wrong.
    """
    if registry.is_ours(type(probe).__module__):
        return
    rows = _random_rows(probe.reads, width, min(num_classes, TRIAL_CLASSES), many_labels)
    with torch.random.fork_rng(devices=[]):  # so that the trial does not change the real fit
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
    require(
        first.shape == second.shape
        and torch.allclose(first, second, atol=TOLERANCE, equal_nan=True),
        f"probe {name!r}: {type(probe).__name__}.restore gives other probabilities; it should"
        f" rebuild the probe whose {type(fitted).__name__}.state it gets.",
    )


def _scores(what: str, fitted: Any, probe: Probe, rows: _RandomRows) -> torch.Tensor:
    """Check a fitted probe and return its probabilities of all rows."""
    check_members(what, fitted, FITTED)
    require(
        all(head in probe.heads for head in fitted.heads),
        f"{what}: {type(fitted).__name__}.heads should only hold heads of the probe.",
    )
    scores = fitted.probabilities(rows.x)
    found = kind_of(scores)
    is_right = isinstance(scores, torch.Tensor)
    shape = (len(fitted.heads), len(rows), rows.num_classes)
    if is_right:
        found = f"numbers of shape {tuple(scores.shape)}"
        sums = torch.ones(1) if rows.labels.ndim == 2 else scores.double().sum(dim=-1)
        # A fit may diverge on random features; NaN is allowed.
        is_one = bool(((sums - 1).abs() < TOLERANCE)[~sums.isnan()].all())
        is_right = tuple(scores.shape) == shape and not bool((scores < 0).any()) and is_one
    require(
        is_right,
        f"{what}: {type(fitted).__name__}.probabilities gives {found}; it should give probabilities"
        f" [heads, rows, classes], here {shape}, that sum to 1 if a row has one label.",
    )
    return scores  # type: ignore[no-any-return]


def _state(what: str, state: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the state of a fitted probe after a round trip through JSON."""
    sentence = f"{what} gives {kind_of(state)}; it should give a dict of tensors and one of facts."
    require(isinstance(state, tuple) and len(state) == 2, sentence)
    tensors, facts = state
    require(is_options(tensors) and is_options(facts), sentence)
    require(all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()), sentence)
    try:
        return tensors, json.loads(json.dumps(facts, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{what} gives facts that are not JSON-able ({error}); they should be strings, numbers,"
            " lists and dicts."
        ) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class _RandomRows:
    """An in-memory `FeatureSource`, with one or several labels per row."""

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

    def subset(self, rows: IntArray) -> _RandomRows:
        return replace(self, x=self.x[rows], labels=self.labels[rows])


def _random_rows(reads: Reads, width: int, num_classes: int, many_labels: bool) -> _RandomRows:
    tokens = () if reads == "vector" else (TRIAL_TOKENS,)
    x = np.random.default_rng(0).standard_normal((TRIAL_ROWS, 1, *tokens, width), dtype=np.float32)
    labels = np.arange(TRIAL_ROWS, dtype=np.int64) % num_classes
    if many_labels:
        labels = np.eye(num_classes, dtype=np.int64)[labels]
    return _RandomRows(x=torch.from_numpy(x), labels=labels, num_classes=num_classes, reads=reads)
