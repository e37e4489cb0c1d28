"""The record of one run: everything needed to explain its number and to run it again.

A record is one JSON file of a fixed schema. It contains the resolved configuration, identities of
weights, data, features, protocol and head, the counts behind the metric, and nothing that has to
be looked up elsewhere. `bench/records/record_files.py` puts it on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from bench.data.few_labels import share_title
from bench.data.read_manifest import MAX_CLASSES
from bench.errors import BenchError
from bench.metrics.frame_map import Fraction
from bench.metrics.frame_rows import Count
from bench.records.metrics import (
    ROUNDING,
    FrameMapPart,
    Metrics,
    MetricsPart,
    RecordPart,
    is_ratio,
    metrics_type,
)
from bench.records.run_id import RunIdentity

SCHEMA_VERSION: Literal[4] = 4

Status = Literal["complete", "suspect", "not_reportable"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Json = dict[str, JsonValue]


class RecordError(BenchError):
    """A record, or the predictions beside it, that does not hold together."""

    exit_code = 5


class TaskPart(RecordPart):
    """What was measured; `fit_split` is None where a released probe was only scored.

    `unit` says what a row is, `files` are the digests of the lists behind the splits.
    """

    name: str
    title: str
    kind: Literal["video", "image"]
    fit_split: str | None
    score_split: str
    metric: str
    num_classes: Annotated[int, Field(ge=1, le=MAX_CLASSES)]
    options: Json
    unit: Literal["clip", "box"] = "clip"
    files: dict[str, Sha256] = Field(default_factory=dict)


class ProtocolPart(RecordPart):
    """The named protocol, its digest, and a sentence for every setting that departs from it."""

    name: str
    digest: str
    deviations: tuple[str, ...]


class CardPart(RecordPart):
    """Licence of an encoder, the data sets it was `trained_on`, how much of them was labelled."""

    licence: str = "unknown"
    trained_on: tuple[str, ...] = ()
    labels: Literal["none", "some", "all", "unknown"] = "unknown"


class CheckPart(RecordPart):
    """What an encoder made of a clip that a formula draws (`bench/encoders/functional_check.py`).

    `sha256` is that of the mean token rounded to four decimals, `blocks` the means of equal parts
    of it, `spread` the standard deviation over tokens. `num_tensors` counts the tensors of the
    network, which were all loaded; of `num_norms` normalisation layers `fresh_norms` are as before
    training. `is_blind` says that the mirrored clip gave the same features.
    """

    clip: str
    sha256: Sha256
    blocks: tuple[float, ...]
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    num_tensors: Count
    num_norms: Count
    fresh_norms: tuple[str, ...] = ()
    is_blind: bool = False


class EncoderPart(RecordPart):
    """The frozen network. `spec` is the text that names it on a command line; an encoder without
    weights (raw pixels) has no `weights_sha256`. `is_floor` marks random weights or raw pixels.

    One that `takes` images saw the frames of a clip one by one; `depth` counts its layers, and a
    call of it holds `clips_per_call` clips. Older records say nothing of the last four fields.
    """

    spec: str
    name: str
    source: str
    weights_sha256: Sha256 | None
    num_parameters: Count
    width: Annotated[int, Field(ge=1)]
    num_frames: Annotated[int, Field(ge=1)]
    image_size: Annotated[int, Field(ge=1)]
    is_floor: bool
    notes: tuple[str, ...]
    takes: Literal["video", "image"] = "video"
    depth: Count | None = None
    clips_per_call: Count | None = None
    card: CardPart = CardPart()
    check: CheckPart | None = None


class PlanPart(RecordPart):
    """Clip plans as text, such as `16x8x3@4`, and the sampler that turned them into frames."""

    fit: str
    score: str
    sampler: str


class SplitPart(RecordPart):
    """What became of every sample of one split.

    Of the `listed` rows some were `used`, the media of some are `missing` (ids), and some are
    `undecodable` (reason by id). `excluded` samples are no rows, by the rule named. `expected` is
    the published number of samples, if known; `layout` says how the data set lay on disk. Of rows
    that are boxes `boxes` says how many, of how many key frames and videos, and by which rules.
    """

    digest: Sha256
    listed: Count
    expected: Count | None
    used: Count
    missing: tuple[str, ...] = ()
    undecodable: dict[str, str] = Field(default_factory=dict)
    excluded: dict[str, str] = Field(default_factory=dict)
    layout: str = ""
    boxes: Json = Field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Listed rows that could not be read, missing or undecodable."""
        return len(self.missing) + len(self.undecodable)

    def _contradictions(self) -> Iterator[str]:
        if self.used + self.lost != self.listed:
            yield (
                f"{self.used} used, {len(self.missing)} missing and {len(self.undecodable)}"
                f" undecodable rows do not make the {self.listed} listed"
            )


class DataPart(RecordPart):
    """Both splits; `fit` is None where a released probe was only scored."""

    fit: SplitPart | None
    score: SplitPart


