"""The rows of a split, and the task made of two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bench.types import Progress as Progress
from bench.types import Silent as Silent

if TYPE_CHECKING:
    from bench.data.boxes.regions import FrameTruth, RegionReadout, Regions
    from bench.data.media.media import Media
from bench.types import ClipPlan, IntArray, Kind, Settings, Unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """Ordered rows of a split: ids, media and labels, as columns (there may be millions).

    `ids` are unique portable names (no absolute paths), `media` what their pixels are read from,
    `labels` int64 `[rows]`, `classes` the label map by index. If a row may have several labels, or
    none, `labels` are 0 and 1, int64 `[rows, C]`. `regions` locates rows that are boxes. `expected`
    is the published row count, if any, and `copies` the counts of known copies by name. `excluded`
    are samples removed by a rule (id -> rule), which have no row. `source` and `layout` say which
    files were read, `notes` are sentences for the record. A subset keeps `parent` and its `rows`
    there, to share its parent's features.
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
    notes: tuple[str, ...] = ()
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
        """The manifest whose stored features this one reads (itself unless it is a subset)."""
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
        take = getattr(self.media, "take", None)  # a column stays a column: no object per row
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
        """Yield the label of every row, or the comma-separated indices of its labels."""
        if not self.has_many_labels:
            yield from self.labels.tolist()
        else:
            yield from (",".join(map(str, np.flatnonzero(row).tolist())) for row in self.labels)


def manifest_digest(ids: Iterable[str], labels: Iterable[object], classes: Sequence[str]) -> str:
    """Return `Manifest.digest` of rows with these ids and labels, as written by `str`."""
    state = hashlib.sha256()
    for sample, label in zip(ids, labels, strict=True):
        state.update(f"{sample}\t{label}\n".encode())
    state.update("\n".join(classes).encode())
    return state.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is measured: splits to fit and to score on, clip plans, classes and metric.

    `flip` says whether a horizontal flip keeps the label (false if left and right are classes).
    Plans carry the published number of frames; `run` substitutes the encoder's own unless the user
    set a plan. `metric` is `top1`, or `mean_ap` for boxes, which are scored against `truth` and
    read as `readout` says. `files` are the digests of the lists behind the splits, by role.
    `probe_options` are probe settings fixed by the published evaluation of this data set, by the
    protocol's selection rule and the probe.
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
