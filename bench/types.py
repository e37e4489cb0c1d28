"""The shared words of the harness: what a clip plan, a manifest, a task, a probe and a run are.

Shape letters used throughout: B samples, V spatial views, S temporal clips, T frames of a clip,
H and W pixels, N = t*h*w tokens of a clip, L = S*N tokens of a view, D feature width,
K heads of a sweep, C classes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bench.errors import UsageError
from bench.progress import Progress as Progress
from bench.progress import Silent as Silent

if TYPE_CHECKING:
    import torch

    from bench.data.media import Media
    from bench.data.regions import FrameTruth, RegionReadout, Regions
    from bench.result import Result

IntArray = npt.NDArray[np.int64]
Reads = Literal["vector", "tokens"]
Kind = Literal["video", "image"]
Unit = Literal["clip", "box"]
Settings = Mapping[str, Any]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


# ------------------------------------------------------------------------------------- encoders
@dataclass(frozen=True, kw_only=True)
class Card:
    """Where an encoder comes from: its `licence`, and what it was `trained_on`.

    `trained_on` names data sets as tasks do where they are tasks (`k400`, `in1k`), so that a table
    can show when a model saw what it is scored on; `labels` says how much of them was labelled.
    """

    licence: str = "unknown"
    trained_on: tuple[str, ...] = ()
    labels: Literal["none", "some", "all", "unknown"] = "unknown"


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """What a frozen encoder takes and gives; preprocessing belongs to the encoder.

    `num_frames` and `image_size` (pixels) are those of one clip. `num_heads` is the number of
    attention heads (the V-JEPA probe takes as many). `clips_per_call` is the fixed number of clips
    in one forward call: it never depends on the user's batch size, so that features are the same
    to the last bit whatever that is. `source` says where the weights came from, `card` the rest.

    An encoder that `takes` images sees the frames of a clip one by one. Of a still a video encoder
    sees `still_frames` copies (None: `num_frames`). A still is resized to `image_size` /
    `crop_fraction` by `interpolation`, and its centre is kept. `num_prefix` counts class and
    register tokens, which are no patch tokens.
    """

    name: str
    width: int
    depth: int
    num_heads: int
    num_frames: int
    image_size: int
    patch_size: int
    tubelet_size: int
    source: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    clips_per_call: int = 16
    takes: Kind = "video"
    still_frames: int | None = None
    crop_fraction: float = 0.875
    num_prefix: int = 0
    num_parameters: int = 0
    card: Card = Card()
    is_floor: bool = False  # random weights or raw pixels: the row every table shows as its floor


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Patch tokens per tapped layer, each `[B, t*h*w, D]` in (t, y, x) row-major order.

    `grid` is (t, h, w); with a token mask the sequence is shorter than its product. `prefix` holds
    class and register tokens of the same layers, `[B, P, D]` each, of an image encoder those of all
    frames; it is empty where there are none.
    """

    layers: tuple[torch.Tensor, ...]
    grid: tuple[int, int, int]
    prefix: tuple[torch.Tensor, ...] = ()

    @property
    def last(self) -> torch.Tensor:
        """Tokens of the deepest tapped layer, `[B, N, D]`."""
        return self.layers[-1]


# ----------------------------------------------------------------------------------- clip plans
@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """Which frames of a video: `"16x8x3@4"` is 16 frames, 8 clips, 3 spatial views, stride 4.

    `sampler` is `plain` (true stride) or `vjepa` (the released samplers; protocol notes in
    `bench/data/clips.py`). An image task has one clip of repeated frames, stride 0.
    """

    num_frames: int
    num_clips: int
    num_views: int
    stride: int
    sampler: str = "plain"

    def __post_init__(self) -> None:
        if min(self.num_frames, self.num_clips, self.num_views) < 1 or self.stride < 0:
            raise UsageError(
                f"plan {self}: frames, clips and views must be at least 1 and the stride at least"
                " 0; write it as FRAMESxCLIPSxVIEWS@STRIDE, for example 16x8x3@4."
            )

    @classmethod
    def parse(cls, text: str, sampler: str = "plain") -> ClipPlan:
        """Read `"16x8x3@4"`; views and clips may be left out (`"16@4"`, `"16x2@4"`)."""
        match = re.fullmatch(r"(\d+)(?:x(\d+))?(?:x(\d+))?@(\d+)", text.strip())
        if not match:
            raise UsageError(
                f"plan {text!r} is not understood; write FRAMESxCLIPSxVIEWS@STRIDE,"
                " such as 16x8x3@4."
            )
        frames, clips, views, stride = (int(group or 1) for group in match.groups())
        return cls(
            num_frames=frames, num_clips=clips, num_views=views, stride=stride, sampler=sampler
        )

    def __str__(self) -> str:
        return f"{self.num_frames}x{self.num_clips}x{self.num_views}@{self.stride}"


