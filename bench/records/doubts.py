"""Why a number should not be trusted, from its own counts: a run asks this of itself, and
`bench verify` of its record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.intervals import wilson
from bench.records.metrics import Metrics, MetricsPart
from bench.types import IntArray


def not_above_chance(metrics: Metrics, total: int, *, is_floor: bool) -> str | None:
    """Return a sentence if an accuracy over `total` rows is not above chance, else None.

    A floor may be at chance, and mean AP has no chance level.
    """
    if is_floor or not isinstance(metrics, MetricsPart):
        return None
    if not total:
        return "no row was scored"
    interval = wilson(metrics.correct, total)
    if interval.low > metrics.chance:
        return None
    return (
        f"{metrics.correct} of {total} right ({percent(metrics.correct / total)}, 95 % interval"
        f" {percent(interval.low)} to {percent(interval.high)}) is not above chance,"
        f" {percent(metrics.chance)}"
    )


def constant(predicted: IntArray, labels: IntArray) -> str | None:
    """Return a sentence if every row of several classes is predicted as one class, else None.

    Both are int64 `[rows]`, over the scored rows.
    """
    if len(predicted) < 2 or len(np.unique(labels)) < 2 or (predicted != predicted[0]).any():
        return None
    return f"every row is predicted as class {predicted[0]}"


def not_reportable(config: Mapping[str, Any], environment: Mapping[str, Any]) -> list[str]:
    """Return why a run is not reportable, from the config and environment of its record."""
    reasons = []
    if config.get("limit") is not None:
        reasons.append(f"limited to {config['limit']} rows per split")
    if environment.get("git_dirty"):
        reasons.append("the code differs from its commit")
    return reasons


def percent(value: float) -> str:
    """Format a fraction in percent with at most one decimal."""
    return f"{np.round(100 * value, 1):g} %"
