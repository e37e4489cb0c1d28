"""Features of one stage for many fits on parts of its training split: one pass for all of them."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np

from bench.data.manifest import Manifest
from bench.evaluate.split_features import RunFeatures, Split, by_row
from bench.features.counts import Counts
from bench.features.extract import count_notes
from bench.features.in_memory import HeldFeatures, hold
from bench.features.store import RowFeatures, RowNote


class StudyFeeds(RunFeatures):
    """Feature sources of all rows that a study needs, from which each fit is cut."""

    def hold(self, split: Split) -> None:
        """Open a split for many fits: live features that never change are encoded once and held.

        Augmented live features are left to the split of each fit, see `cut`.

        Raises:
            UsageError: the live features would take more than half of the free memory.
            DataError, BenchError: as `open`.
        """
        live = [reads for reads in self.reads if split.modes[reads] == "live"]
        extraction = split.reading(live)
        if live and not extraction.recipe.is_random:
            split.kept |= hold(
                extraction, self.machine, progress=self.progress, counts=split.counts
            )
        if len(live) < len(self.reads):
            self.open(split)
        elif split.kept:
            self._close(split, self._reasons(split))

    def cut(self, manifest: Manifest) -> StudyFeeds:
        """Return the feeds of a fit on training rows that are among those here.

        Nothing is digested or encoded again, and only augmented live features are decoded again.
        """
        cut = copy(self)
        cut.fit = replace(
            self.fit,
            manifest=manifest,
            extraction=self.fit.reading(self.reads).of(manifest),
            kept=dict(self.fit.kept),
            rows=None,
            missing=(),
            undecodable={},
            counts=Counts(),
        )
        noted = self._noted(self.fit)
        if noted is not None:
            rows = manifest.root_rows
            count_notes(noted, manifest.root, rows, cut.fit.counts)
            cut._close(cut.fit, by_row(noted, rows))
        return cut

    def _reasons(self, split: Split) -> dict[int, RowNote]:
        """Return row -> what is wrong with it, for held features, in the words of a look at it."""
        noted = self._noted(split)
        assert noted is not None
        bad = by_row(noted, split.manifest.root_rows)
        rows = np.fromiter(bad, np.int64, len(bad))
        if len(bad):
            part = replace(split, manifest=split.manifest.subset(rows), counts=Counts())
            looked = self._look_at_files(part)
            bad = {row: looked.get(i, bad[row]) for i, row in enumerate(rows.tolist())}
            for features in split.kept.values():
                assert isinstance(features, HeldFeatures)
                for row, note in bad.items():
                    features.correct(int(split.manifest.root_rows[row]), note)
        count_notes(noted, split.manifest.root, split.manifest.root_rows, split.counts)
        return bad

    def _noted(self, split: Split) -> RowFeatures | None:
        """Return features of an opened split that know what happened to each row, if any do."""
        return next((split.kept[reads] for reads in self.reads if reads in split.kept), None)