# -------------------------------------------------------------------------- manifests and tasks
@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """Ordered rows of a split: ids, media and labels, as columns (they may be millions).

    `ids` are unique names that travel (no absolute paths), `media` what their pixels are read from,
    `labels` int64 `[rows]`, `classes` the label map by index. Where a row may have several labels,
    or none, `labels` are 0 and 1, int64 `[rows, C]`. `regions` says of rows that are boxes where
    they are. `expected` is the published row count, if any, and `copies` the counts of known copies
    by name. `excluded` are samples that a rule takes out (id -> rule); they are no rows. `source`
    and `layout` say which files were read. A subset keeps `parent` and its `rows` there, so that it
    shares its parent's features.
    """

    name: str
    split: str
    kind: Kind
    ids: Sequence[str]
    media: Sequence[Media]
    labels: IntArray
    classes: Sequence[str]
    expected: int | None = None
    copies: Mapping[str, int] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    layout: str = ""
    regions: Regions | None = None
    parent: Manifest | None = None
    rows: IntArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_many_labels(self) -> bool:
        """Whether a row may have several labels, or none."""
        return self.labels.ndim == 2

    @property
    def root(self) -> Manifest:
        """The manifest whose stored features this one reads (itself unless a subset)."""
        return self.parent if self.parent is not None else self

    @property
    def root_rows(self) -> IntArray:
        """Row numbers of these samples in `root`, int64 `[rows]`."""
        return self.rows if self.rows is not None else np.arange(len(self), dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, labels and class names, in order."""
        return manifest_digest(self.ids, self._spelled_labels(), self.classes)

    def subset(self, rows: IntArray) -> Manifest:
        """Return the given rows (in the given order) as a manifest that shares stored features."""
        rows = np.asarray(rows, dtype=np.int64)
        take = getattr(self.media, "take", None)  # a column stays one: no object for every row
        return replace(
            self,
            ids=[self.ids[r] for r in rows],
            media=take(rows) if take else [self.media[r] for r in rows],
            labels=self.labels[rows],
            regions=self.regions.take(rows) if self.regions is not None else None,
            expected=None,
            parent=self.root,
            rows=self.root_rows[rows],
        )

    def _spelled_labels(self) -> Iterator[object]:
        """Yield the label of every row, or the indices of its labels with commas between."""
        if not self.has_many_labels:
            yield from self.labels.tolist()
            return
        for row in self.labels:
            yield ",".join(map(str, np.flatnonzero(row).tolist()))


def manifest_digest(ids: Iterable[str], labels: Iterable[object], classes: Sequence[str]) -> str:
    """Return `Manifest.digest` of rows with these ids and labels, as they are spelled."""
    state = hashlib.sha256()
    for sample, label in zip(ids, labels, strict=True):
        state.update(f"{sample}\t{label}\n".encode())
    state.update("\n".join(classes).encode())
    return state.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is measured: splits to fit and to score on, clip plans, classes and metric.

    `flip` says whether a horizontal flip keeps the label (false where left and right are classes).
    Plans carry the published number of frames; `run` puts the encoder's own in their place unless
    the user set a plan. `metric` is `top1`, or `mean_ap` for boxes, which `truth` scores and
    `readout` says how to read. `files` are the digests of the lists behind the splits by what they
    are. `probe_options` are settings of probes that the published evaluation of this data set
    fixes, by the protocol's rule of selection and the probe.
    """

    name: str
    title: str
    fit: Manifest
    score: Manifest
    fit_plan: ClipPlan
    score_plan: ClipPlan
    flip: bool = True
    metric: str = "top1"
    options: Settings = field(default_factory=dict)
    readout: RegionReadout | None = None
    truth: FrameTruth | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    probe_options: Mapping[str, Mapping[str, Settings]] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """`video` or `image`."""
        return self.fit.kind

    @property
    def unit(self) -> Unit:
        """What a row is: a whole clip or a box on a key frame."""
        return "clip" if self.fit.regions is None else "box"

    @property
    def classes(self) -> Sequence[str]:
        """Class names by index."""
        return self.fit.classes


# ------------------------------------------------------------------------------ features, probes
@dataclass(frozen=True, kw_only=True)
class Batch:
    """Features of some rows: `x` is `[B, V, D]` (vector) or `[B, V, L, D]` (tokens), float32.

    `y` int64 `[B]` (`[B, C]` where rows have several labels), `row` int64 `[B]` (row numbers within
    the source). A fit source has V = 1.
    """

    x: torch.Tensor
    y: torch.Tensor
    row: torch.Tensor


class FeatureSource(Protocol):
    """Stored or live features of a manifest; a probe cannot tell which."""

    @property
    def reads(self) -> Reads: ...

    @property
    def labels(self) -> IntArray:
        """Labels by row, int64 `[rows]`; 0 and 1 `[rows, C]` where rows have several."""
        ...

    @property
    def groups(self) -> IntArray | None:
        """By row the group (a video) that is held out as one, int64 `[rows]`; None: rows alone."""
        ...

    @property
    def num_classes(self) -> int: ...

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def epoch(self, number: int, *, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
        """Yield every row exactly once; in row order without a seed, else shuffled by
        (seed, number). With K stored draws, epoch `number` reads draw `number % K`."""
        ...

    def subset(self, rows: IntArray) -> FeatureSource:
        """The same features restricted to `rows` (row numbers within this source)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Head:
    """Identity of one member of a sweep: its settings at full precision."""

    settings: Settings

    def __str__(self) -> str:
        return " ".join(f"{k}={v!r}" for k, v in self.settings.items()) or "default"


class Fitted(Protocol):
    """A trained probe: class probabilities per head."""

    @property
    def heads(self) -> Sequence[Head]: ...

    @property
    def log(self) -> Mapping[str, Any]:
        """What the record keeps of the fit: losses per epoch, dropped heads, warnings."""
        ...

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, V, ...]` features to `[K, B, C]` probabilities, averaged over the V views.

        They add up to 1 over the classes, unless the labels of the fit were several a row.
        """
        ...

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and JSON-able facts from which the owning probe can `restore` it."""
        ...


class Probe(Protocol):
    """A classifier on frozen features; `fit` is the only place that sees labels."""

    @property
    def name(self) -> str: ...

    @property
    def reads(self) -> Reads: ...

    @property
    def heads(self) -> Sequence[Head]: ...

    @property
    def settings(self) -> Settings:
        """Every setting that is common to all heads (epochs, batch size, ...)."""
        ...

    def only(self, index: int) -> Probe:
        """The same probe with the one head `heads[index]`."""
        ...

    def fit(
        self, source: FeatureSource, *, seed: int, device: torch.device, progress: Progress
    ) -> Fitted: ...

    def restore(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Fitted:
        """Rebuild what `Fitted.state` gave."""
        ...

    def read_released(self, path: Path) -> Fitted:
        """Read a probe file in its published layout; `UsageError` where this probe has none."""
        ...


# --------------------------------------------------------------------------------------- tables
Shows = Literal["metric", "honest", "best_on_score", "gap"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: which runs it shows, and what of them.

    `plan` is the frames x clips x views of the scored clips, with a stride or without; None is any.
    Options are those of the runs, such as `{"fraction": 0.05}`. What it `shows` is the metric or,
    of the heads that an honest choice was made from, the chosen one's score, that of the best one
    on the scored rows, or the gap between the two.
    """

    title: str
    task: str
    probe: str
    protocol: str | None = None
    metric: str = "top1"
    plan: str | None = None
    task_options: Settings = field(default_factory=dict)
    probe_options: Settings = field(default_factory=dict)
    shows: Shows = "metric"


class TableWriter(Protocol):
    """Writes a table from records and returns the files made."""

    def __call__(
        self,
        board: Leaderboard,
        records: Sequence[Result],
        folder: Path,
        *,
        include_unreportable: bool = False,
    ) -> Sequence[Path]: ...


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """A table: columns and how it is written.

    Of the records that it is written from, `records` is their folder, and `refused` says in a
    sentence each which ones verification kept out. A board with published rows, `has_published`,
    can be written without any.
    """

    name: str
    title: str
    columns: Sequence[Column]
    write: TableWriter
    records: Path | None = None
    refused: tuple[str, ...] = ()
    has_published: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """One number of a paper's table, in percent as printed, with the spread printed beside it.

    `views` is frames x clips x crops where the paper states it; `train_fraction` 1 is the whole
    training set. Texts are empty, and numbers None, where the paper does not say.
    """

    source: str
    table: str
    method: str
    arch: str
    resolution: int | None
    params_m: float | None
    pretrain_data: str
    samples_seen_m: str
    task: str
    views: str
    probe: str
    train_fraction: float
    metric: str
    value: float
    std: float | None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A publication and the numbers of its tables."""

    name: str
    title: str
    url: str
    numbers: Sequence[PublishedNumber]
