"""The record of one run: everything needed to explain its number and to run it again.

A record is one self-contained JSON file of a fixed schema: the resolved configuration, the
identities of weights, data, features, protocol and head, and the counts behind the metric.
`bench/records/record_files.py` reads and writes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator

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

SCHEMA_VERSION: Literal[5] = 5

Status = Literal["complete", "suspect", "not_reportable"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Json = dict[str, JsonValue]


class RecordError(BenchError):
    """A record or its predictions are inconsistent."""

    exit_code = 5


class TaskPart(RecordPart):
    """What was measured; `fit_split` is None if a released probe was only scored.

    `unit` is what a row is, `files` are the digests of the lists behind the splits.
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
    """The protocol, its digest, and a sentence for every setting that deviates from it.

    `departures` are sentences on where the protocol, as it was run, is not what its source is.
    """

    name: str
    digest: str
    deviations: tuple[str, ...]
    departures: tuple[str, ...] = ()


class CardPart(RecordPart):
    """Licence of an encoder, the data sets it was `trained_on`, how much of them was labelled."""

    licence: str = "unknown"
    trained_on: tuple[str, ...] = ()
    labels: Literal["none", "some", "all", "unknown"] = "unknown"


class CheckPart(RecordPart):
    """An encoder's output for a synthetic clip (`bench/encoders/functional_check.py`).

    `sha256` is that of the mean token rounded to four decimals, `blocks` the means of equal parts
    of it, `spread` the standard deviation over tokens, `gflops` the computation per clip (2 per
    multiply-add; None: not counted). All `num_tensors` tensors of the network were loaded; of
    `num_norms` normalisation layers `fresh_norms` look untrained. `is_blind`: the mirrored clip
    gave the same features.
    """

    clip: str
    sha256: Sha256
    blocks: tuple[float, ...]
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    num_tensors: Count
    num_norms: Count
    fresh_norms: tuple[str, ...] = ()
    is_blind: bool = False
    gflops: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None


class EncoderPart(RecordPart):
    """The frozen network. `spec` is its name on the command line; an encoder without weights (raw
    pixels) has no `weights_sha256`. `is_floor` marks random weights or raw pixels.

    One that `takes` images encodes the frames of a clip one by one; `depth` is its number of
    layers, `clips_per_call` its batch size. Older records lack the last four fields.
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
    """What happened to every sample of one split.

    Of the `listed` rows, some were `used`, some are `missing` (ids) and some are `undecodable`
    (reason by id). `excluded` samples are not rows (rule by id). `expected` is the published number
    of samples, if known, `layout` the layout of the data set on disk. If rows are boxes, `boxes`
    has the numbers of boxes, key frames and videos, and the rules. `notes` are sentences on what
    else was found, such as files that were not read.
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
    notes: tuple[str, ...] = ()

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
    """Both splits; `fit` is None if a released probe was only scored."""

    fit: SplitPart | None
    score: SplitPart


class FeaturesPart(RecordPart):
    """Where the features came from. `decoders` counts samples by decoder, `repeated_frames` the
    padding of short videos, `boxes_outside` boxes outside the view, which were read at its edge.
    `decoded`, `encoder_calls` and `rows_from_store` count the work done and the rows read back.
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
    """Which training labels the probe saw: a fraction of each class (1.0: all), `shots` per class,
    or the subset listed in a file; which draw, by which rule, how many rows, and the sizes of the
    smallest and the largest class (before unreadable rows were left out).
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
        """The draw; 0 if nothing is drawn (all labels, or those of a list)."""
        return 0 if self.are_all or self.subset_sha256 is not None else self.draw

    @property
    def title(self) -> str:
        """The heading of the share in a table: `5 %`, `1 shot` or `list 3f2a90b1`."""
        if self.subset_sha256 is not None:
            return f"list {self.subset_sha256[:8]}"
        return share_title(self.fraction, self.shots)


class SelectionPart(RecordPart):
    """How the head was chosen. `holdout_scores` has one entry per head (None: dropped), or is
    empty if there was nothing to choose: accuracies, or mean AP over classes if rows have several
    labels. `score_split_scores`, if any, are those of all heads on the score split: they show the
    gap to the best one, and decide only by the rule `best_on_score`. Those heads were fitted on
    `all` training rows, or on those `kept` when some were held out (`score_split_fit`).
    """

    rule: str
    holdout_rows: Count
    holdout_scores: tuple[Fraction | None, ...]
    score_split_scores: tuple[Fraction | None, ...] = ()
    score_split_fit: Literal["all", "kept"] | None = None


