"""The part of a record that holds its number: accuracies of clips, or the frame mAP of boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, model_validator

from bench.metrics.frame_map import ClassScore, Fraction
from bench.metrics.frame_rows import Count, Fate

ROUNDING = 1e-9  # metrics are ratios of integers in float64; anything larger is another number
SHORT_NAMES = {"top1": "top-1", "mean_ap": "mAP"}  # of the metrics that a task may have


class RecordPart(BaseModel):
    """A frozen piece of a record that refuses fields it does not know.

    A record that breaks one of the rules in `_contradictions` cannot be read; what a whole one may
    still get wrong is for `bench verify` to say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> Iterator[str]:
        """Yield a sentence for every pair of fields that cannot both be true."""
        return iter(())


class Bounds(RecordPart):
    """The number if every row that was expected but not scored were wrong (low) or right (high)."""

    low: Fraction
    high: Fraction

    def _contradictions(self) -> Iterator[str]:
        if self.low > self.high + ROUNDING:
            yield f"bounds {self.low} to {self.high} are reversed"


class MetricsPart(RecordPart):
    """Accuracies as fractions. `top1` is `correct` over the listed rows, an unreadable row being
    wrong, or over the scored rows where the run was told to skip unreadable ones.

    `expected` is the published number of rows, or the listed one where none is published. `chance`
    is uniform guessing, `majority` always naming the most frequent class of the score split.
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
    """Frame mAP at IoU 0.5 as a fraction, by the `rules` named, and what it was made of.

    `by_rules` has the number by the rules of every evaluator; where one has none, `undefined` says
    why. `classes`, `truth`, `detections` and the frames are those of `rules`. `scored` and
    `expected` count boxes. Where boxes were not scored nothing is found on their key frames, or
    they are left out where the run was told to skip them. The bounds are the number over all key
    frames if, on these, all of the truth were found first (high), or every box were wrong in every
    class with the highest scores (low). A number that skips may be above the high one: two true
    boxes of one class in one place, of which only one can be found, may be what it leaves out.
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
    scored: Count
    expected: Count
    bounds: Bounds

    def _contradictions(self) -> Iterator[str]:
        defined = [one.ap for one in self.classes if one.ap is not None]
        mean = sum(defined) / len(defined) if defined else None
        if mean is None or abs(mean - self.mean_ap) > ROUNDING:
            yield f"mean_ap {self.mean_ap} is not {mean}, the mean over the classes"
        if (own := self.by_rules.get(self.rules)) != self.mean_ap:
            yield f"mean_ap {self.mean_ap} is not {own}, the number of the {self.rules} rules"
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
    """Return which part holds the number of a task's metric."""
    return FrameMapPart if metric == "mean_ap" else MetricsPart


def is_ratio(value: float, count: int, total: int) -> bool:
    """Say whether `value` is `count` / `total` up to rounding."""
    return abs(value * total - count) <= ROUNDING * max(1, total)