class FeaturesPart(RecordPart):
    """Where the features came from. `decoders` counts samples by decoder; `repeated_frames` counts
    frames that short videos had to repeat, `boxes_outside` boxes that the view does not show, which
    were read at its edge; `decoded`, `encoder_calls` and `rows_from_store` say how much of the work
    was done and how much was read back.
    """

    fit_key: str | None
    score_key: str
    mode: Literal["stored", "live"]
    dtype: str
    precision: str
    decoders: dict[str, Count]
    repeated_frames: Count
    boxes_outside: Count = 0
    decoded: Count
    encoder_calls: Count
    rows_from_store: Count


class TrainLabelsPart(RecordPart):
    """Which training labels the probe saw: a fraction of each class (1.0: all), a number of `shots`
    a class, or the subset that a file lists; which draw, by which rule, how many rows, and the
    sizes of the smallest and the largest class (before unreadable rows were left out).
    """

    fraction: Annotated[float, Field(gt=0, le=1)]
    draw: Count
    used: Count
    shots: Count | None = None
    subset_sha256: Sha256 | None = None
    rule: str = ""
    least: Count | None = None
    most: Count | None = None

    @property
    def are_all(self) -> bool:
        """Whether nothing was left out of the training split."""
        return self.fraction == 1 and self.shots is None and self.subset_sha256 is None

    @property
    def repeat(self) -> int:
        """The draw; 0 where nothing is drawn, all labels being used or those of a list."""
        return 0 if self.are_all or self.subset_sha256 is not None else self.draw

    @property
    def title(self) -> str:
        """The heading of the share in a table: `5 %`, `1 shot` or `list 3f2a90b1`."""
        if self.subset_sha256 is not None:
            return f"list {self.subset_sha256[:8]}"
        return share_title(self.fraction, self.shots)


class SelectionPart(RecordPart):
    """How the head was chosen. `holdout_scores` has one entry per head (None: the head was
    dropped) or is empty where nothing had to be chosen: accuracies, or the mean AP over classes
    where rows have several labels. `score_split_scores`, if kept, are all heads on the score split:
    they show the gap to the best one and choose by the rule `best_on_score` alone. Those heads were
    fitted on `all` training rows, or on those `kept` when some were held out (`score_split_fit`).
    """

    rule: str
    holdout_rows: Count
    holdout_scores: tuple[Fraction | None, ...]
    score_split_scores: tuple[Fraction | None, ...] = ()
    score_split_fit: Literal["all", "kept"] | None = None


class ProbePart(RecordPart):
    """The probe: common settings, the settings of every head, and the head that was reported.

    `released_sha256` is the digest of a probe file that was scored as it is, None for a fitted one;
    `head_order` says what its classes were put in order by: `names DIGEST`, or `fit` with the
    digests of the training rows and of their features. None: the file has the task's order.
    """

    name: str
    reads: Literal["vector", "tokens"]
    settings: Json
    heads: tuple[Json, ...]
    selected: Count
    selection: SelectionPart
    log: Json
    released_sha256: Sha256 | None = None
    head_order: str | None = None

    def _contradictions(self) -> Iterator[str]:
        if self.selected >= len(self.heads):
            yield f"head {self.selected} is selected out of {len(self.heads)}"
        for name in ("holdout_scores", "score_split_scores"):
            scores = getattr(self.selection, name)
            if scores and len(scores) != len(self.heads):
                yield f"{len(scores)} {name} for {len(self.heads)} heads"


class TimingPart(RecordPart):
    """Wall-clock seconds by step; decoding and encoding overlap, so they may exceed the total."""

    decode_seconds: Seconds
    encode_seconds: Seconds
    fit_seconds: Seconds
    score_seconds: Seconds
    total_seconds: Seconds


class Artifact(RecordPart):
    """A file that belongs to the record; `path` is relative to the folder of the record."""

    path: str
    sha256: Sha256


class ArtifactsPart(RecordPart):
    """Files written with the record; predictions of boxes are scored against the `truth`."""

    predictions: Artifact | None
    probe: Artifact | None
    truth: Artifact | None = None


@dataclass(frozen=True, kw_only=True)
class Optimism:
    """What choosing among `heads` on the scored rows themselves would have added.

    `honest` is the score of the head chosen on held-out training rows and `best` that of the best
    head, both on the scored rows and from the same fits, as fractions.
    """

    honest: float
    best: float
    heads: int

    @property
    def gap(self) -> float:
        """How far the best head is above the chosen one, never below 0."""
        return self.best - self.honest


