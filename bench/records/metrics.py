"""The part of a record that holds its number: accuracies of clips, or the frame mAP of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

ROUNDING = 1e-9  # metrics are ratios of integers in float64; anything larger is another number
SHORT_NAMES = {"top1": "top-1", "mean_ap": "mAP"}  # of the metrics that a task may have

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Part(BaseModel):
    """A frozen piece of a record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Bounds(Part):
    """The number if every row that was expected but not scored were wrong (low) or right (high)."""

    low: Fraction
    high: Fraction

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.low > self.high + ROUNDING:
            raise ValueError(f"bounds {self.low} to {self.high} are reversed")
        return self


class MetricsPart(Part):
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

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.top5 is not None and self.top5 < self.top1 - ROUNDING:
            raise ValueError(f"top5 {self.top5} is below top1 {self.top1}")
        if self.correct > self.scored:
            raise ValueError(f"{self.correct} correct out of {self.scored} scored")
        return self


class FatePart(Part):
    """What became of the rows of a ground truth or of detections, by the rules of the evaluator."""

    rows: Count
    excluded: Count
    other_classes: Count
    frames_without_truth: Count = 0
    beyond_best: Count = 0
    without_area: Count = 0
    scored: Count


class ClassPart(Part):
    """One class: its AP (None: undefined by the rules), and how many boxes were compared."""

    id: int
    name: str
    ap: Fraction | None
    num_truth: Count
    num_detections: Count


class FrameMapPart(Part):
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
    classes: tuple[ClassPart, ...]
    truth: FatePart
    detections: FatePart
    num_frames: Count
    num_silent_frames: Count
    num_wrong_by_frame: Count
    scored: Count
    expected: Count
    bounds: Bounds

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        defined = [one.ap for one in self.classes if one.ap is not None]
        mean = sum(defined) / len(defined) if defined else None
        if mean is None or abs(mean - self.mean_ap) > ROUNDING:
            raise ValueError(f"mean_ap {self.mean_ap} is not {mean}, the mean over the classes")
        if self.by_rules.get(self.rules) != self.mean_ap:
            raise ValueError(
                f"mean_ap {self.mean_ap} is not {self.by_rules.get(self.rules)}, the number of the"
                f" {self.rules} rules"
            )
        silent = {name for name, value in self.by_rules.items() if value is None}
        if silent != set(self.undefined):
            raise ValueError(
                f"rules without a number are {sorted(silent)}, but reasons are given for"
                f" {sorted(self.undefined)}"
            )
        if self.mean_ap < self.bounds.low - ROUNDING:
            raise ValueError(f"mean_ap {self.mean_ap} is below its bound {self.bounds.low}")
        return self


def _kind(value: Any) -> str:
    has = "mean_ap" in value if isinstance(value, Mapping) else isinstance(value, FrameMapPart)
    return "frame_map" if has else "accuracy"


KINDS: Mapping[str, type[Part]] = {"accuracy": MetricsPart, "frame_map": FrameMapPart}
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
