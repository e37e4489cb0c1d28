"""The metrics of a record: accuracies of clips, or the frame mAP of boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, model_validator

from bench.metrics.frame_map import ClassScore, Fraction
from bench.metrics.frame_rows import Count, Fate

ROUNDING = 1e-9  # metrics are ratios of integers in float64; a larger gap is a different number
SHORT_NAMES = {"top1": "top-1", "mean_ap": "mAP"}  # of the metrics of tasks


class RecordPart(BaseModel):
    """A frozen part of a record that rejects unknown fields.

    A record that breaks a rule of `_contradictions` cannot be read; `bench verify` checks the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> Iterator[str]:
        """Yield a sentence for every pair of contradictory fields."""
        return iter(())


class Bounds(RecordPart):
    """The number if all rows expected but not scored were wrong (low) or right (high)."""

    low: Fraction
    high: Fraction

    def _contradictions(self) -> Iterator[str]:
        if self.low > self.high + ROUNDING:
            yield f"bounds {self.low} to {self.high} are reversed"


class MetricsPart(RecordPart):
    """Accuracies as fractions. `top1` is `correct` over the listed rows (unreadable ones count as
    wrong), or over the scored rows if the run skips unreadable ones.

    `expected` is the published number of rows, else the listed one. `chance` is that of uniform
    guessing, `majority` that of always predicting the most frequent class of the score split.
    """

    top1: Fraction
    top5: Fraction | None
    mean_per_class: Fraction
    correct: Count
    scored: Count
    expected: Count
    bounds: Bounds
    chance: Fraction
    majority: Fraction

    def _contradictions(self) -> Iterator[str]:
        if self.top5 is not None and self.top5 < self.top1 - ROUNDING:
            yield f"top5 {self.top5} is below top1 {self.top1}"
        if self.correct > self.scored:
            yield f"{self.correct} correct out of {self.scored} scored"


class FrameMapPart(RecordPart):
    """Frame mAP at IoU 0.5 as a fraction, by the given `rules`, with its components.

    `by_rules` has the number by every evaluator's rules; `undefined` says why one has none.
    `classes`, `truth`, `detections` and the frames are those of `rules`; `num_clipped` boxes were
    beyond their frame by rounding, and clipped. `scored` and `expected` count boxes. Key frames of
    unscored boxes have no detections, or are left out if the run skips them. The bounds are over
    all key frames, if the unscored ones had all of the truth ranked first (high), or every box
    wrong in every class with the highest scores (low). A number that skips may
    exceed the high bound: it may leave out two boxes of one class in one place, of which only one
    can be found.
    """

    mean_ap: Fraction
    rules: str
    by_rules: dict[str, Fraction | None]
    undefined: dict[str, str] = {}
    classes: tuple[ClassScore, ...]
    truth: Fate
    detections: Fate
    num_frames: Count
    num_silent_frames: Count
    num_wrong_by_frame: Count
    num_clipped: Count = 0
    scored: Count
    expected: Count
    bounds: Bounds

    def _contradictions(self) -> Iterator[str]:
        defined = [one.ap for one in self.classes if one.ap is not None]
        mean = sum(defined) / len(defined) if defined else None
        if mean is None or abs(mean - self.mean_ap) > ROUNDING:
            yield f"mean_ap {self.mean_ap} is not {mean}, the mean over the classes"
        if (number := self.by_rules.get(self.rules)) != self.mean_ap:
            yield f"mean_ap {self.mean_ap} is not {number}, the number by the {self.rules} rules"
        silent = {name for name, value in self.by_rules.items() if value is None}
        if silent != set(self.undefined):
            yield (
                f"rules without a number are {sorted(silent)}, but reasons are given for"
                f" {sorted(self.undefined)}"
            )
        if self.mean_ap < self.bounds.low - ROUNDING:
            yield f"mean_ap {self.mean_ap} is below its bound {self.bounds.low}"


def _kind(value: Any) -> str:
    has = "mean_ap" in value if isinstance(value, Mapping) else isinstance(value, FrameMapPart)
    return "frame_map" if has else "accuracy"


KINDS: Mapping[str, type[RecordPart]] = {"accuracy": MetricsPart, "frame_map": FrameMapPart}
Metrics = Annotated[
    Annotated[MetricsPart, Tag("accuracy")] | Annotated[FrameMapPart, Tag("frame_map")],
    Discriminator(_kind),
]


def metrics_type(metric: str) -> type[MetricsPart] | type[FrameMapPart]:
    """Return the type of metrics that has a task's metric."""
    return FrameMapPart if metric == "mean_ap" else MetricsPart


def is_ratio(value: float, count: int, total: int) -> bool:
    """Whether `value` is `count` / `total` up to rounding."""
    return abs(value * total - count) <= ROUNDING * max(1, total)
