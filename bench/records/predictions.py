"""Read the predictions of clips as columns, from an untrusted file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.records.record import Record
from bench.records.record_files import ALL_CLASSES_UP_TO, SCHEMA, TOP
from bench.types import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The columns of a predictions file.

    `numbers` to `scored` are `[rows]`; `predicted` is `[scored]`, `classes` and `probabilities` are
    `[scored, K]`. `problems` are sentences on contradictory values.
    """

    numbers: IntArray
    ids: Sequence[str]
    labels: IntArray
    statuses: npt.NDArray[np.str_]
    scored: BoolArray
    predicted: IntArray
    classes: IntArray
    probabilities: npt.NDArray[np.float32]
    problems: Sequence[str]

    @property
    def right(self) -> BoolArray:
        """Whether a row is predicted as its label, bool `[rows]`; False if it was not scored."""
        right = np.zeros(len(self.labels), dtype=np.bool_)
        right[self.scored] = self.predicted == self.labels[self.scored]
        return right


def read_rows(path: Path, record: Record) -> Rows:
    """Read a predictions file as columns.

    Raises:
        ValueError: another schema, a missing value, or lists of unequal length.
    """
    refuse_other_count(path, record)
    table = pq.read_table(path, use_threads=False, pre_buffer=False)
    if not table.schema.remove_metadata().equals(SCHEMA):
        raise ValueError(f"it has columns {table.schema.names} instead of {SCHEMA.names}")
    for name in ("row", "id", "label", "status"):
        if table[name].null_count:
            raise ValueError(f"{table[name].null_count} rows have no {name}")
    statuses = texts(table["status"])
    scored = np.asarray(statuses == "scored", dtype=np.bool_)
    scored_rows = table.filter(pa.array(scored))
    keep = record.task.num_classes if record.task.num_classes <= ALL_CLASSES_UP_TO else TOP
    problems = []
    lost = table.filter(pa.array(~scored))
    values = ("predicted", "probability", "top_classes", "top_probabilities")
    if any(lost[name].null_count != len(lost) for name in values):
        problems.append("a row that was not scored has a prediction")
    predicted, top = scored_rows["predicted"], scored_rows["probability"]
    if predicted.null_count or top.null_count:
        raise ValueError(
            f"{max(predicted.null_count, top.null_count)} scored rows have no prediction"
        )
    classes = _matrix(scored_rows["top_classes"], keep, np.int64)
    probabilities = _matrix(scored_rows["top_probabilities"], keep, np.float32)
    if not np.array_equal(top.to_numpy(), probabilities[:, 0], equal_nan=True):
        problems.append("the probability of a row is not the first of its list")
    return Rows(
        numbers=table["row"].to_numpy(),
        ids=table["id"].to_pylist(),
        labels=table["label"].to_numpy(),
        statuses=statuses,
        scored=scored,
        predicted=predicted.to_numpy(),
        classes=classes,
        probabilities=probabilities,
        problems=problems,
    )


def refuse_other_count(path: Path, record: Record) -> None:
    """Check the row count of a file before reading it: a few bytes may decompress to more rows
    than fit into memory.

    Raises:
        ValueError: it is not that of the record, or zero.
    """
    stored, listed = pq.read_metadata(path).num_rows, record.data.score.listed
    if stored != listed:
        raise ValueError(f"{stored} rows, but the record lists {listed}")
    if not listed:
        raise ValueError("it has no rows")


def texts(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    """Return a string column with few distinct values, str `[rows]`."""
    coded = column.combine_chunks().dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=np.str_)
    return np.asarray(names[coded.indices.to_numpy()])


def _matrix(column: pa.ChunkedArray, keep: int, dtype: Any) -> npt.NDArray[Any]:
    """Return lists of `keep` values each as `[rows, keep]`."""
    lengths = pc.list_value_length(column)
    if column.null_count or pc.any(pc.not_equal(lengths, keep)).as_py():
        raise ValueError(f"a scored row does not list {keep} classes")
    flat = column.combine_chunks().flatten()
    if flat.null_count:
        raise ValueError("a class or a probability in a list is missing")
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=dtype).reshape(-1, keep)
