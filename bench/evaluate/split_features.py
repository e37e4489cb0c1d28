"""The features of a prepared run, stored or live, for every probe that reads them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import numpy as np

from bench.config import Machine
from bench.data.manifest import Manifest, Silent
from bench.data.media.in_both_splits import overlap_note
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

log = logging.getLogger(__name__)

AUTO_SHARE = 0.2  # of the free disk; features that need more are computed live

Mode = Literal["stored", "live"]


@dataclass(kw_only=True, eq=False)
class Split:
    """One split of a run: its rows and its features.

    `keys` name the features by readout, `modes` say which are stored, `too_large` why some are not;
    available features are `kept`, on disk or in memory. After opening, `rows` are the readable
    rows, `missing` the ids without media and `undecodable` the reasons by id. `extraction` is None
    for features from elsewhere.
    """

    manifest: Manifest
    keys: Mapping[Reads, str]
    modes: Mapping[Reads, Mode]
    too_large: Mapping[Reads, str] = field(default_factory=dict)
    extraction: Extraction | None = None
    kept: dict[Reads, RowFeatures] = field(default_factory=dict)
    rows: IntArray | None = None
    missing: tuple[str, ...] = ()
    undecodable: dict[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    def reading(self, reads: Sequence[Reads]) -> Extraction:
        """The extraction of these readouts."""
        assert self.extraction is not None, "features from elsewhere are not made here"
        return self.extraction.reading(reads)


class RunFeatures:
    """Feature sources of both splits for some readouts; decoding starts with `open`."""

    _in_training: tuple[Manifest, tuple[str, ...]] | None = None  # a training split and the note

    def __init__(
        self, prepared: PreparedRun, machine: Machine, reads: Sequence[Reads], progress: Progress
    ) -> None:
        self.prepared, self.machine, self.reads, self.progress = prepared, machine, reads, progress
        machine.home.mkdir(parents=True, exist_ok=True)
        self.fit, self.score = (
            self._split(extraction) for extraction in (prepared.fit, prepared.score)
        )

    def origin(self) -> Origin:
        """How the features are made, for the record."""
        return origin_of(self.prepared)

    def open(self, split: Split) -> None:
        """Make the features of a split available, extracting what is not stored yet.

        Raises:
            DataError: a file cannot be decoded and the run stops on that, or none can be decoded.
            BenchError: the features cannot be stored.
        """
        if split.rows is not None:
            return
        manifest = split.manifest
        stored = [reads for reads in self.reads if split.modes[reads] == "stored"]
        if not stored:
            bad = self._check_files(split)
        else:
            split.kept |= extract(
                split.reading(stored), self.machine, progress=self.progress, counts=split.counts
            )
            bad = by_row(split.kept[stored[0]], manifest.root_rows)
        self._close(split, bad)

    def begin_run(self, reads: Reads) -> None:
        """Reset the counts for the next run, which reads what an earlier run stored.

        Raises:
            CheckpointError: the encoder gives non-finite features (checked before any decoding).
        """
        functional_check(self.prepared.score.encoder)
        for split in (self.fit, self.score):
            if split.rows is not None:
                stored = split.modes[reads] == "stored"
                split.counts = Counts(
                    rows_read_from_store=len(split.manifest) if stored else 0,
                    repeated_frames=split.counts.repeated_frames,
                    boxes_outside=split.counts.boxes_outside,
                    decoders=split.counts.decoders,
                )

    def in_training(self) -> tuple[str, ...]:
        """Note the scored media that are in the training split too, once for all probes."""
        fit, cache = self.fit.manifest, self.machine.home / "media.sqlite"
        if self.fit.extraction is None:  # features from elsewhere have no media
            return ()
        if self._in_training is None or self._in_training[0] is not fit:
            note = overlap_note(fit, self.score.manifest, cache, Silent())
            self._in_training = (fit, note)
        return self._in_training[1]

    def source(self, split: Split, reads: Reads) -> FeatureSource:
        """Open a split and return the features of its readable rows; raises as `open`."""
        self.open(split)
        if reads in split.kept:
            return StoredSource(split.kept[reads], split.manifest, reads, rows=split.rows)
        return LiveSource(
            split.reading([reads]), self.machine, rows=split.rows, counts=split.counts
        )

    def _split(self, extraction: Extraction) -> Split:
        extraction = extraction.reading(self.reads)
        sets = extraction.feature_sets(self.machine.home, self.progress)
        live, manifest = extraction.draws is None, extraction.manifest
        live |= self.prepared.config.features == "live"
        too_large = {
            reads: f"{reads} features of {manifest.split}"
            f" ({store.row_bytes * len(manifest) / 1e9:,.1f} GB) need more than a fifth of the free"
            " disk and are computed live, anew in every pass; to store them, use"
            " --set features=stored"
            for reads, store in sets.items()
            if not live and self._is_too_large(store, manifest)
        }
        for sentence in too_large.values():
            log.warning("%s: %s", manifest.name, sentence)
        modes: dict[Reads, Mode] = {
            reads: "live" if live or reads in too_large else "stored" for reads in sets
        }
        keys = {reads: store.digest for reads, store in sets.items()}
        return Split(
            manifest=manifest, keys=keys, modes=modes, too_large=too_large, extraction=extraction
        )

    def _is_too_large(self, store: FeatureSet, manifest: Manifest) -> bool:
        """Whether the features that are not stored yet would take too much of the disk."""
        if self.prepared.config.features != "auto":
            return False
        free = shutil.disk_usage(self.machine.home).free
        return store.missing_bytes(manifest.root_rows) > AUTO_SHARE * free

    def _check_files(self, split: Split) -> dict[int, RowNote]:
        """Return row -> problem for features that are not stored."""
        manifest, counts, lock = split.manifest, split.counts, Lock()
        decoder_of: dict[Media, str] = {}

        def on_decoded(media: Media, decoder: str, repeated: int) -> None:
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
            on_decoded=on_decoded,
        )
        notes = dict.fromkeys(found.missing, RowNote(error="the file is missing", missing=True))
        notes |= dict.fromkeys(found.empty, RowNote(error="the file is empty"))
        notes |= {name: RowNote(error=reason) for name, reason in found.unreadable}
        bad = {row: notes[name] for row, name in enumerate(manifest.ids) if name in notes}
        if manifest.regions is not None:  # each video was checked once for many rows
            names = [decoder_of.get(media, "") for media in manifest.regions.media]
            for row, video in enumerate(manifest.regions.video.tolist()):
                if row not in bad:
                    counts.decoders[names[video]] += 1
        return bad

    def _close(self, split: Split, bad: Mapping[int, RowNote]) -> None:
        """Record which rows of a split are unreadable and which are left."""
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
        summary = (
            f"{manifest.name} {manifest.split}: of {len(manifest)} samples {len(split.missing)} are"
            f" missing and {len(split.undecodable)} cannot be decoded, first {first}"
            f" ({reason.rstrip('.')})."
        )
        if len(bad) == len(manifest):
            raise DataError(f"{summary} None is left; inspect the files with bench check.")
        if self.prepared.config.on_unreadable == "stop":
            raise DataError(
                f"{summary} Repair or replace them, or train without them and count them as wrong"
                " with --on-unreadable wrong (or not at all with --on-unreadable skip)."
            )


def by_row(features: RowFeatures, root_rows: IntArray) -> dict[int, RowNote]:
    """Return row -> note for the unreadable ones among rows of a root manifest."""
    by_root = features.unreadable(root_rows)
    rows = enumerate(root_rows.tolist())
    return {row: by_root[root] for row, root in rows if root in by_root}
