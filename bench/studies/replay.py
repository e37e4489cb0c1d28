"""Run a record again, from scratch or from stored features, and report the differences."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from bench.config import Machine, expand, read_config
from bench.errors import BenchError, UsageError
from bench.evaluate.evaluate import evaluate, prepared_runs
from bench.files import file_sha256, parse_json
from bench.preflight.settle import data_of
from bench.records.differences import Difference, differences
from bench.records.record import Record, RecordError
from bench.records.record_files import read_record
from bench.types import Progress

Array = npt.NDArray[Any]

DIRTY = "the code differs from its commit"
# Digests of files follow from the rows, which are compared directly.
DERIVED_FIELDS = ("schema_version", "artifacts")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Changes of the predictions: of `rows`, how many `moved` at all, the largest change of a
    probability or score, and for clips how many got another predicted class.
    """

    rows: int
    moved: int
    largest: float
    other_class: int | None


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A record and its repetition; `changes` is None if their rows cannot be compared."""

    old: Record
    new: Record
    differing: tuple[Difference, ...]
    changes: Changes | None

    @property
    def is_equal(self) -> bool:
        """Whether outcome and predictions are bit-identical."""
        return not self.differing and (self.changes is None or self.changes.moved == 0)

    def agrees(self, tolerance: float | None) -> bool:
        """Whether it is equal, or the same run with a number within `tolerance`."""
        near = tolerance is not None and abs(self.new.headline - self.old.headline) <= tolerance
        return self.is_equal or (near and self.new.id == self.old.id)


def replay(
    path: Path,
    machine: Machine,
    progress: Progress,
    *,
    reuse_features: bool = False,
    settings: tuple[str, ...] = (),
    probe_weights: Path | None = None,
    head_classes: str | None = None,
    allow_code: bool = False,
) -> Replayed:
    """Run the config of a record in a scratch folder and compare the outcomes.

    Nothing of `machine.home` is reused except its features, with `reuse_features`. `settings` are
    `KEY=VALUE` overrides of the config, for paths that differ here. `allow_code` consents to the
    code that the record names (see `bench.config.read_config`).

    Raises:
        RecordError: the record is not sound.
        UsageError: it cannot be run again from its config alone, or its code is missing here.
        DataError: its data are missing here.
        BenchError: as the steps of a run raise.
    """
    old = read_record(path)
    _refuse_incomplete(old, probe_weights)
    replaced = [setting.partition("=")[0].strip() for setting in settings]
    values = read_config(path, allow_code=allow_code, replaced=replaced)
    [config] = expand(values, settings)
    with tempfile.TemporaryDirectory(prefix="bench-replay-") as scratch:
        home = Path(scratch)
        if reuse_features:
            stored = machine.home.resolve() / "features"
            stored.mkdir(parents=True, exist_ok=True)
            (home / "features").symlink_to(stored, target_is_directory=True)
        try:
            data = data_of(machine, config.task)
            there = replace(machine, home=home, data=data, overwrite=False)
            runs = prepared_runs(
                [config], there, progress, probe_weights=probe_weights, head_classes=head_classes
            )
            [outcome] = evaluate(runs)
        except BenchError as error:
            kind = type(error)
            kind = kind if kind.__init__ is BenchError.__init__ else BenchError
            raise kind(f"record {old.id} cannot be run again here: {error}") from error
        return Replayed(
            old=old,
            new=outcome.record,
            differing=tuple(_differing(path, old, outcome.record)),
            changes=_changes(old, path.parent, outcome.record, outcome.path.parent),
        )


def _refuse_incomplete(record: Record, probe_weights: Path | None) -> None:
    if record.encoder.spec == "arrays":
        raise UsageError(
            f"record {record.id} is of features from elsewhere ({record.encoder.source}), which it"
            " does not contain: run bench probe --train FILE --score FILE again."
        )
    released = record.probe.released_sha256
    if released is not None and probe_weights is None:
        raise UsageError(
            f"record {record.id} scored the probe file with the digest {released[:12]}: pass it"
            " with --probe-weights FILE."
        )
    if released and probe_weights and file_sha256(probe_weights) != released:
        raise UsageError(
            f"{probe_weights} is not the probe file of record {record.id}, whose digest begins with"
            f" {released[:12]}."
        )


# ------------------------------------------------------------------------------------ what differs
def _differing(path: Path, old: Record, new: Record) -> list[Difference]:
    """Return the fields of the outcome that differ; for older schemas only those they have."""
    raw = parse_json(path.read_text(encoding="utf-8"))
    found = differences(_outcome(old), _outcome(new))
    if raw.get("schema_version") == new.schema_version:
        return found
    left_out = "metrics.top5" if old.marks else ""
    return [
        one
        for one in found
        if (one.a not in (None, "", [], {}) or _has_field(raw, one.field)) and one.field != left_out
    ]


def _outcome(record: Record) -> dict[str, Any]:
    """Return the outcome without what follows from the rows or from the state of the checkout."""
    reasons = [reason for reason in record.reasons if reason != DIRTY]
    kept = {key: value for key, value in record.outcome().items() if key not in DERIVED_FIELDS}
    return {**kept, "reasons": reasons, "status": record.status if reasons else "complete"}


def _has_field(fields: Any, dotted: str) -> bool:
    for name in dotted.split("."):
        if not isinstance(fields, Mapping) or name not in fields:
            return False
        fields = fields[name]
    return True


def _changes(old: Record, folder: Path, new: Record, new_folder: Path) -> Changes | None:
    """Compare the predictions row by row; None if a file is missing or has other rows."""
    if old.artifacts.predictions is None or new.artifacts.predictions is None:
        return None
    paths = (folder / old.artifacts.predictions.path, new_folder / new.artifacts.predictions.path)
    if not paths[0].is_file():
        return None
    if file_sha256(paths[0]) != old.artifacts.predictions.sha256:
        raise RecordError(f"{paths[0]} is not the file that record {old.id} was written with.")
    a, b = (pq.read_table(path) for path in paths)
    if not a["id"].equals(b["id"]):
        return None
    other_class = None
    if old.task.unit == "box":
        scores_a, scores_b = (_lists(table, "scores") for table in (a, b))
        if scores_a.shape != scores_b.shape:
            return None
        gap = np.abs(scores_a.astype(np.float64) - scores_b).max(axis=1, initial=0)
    else:
        classes = [_lists(table, "top_classes") for table in (a, b)]
        values = [_lists(table, "top_probabilities") for table in (a, b)]
        if classes[0].shape != classes[1].shape:
            return None
        gap = np.maximum(
            _gaps(classes[0], values[0], classes[1], values[1]),
            _gaps(classes[1], values[1], classes[0], values[0]),
        )
        first, again = (table["predicted"].fill_null(-1).to_numpy() for table in (a, b))
        other_class = int((first != again).sum())
    return Changes(
        rows=len(gap),
        moved=int((gap > 0).sum()),
        largest=float(gap.max(initial=0)),
        other_class=other_class,
    )


def _gaps(classes: Array, values: Array, others: Array, there: Array) -> Array:
    """Return the largest change of the probability of a listed class, `[rows]`.

    A class that is not listed on the other side had at most the lowest probability listed there.
    """
    same = classes[:, :, None] == others[:, None, :]
    found = np.where(same, there[:, None, :], 0).sum(axis=2)
    moved_to = np.where(same.any(axis=2), found, there[:, -1:]) if classes.size else found
    return np.asarray(np.abs(values.astype(np.float64) - moved_to).max(axis=1, initial=0))


def _lists(table: Any, name: str) -> Array:
    """Return a column of lists as `[rows, K]`, with zeros for rows without a list."""
    column = table[name].combine_chunks()
    is_valid = column.is_valid().to_numpy(zero_copy_only=False)
    flat = column.flatten().to_numpy(zero_copy_only=False)
    lists = flat.reshape(max(1, int(is_valid.sum())), -1) if len(flat) else np.zeros((0, 0))
    values = np.zeros((len(is_valid), lists.shape[1]), dtype=lists.dtype)
    values[is_valid] = lists
    return values