class Record(RecordPart):
    """The immutable record of one run; `Record.model_validate` checks that it holds together.

    `seal` is a digest of everything else in the file (`seal_of`); records of before have none.
    """

    schema_version: Literal[4] = SCHEMA_VERSION
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    status: Status
    reasons: tuple[str, ...]
    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    config: Json
    task: TaskPart
    protocol: ProtocolPart
    encoder: EncoderPart
    plan: PlanPart
    data: DataPart
    features: FeaturesPart
    train_labels: TrainLabelsPart | None
    probe: ProbePart
    metrics: Metrics
    timing: TimingPart
    environment: Json
    artifacts: ArtifactsPart
    seal: Sha256 | None = None

    def _contradictions(self) -> Iterator[str]:
        metrics, score, fit = self.metrics, self.data.score, self.data.fit
        totals = (score.listed, score.used)
        key = RunIdentity(
            config=self.config,
            feature_keys=[self.features.fit_key, self.features.score_key],
            data_digests=[fit.digest if fit else None, score.digest],
            protocol_digest=self.protocol.digest,
            probe={"settings": self.probe.settings, "heads": list(self.probe.heads)},
            released_sha256=self.probe.released_sha256,
            head_order=self.probe.head_order,
            mode=self.features.mode,
            files=self.task.files,
        ).id
        if (told := self.config.get("protocol", self.protocol.name)) != self.protocol.name:
            yield f"config.protocol is {told!r}, but protocol.name is {self.protocol.name!r}"
        if (self.task.unit == "box") != isinstance(metrics, FrameMapPart):
            yield f"task.unit is {self.task.unit!r}, which metrics are not of"
        if self.id != key:
            yield f"config, features, data and probe give the id {key}, the record says {self.id}"
        if (self.status == "complete") == bool(self.reasons):
            yield f"status {self.status!r} does not go with reasons {list(self.reasons)}"
        if score.used != metrics.scored:
            yield f"{metrics.scored} rows scored, but data.score.used is {score.used}"
        if metrics.expected != (score.expected if score.expected is not None else score.listed):
            yield (
                f"expected {metrics.expected} is not the published, nor else the listed number of"
                " rows"
            )
        if not isinstance(metrics, metrics_type(self.task.metric)):
            yield f"task.metric is {self.task.metric!r}, which metrics do not hold"
        elif isinstance(metrics, FrameMapPart):
            if self.artifacts.predictions and not self.artifacts.truth:
                yield "predictions of boxes need artifacts.truth, what they are scored against"
            high = metrics.bounds.high
            if metrics.mean_ap > high + ROUNDING and self.counts_lost:
                yield f"mean_ap {metrics.mean_ap} is above its bound {high}"
        elif not any(is_ratio(metrics.top1, metrics.correct, n) for n in totals):
            yield f"top1 {metrics.top1} is not {metrics.correct} correct of {score.listed}"
        if (fit is None) != (self.train_labels is None):
            yield "train_labels and data.fit must be given together"
        elif fit and self.train_labels and fit.used != self.train_labels.used:
            yield f"train_labels.used is {self.train_labels.used}, data.fit.used is {fit.used}"

    @property
    def headline(self) -> float:
        """The number of the run: the fraction that the metric of its task is."""
        number = self.value(self.task.metric)
        assert number is not None, self.task.metric
        return number

    @property
    def chance(self) -> float | None:
        """What guessing gives; None where that is not defined, as for a mean AP."""
        return self.metrics.chance if isinstance(self.metrics, MetricsPart) else None

    def value(self, metric: str) -> float | None:
        """Return the fraction called `metric`; None where the record has none."""
        found: float | None = getattr(self.metrics, metric, None)
        return found

    @property
    def counts_lost(self) -> bool:
        """Whether rows that could not be read are in the number, as wrong ones; else left out."""
        return self.config.get("on_unreadable") != "skip"

    @property
    def num_counted(self) -> int:
        """How many rows the number is over."""
        return self.data.score.listed if self.counts_lost else self.data.score.used

    @property
    def optimism(self) -> Optimism | None:
        """The gap between honest selection and best-on-validation; None where it is not known."""
        chosen, selected = self.probe.selection, self.probe.selected
        scores = chosen.score_split_scores
        honest = scores[selected] if scores else None
        known = [score for score in scores if score is not None]
        if chosen.rule != "honest" or honest is None or len(known) < 2:
            return None
        return Optimism(honest=honest, best=max(known), heads=len(known))

    def to_json(self) -> str:
        """Return the text of the record file; equal records give equal bytes."""
        return self.model_dump_json(indent=2) + "\n"

    def outcome(self) -> dict[str, Any]:
        """Return what was measured, without what differs when the same run is repeated.

        Left out: time stamp, timing, environment, how much of the work the store saved, the check
        of the encoder, which machines round differently, and the seal over all of it.
        """
        saved = {"decoded", "encoder_calls", "rows_from_store"}
        passing = {"created": True, "timing": True, "environment": True, "seal": True}
        exclude: Any = {**passing, "features": saved, "encoder": {"check"}}
        return self.model_dump(mode="json", exclude=exclude)


def seal_of(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 over all fields of a record's file but its seal."""
    rest = {key: value for key, value in fields.items() if key != "seal"}
    marks = (",", ":")
    text = json.dumps(rest, sort_keys=True, separators=marks, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(result: Record) -> Record:
    """Return the record with its seal."""
    return result.model_copy(update={"seal": seal_of(result.model_dump(mode="json"))})


def utc_now() -> str:
    """Return the time of day as records spell it, such as `2025-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
