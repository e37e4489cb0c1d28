"""The features of one stage, stored or live, for every probe that reads them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import numpy as np

from bench.config import Machine
from bench.data.manifest import Manifest
from bench.data.media.media import Media
from bench.encoders.functional_check import functional_check
from bench.errors import DataError
from bench.evaluate.prepare import PreparedRun
from bench.evaluate.record_parts import Origin, origin_of
from bench.features.counts import Counts
from bench.features.extract import decoder_name, extract
from bench.features.extraction import Extraction
from bench.features.source import LiveSource, StoredSource
from bench.features.store import FeatureSet, RowFeatures, RowNote
from bench.preflight.check_task import check_planned
from bench.types import FeatureSource, IntArray, Progress, Reads

AUTO_SHARE = 0.2  # of the free disk: features that would take more are computed live

Mode = Literal["stored", "live"]


@dataclass(kw_only=True, eq=False)
class Split:
    """One split of a run: its rows, and where its features are.

    `keys` name the features by readout, `modes` say which are stored; features that are there are
    `kept`, on disk or in memory. Once the split was opened, `rows` are the readable rows, `missing`
    the ids whose media are not there, `undecodable` the reasons by id of the others. How features
    are made is in `extraction`; None where they come from elsewhere.
    """

    manifest: Manifest
    keys: Mapping[Reads, str]
    modes: Mapping[Reads, Mode]
    extraction: Extraction | None = None
    kept: dict[Reads, RowFeatures] = field(default_factory=dict)
    rows: IntArray | None = None
    missing: tuple[str, ...] = ()
    undecodable: dict[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    def reading(self, reads: Sequence[Reads]) -> Extraction:
        """How these readouts of the split are made."""
        assert self.extraction is not None, "features from elsewhere are not made here"
        return self.extraction.reading(reads)


class RunFeatures:
    """Feature sources of both splits for some readouts; nothing is decoded before `open`."""

    def __init__(
        self, stage: PreparedRun, machine: Machine, reads: Sequence[Reads], progress: Progress
    ) -> None:
        self.stage, self.machine, self.reads, self.progress = stage, machine, reads, progress
        machine.home.mkdir(parents=True, exist_ok=True)
        self.fit, self.score = (self._split(made) for made in (stage.fit, stage.score))

    def origin(self) -> Origin:
        """How the features are made, as the record says it."""
        return origin_of(self.stage)

    def open(self, split: Split) -> None:
        """Make the features of a split available, extracting what is not stored yet.

        Raises:
            DataError: a file cannot be decoded and the run is to stop at that, or none can be.
            BenchError: the features cannot be stored.
        """
        if split.rows is not None:
            return
        manifest = split.manifest
        stored = [reads for reads in self.reads if split.modes[reads] == "stored"]
        if not stored:
            bad = self._look_at_files(split)
        else:
            split.kept |= extract(
                split.reading(stored), self.machine, progress=self.progress, counts=split.counts
            )
            bad = by_row(split.kept[stored[0]], manifest.root_rows)
        self._close(split, bad)

    def begin_run(self, reads: Reads) -> None:
        """Start counting for the next run; what was stored for an earlier one is read, not made.

        Raises:
            CheckpointError: an encoder that gives no finite features, before anything is decoded.
        """
        functional_check(self.stage.score.encoder)
        for split in (self.fit, self.score):
            if split.rows is not None:
                stored = split.modes[reads] == "stored"
                split.counts = Counts(
                    rows_read_from_store=len(split.manifest) if stored else 0,
                    repeated_frames=split.counts.repeated_frames,
                    boxes_outside=split.counts.boxes_outside,
                    decoders=split.counts.decoders,
                )

    def source(self, split: Split, reads: Reads) -> FeatureSource:
        """Open a split and return the features of its readable rows; raises as `open`."""
        self.open(split)
        if reads in split.kept:
            return StoredSource(split.kept[reads], split.manifest, reads, rows=split.rows)
        return LiveSource(
            split.reading([reads]), self.machine, rows=split.rows, counts=split.counts
        )

    def _split(self, extraction: Extraction) -> Split:
        own = extraction.reading(self.reads)
        sets = own.feature_sets(self.machine.home, self.progress)
        live = own.draws is None or self.stage.config.features == "live"
        modes: dict[Reads, Mode] = {
            reads: "live" if live or self._is_too_large(store, own.manifest) else "stored"
            for reads, store in sets.items()
        }
        keys = {reads: store.digest for reads, store in sets.items()}
        return Split(manifest=own.manifest, keys=keys, modes=modes, extraction=own)

    def _is_too_large(self, store: FeatureSet, manifest: Manifest) -> bool:
        """Say whether what is not stored yet would take too much of the disk."""
        if self.stage.config.features != "auto":
            return False
        free = shutil.disk_usage(self.machine.home).free
        return store.missing_bytes(manifest.root_rows) > AUTO_SHARE * free

    def _look_at_files(self, split: Split) -> dict[int, RowNote]:
        """Return row -> what is wrong with it, for features that are not stored."""
        manifest, counts, lock = split.manifest, split.counts, Lock()
        decoder_of: dict[Media, str] = {}

        def seen(media: Media, decoder: str, repeated: int) -> None:
            with lock:
                decoder_of[media] = decoder_name(decoder)
                counts.repeated_frames += repeated
                if manifest.regions is None:
                    counts.decoders[decoder_name(decoder)] += 1

        found = check_planned(
            manifest,
            split.reading(self.reads).recipe.plan,
            workers=max(1, self.machine.workers),
            progress=self.progress,
            seen=seen,
        )
        notes = dict.fromkeys(found.missing, RowNote(error="the file is missing", missing=True))
        notes |= dict.fromkeys(found.empty, RowNote(error="the file is empty"))
        notes |= {name: RowNote(error=reason) for name, reason in found.unreadable}
        bad = {row: notes[name] for row, name in enumerate(manifest.ids) if name in notes}
        if manifest.regions is not None:  # one look at a video for many rows
            names = [decoder_of.get(media, "") for media in manifest.regions.media]
            for row, video in enumerate(manifest.regions.video.tolist()):
                if row not in bad:
                    counts.decoders[names[video]] += 1
        return bad

    def _close(self, split: Split, bad: Mapping[int, RowNote]) -> None:
        """Note what cannot be read of a split, and which rows are left."""
        ids = split.manifest.ids
        split.missing = tuple(ids[row] for row, note in bad.items() if note.missing)
        split.undecodable = {
            ids[row]: note.error or "" for row, note in bad.items() if not note.missing
        }
        self._refuse_unreadable(split)
        split.rows = np.setdiff1d(np.arange(len(ids)), np.fromiter(bad, np.int64, len(bad)))

    def _refuse_unreadable(self, split: Split) -> None:
        manifest = split.manifest
        bad = {**dict.fromkeys(split.missing, "the file is missing"), **split.undecodable}
        if not bad:
            return
        first, reason = next(iter(bad.items()))
        said = (
            f"{manifest.name} {manifest.split}: of {len(manifest)} samples {len(split.missing)} are"
            f" missing and {len(split.undecodable)} cannot be decoded, the first is {first}"
            f" ({reason.rstrip('.')})."
        )
        if len(bad) == len(manifest):
            raise DataError(f"{said} None is left; look at the files with bench check.")
        if self.stage.config.on_unreadable == "stop":
            raise DataError(
                f"{said} Repair or replace them, or leave them out of the training and count them"
                " as wrong with --on-unreadable wrong (or not at all with --on-unreadable skip)."
            )


def by_row(features: RowFeatures, root_rows: IntArray) -> dict[int, RowNote]:
    """Return row -> note of the unreadable ones among rows of a root manifest."""
    by_root = features.unreadable(root_rows)
    rows = enumerate(root_rows.tolist())
    return {row: by_root[root] for row, root in rows if root in by_root}