class ProbePart(RecordPart):
    """The probe: common settings, the settings of every head, and the reported head.

    `released_sha256` is the digest of a released probe file, None for a fitted probe; `head_order`
    is how its classes were ordered: `names DIGEST`, or `fit` with the digests of the training rows
    and of their features. None: the file has the task's order.
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
    """Wall-clock seconds per step; decoding and encoding overlap, so their sum may be larger."""

    decode_seconds: Seconds
    encode_seconds: Seconds
    fit_seconds: Seconds
    score_seconds: Seconds
    total_seconds: Seconds


class Artifact(RecordPart):
    """A file of the record; `path` is relative to the folder of the record, and below it."""

    path: str
    sha256: Sha256

    @field_validator("path")
    @classmethod
    def _is_below(cls, path: str) -> str:
        if PurePath(path).is_absolute() or {"..", ""} & {*re.split(r"[/\\]", path)}:
            raise ValueError(f"{path!r} is not the name of a file in the folder of the record")
        return path


class ArtifactsPart(RecordPart):
    """Files written with the record; predictions of boxes are scored against the `truth`."""

    predictions: Artifact | None
    probe: Artifact | None
    truth: Artifact | None = None


@dataclass(frozen=True, kw_only=True)
class Optimism:
    """What choosing among `heads` on the scored rows themselves would have added.

    `honest` is the score of the head chosen on held-out training rows, `best` that of the best
    head, both on the scored rows from the same fits, as fractions.
    """

    honest: float
    best: float
    heads: int

    @property
    def gap(self) -> float:
        """How far the best head is above the chosen one (at least 0)."""
        return self.best - self.honest


class Record(RecordPart):
    """The immutable record of one run; `Record.model_validate` checks that it is consistent.

    `seal` is a digest of everything else in the file (`seal_of`); older records have none. `marks`
    are sentences on numbers of an older record that are now known to be wrong and were left out.
    """

    schema_version: Literal[5] = SCHEMA_VERSION
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
    marks: tuple[str, ...] = ()
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
        if (named := self.config.get("protocol", self.protocol.name)) != self.protocol.name:
            yield f"config.protocol is {named!r}, but protocol.name is {self.protocol.name!r}"
        if (self.task.unit == "box") != isinstance(metrics, FrameMapPart):
            yield f"task.unit is {self.task.unit!r}, but metrics are of another unit"
        if self.id != key:
            yield f"config, features, data and probe give the id {key}, the record says {self.id}"
        if (self.status == "complete") == bool(self.reasons):
            yield f"status {self.status!r} contradicts reasons {list(self.reasons)}"
        if score.used != metrics.scored:
            yield f"{metrics.scored} rows scored, but data.score.used is {score.used}"
        if metrics.expected != (score.expected if score.expected is not None else score.listed):
            yield f"expected {metrics.expected} is not the published (else listed) number of rows"
        if not isinstance(metrics, metrics_type(self.task.metric)):
            yield f"task.metric is {self.task.metric!r}, which metrics do not have"
        elif isinstance(metrics, FrameMapPart):
            if self.artifacts.predictions and not self.artifacts.truth:
                yield "predictions of boxes need artifacts.truth, their ground truth"
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
        """The number of the run: its task's metric as a fraction."""
        number = self.value(self.task.metric)
        assert number is not None, self.task.metric
        return number

    @property
    def caveat(self) -> str:
        """Why it is not complete: `suspect: ...` or `not reportable: ...`; empty if it is."""
        if self.status == "complete":
            return ""
        return f"{self.status.replace('_', ' ')}: {'; '.join(self.reasons)}"

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing; None if undefined, as for mean AP."""
        return self.metrics.chance if isinstance(self.metrics, MetricsPart) else None

    def value(self, metric: str) -> float | None:
        """Return the fraction called `metric`; None if the record has none."""
        found: float | None = getattr(self.metrics, metric, None)
        return found

    @property
    def counts_lost(self) -> bool:
        """Whether unreadable rows count as wrong; else they are left out."""
        return self.config.get("on_unreadable") != "skip"

    @property
    def num_counted(self) -> int:
        """The number of rows that the metric is over."""
        return self.data.score.listed if self.counts_lost else self.data.score.used

    @property
    def optimism(self) -> Optimism | None:
        """The gap between honest selection and the best head on the score split, if known."""
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

        Left out: time stamp, timing, environment, the work that the store saved, the check of the
        encoder (rounded differently between machines), marks, and the seal.
        """
        saved = {"decoded", "encoder_calls", "rows_from_store"}
        passing = dict.fromkeys(("created", "timing", "environment", "marks", "seal"), True)
        exclude: Any = {**passing, "features": saved, "encoder": {"check"}}
        return self.model_dump(mode="json", exclude=exclude)


def seal_of(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 over all fields of a record's file except its seal."""
    rest = {key: value for key, value in fields.items() if key != "seal"}
    marks = (",", ":")
    text = json.dumps(rest, sort_keys=True, separators=marks, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: Record) -> Record:
    """Return the record with its seal."""
    return record.model_copy(update={"seal": seal_of(record.model_dump(mode="json"))})


def utc_now() -> str:
    """Return the current time in the format of records, such as `2025-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
