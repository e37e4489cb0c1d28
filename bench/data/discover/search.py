"""The state of the search for a split, and the result that each layout returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.data.discover.annotations import is_integer
from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.folder_scan import Tree
from bench.data.discover.label_map import LabelMap
from bench.data.discover.matching import best_of, match
from bench.data.discover.unicode_names import composed
from bench.errors import DataError, closest
from bench.types import IntArray

LISTED_TWICE = "listed twice"
LISTED_WITH_TWO_CLASSES = "listed twice, the second time with another class"


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """A search for a split: annotation files in `tree`, media in `media`.

    `labels` is the label map (None: it comes with the files), `notes` are sentences on files that
    were read but not used, `understood` are official files that were read.
    """

    dataset: DataSet
    split: str
    tree: Tree
    media: Tree
    labels: LabelMap | None
    notes: list[str] = field(default_factory=list)
    understood: list[Path] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Data set and split, the start of error messages."""
        return f"{self.dataset.title} {self.split}"

    @property
    def option(self) -> str:
        """The option of the task that names a list for this split."""
        return "train" if "train" in self.split else "val"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A split as read from one layout, per row: ids, names, labels int64 and media.

    `media` int64 are rows of `Search.media`, -1 if there is none.
    """

    ids: Sequence[str]
    names: Sequence[str]
    labels: IntArray
    media: IntArray
    classes: Sequence[str]
    excluded: Mapping[str, str]
    source: Path
    layout: str

    @property
    def num_found(self) -> int:
        """The number of rows with a medium."""
        return int((self.media >= 0).sum())

    @property
    def samples(self) -> dict[str, int]:
        """The label of each sample by its id."""
        return dict(zip(self.ids, self.labels.tolist(), strict=True))


def find_media(search: Search, listed: Listed) -> Reading:
    """Find the media of listed samples; repeated samples are excluded by rule.

    Raises:
        DataError: a label outside the label map, two media for one sample.
    """
    classes = _classes(search, listed)
    listed = replace(
        listed,
        names=[composed(name) for name in listed.names],
        excluded={composed(name): rule for name, rule in listed.excluded.items()},
    )
    labels = np.asarray(listed.labels, dtype=np.int64)
    bad = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(bad):
        raise DataError(
            f"{listed.source}: {listed.names[bad[0]]!r} has label {labels[bad[0]]}, but the"
            f" {len(classes)} classes of {search.title} are numbered 0 to {len(classes) - 1}."
        )
    sample_id = search.dataset.sample_id
    excluded = {sample_id(name): rule for name, rule in listed.excluded.items()}
    identify = search.dataset.identify
    first: dict[str, int] = {}
    again: list[tuple[int, str]] = []
    for row, (name, label) in enumerate(zip(listed.names, labels.tolist(), strict=True)):
        sample = identify(name, classes[label])
        if first.setdefault(sample, row) != row:
            again.append((row, sample))
    times: dict[str, int] = {}
    for row, sample in again:
        times[sample] = times.get(sample, 1) + 1
        same = labels[row] == labels[first[sample]]
        rule = LISTED_TWICE if same else LISTED_WITH_TWO_CLASSES
        excluded[f"{sample}#{times[sample]}"] = rule
    names = [listed.names[row] for row in first.values()] if again else listed.names
    ids = list(first)
    kept = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    del first
    return Reading(
        ids=ids,
        names=names,
        labels=labels[kept],
        media=match(search.dataset, search.split, search.media, names, ids),
        classes=classes,
        excluded=excluded,
        source=listed.source,
        layout=listed.layout,
    )


def one_medium_each(search: Search, ids: Sequence[str], media: IntArray) -> IntArray:
    """Return the indices into `ids` to keep, one per sample, with the preferred medium.

    Raises:
        DataError: two media for one sample with no rule to choose between them.
    """
    if len(set(ids)) == len(ids):
        return np.arange(len(ids), dtype=np.int64)
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(ids):
        places.setdefault(sample, []).append(place)
    kept = []
    for sample, rivals in places.items():
        place = rivals[0]
        if len(rivals) > 1:
            by_medium = {int(media[rival]): rival for rival in rivals}
            ranked = [(0, medium) for medium in by_medium]
            place = by_medium[best_of(search.dataset, search.split, search.media, sample, ranked)]
        kept.append(place)
    return np.array(kept, dtype=np.int64)


def label_index(label: str, labels: LabelMap) -> int | None:
    """Return the class that a text denotes by name or index; None if it is neither.

    Raises:
        DataError: a number that is the name of one class and the index of another.
    """
    if labels.are_ids and is_integer(label):
        return labels.index(str(int(label)))  # "07" is 7
    named = labels.index(label)
    if not is_integer(label):
        return named
    number = int(label)
    if named is not None and named != number and 0 <= number < len(labels):
        raise DataError(
            f"label {label} could be the name of class number {named} or the index of class"
            f" {labels.names[number]!r}; give the classes names that are not numbers."
        )
    if named is not None:
        return named
    return number if number < len(labels) else None


def nearest(label: str, labels: LabelMap) -> str:
    """Return ` Did you mean X?` if a class has a similar name, else an empty string."""
    plain = {name.replace("_", " ").casefold(): name for name in labels.names}
    hint = closest(label.replace("_", " ").casefold(), plain)
    if "Did you mean" not in hint:
        return ""
    return f" Did you mean {plain[hint.split(' Did you mean ')[1][1:-2]]!r}?"


def _classes(search: Search, listed: Listed) -> Sequence[str]:
    if search.labels is not None:
        return search.labels.names
    if listed.classes is not None:
        return listed.classes
    return [str(number) for number in range(int(np.max(listed.labels, initial=-1)) + 1)]
