"""Features for many fits on parts of one training split, from a single pass."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np

from bench.data.manifest import Manifest
from bench.evaluate.split_features import RunFeatures, Split, by_row
from bench.features.counts import Counts
from bench.features.extract import count_notes
from bench.features.in_memory import InMemoryFeatures, hold
from bench.features.store import RowFeatures, RowNote


class StudyFeatures(RunFeatures):
    """Feature sources of all rows of a study; each fit takes a subset."""

    def hold(self, split: Split) -> None:
        """Open a split for many fits; deterministic live features are encoded once, into memory.

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

    def cut(self, manifest: Manifest) -> StudyFeatures:
        """Return the feeds of a fit on a subset of these training rows.

        Nothing is digested or encoded again; only augmented live features are decoded again.
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
        features = self._with_notes(self.fit)
        if features is not None:
            rows = manifest.root_rows
            count_notes(features, manifest.root, rows, cut.fit.counts)
            cut._close(cut.fit, by_row(features, rows))
        return cut

    def _reasons(self, split: Split) -> dict[int, RowNote]:
        """Return row -> what is wrong with it, for features in memory, from checking the files."""
        noted = self._with_notes(split)
        assert noted is not None
        bad = by_row(noted, split.manifest.root_rows)
        rows = np.fromiter(bad, np.int64, len(bad))
        if len(bad):
            part = replace(split, manifest=split.manifest.subset(rows), counts=Counts())
            looked = self._check_files(part)
            bad = {row: looked.get(i, bad[row]) for i, row in enumerate(rows.tolist())}
            for features in split.kept.values():
                assert isinstance(features, InMemoryFeatures)
                for row, note in bad.items():
                    features.correct(int(split.manifest.root_rows[row]), note)
        count_notes(noted, split.manifest.root, split.manifest.root_rows, split.counts)
        return bad

    def _with_notes(self, split: Split) -> RowFeatures | None:
        """Return features of an opened split that have a note on each row, if any do."""
        return next((split.kept[reads] for reads in self.reads if reads in split.kept), None)
