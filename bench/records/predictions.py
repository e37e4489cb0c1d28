"""Predictions of clips as columns, read from a file that anybody may have written."""

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
    `[scored, K]`. `problems` are sentences on values that contradict each other.
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
        """Whether a row is predicted as its label, bool `[rows]`; unscored ones are not."""
        right = np.zeros(len(self.labels), dtype=np.bool_)
        right[self.scored] = self.predicted == self.labels[self.scored]
        return right


def read_rows(path: Path, result: Record) -> Rows:
    """Read a predictions file as columns.

    Raises:
        ValueError: another schema, a value that is missing, or lists of unequal length.
    """
    refuse_other_count(path, result)
    table = pq.read_table(path, use_threads=False, pre_buffer=False)
    if not table.schema.remove_metadata().equals(SCHEMA):
        raise ValueError(f"its columns are {table.schema.names}, not those of predictions")
    for name in ("row", "id", "label", "status"):
        if table[name].null_count:
            raise ValueError(f"{table[name].null_count} rows have no {name}")
    statuses = texts(table["status"])
    scored = np.asarray(statuses == "scored", dtype=np.bool_)
    held = table.filter(pa.array(scored))
    keep = result.task.num_classes if result.task.num_classes <= ALL_CLASSES_UP_TO else TOP
    problems = []
    lost = table.filter(pa.array(~scored))
    values = ("predicted", "probability", "top_classes", "top_probabilities")
    if any(lost[name].null_count != len(lost) for name in values):
        problems.append("a row that was not scored has a prediction")
    own, top = held["predicted"], held["probability"]
    if own.null_count or top.null_count:
        raise ValueError(f"{max(own.null_count, top.null_count)} scored rows have no prediction")
    classes = _matrix(held["top_classes"], keep, np.int64)
    probabilities = _matrix(held["top_probabilities"], keep, np.float32)
    if not np.array_equal(top.to_numpy(), probabilities[:, 0], equal_nan=True):
        problems.append("the probability of a row is not the first of its list")
    return Rows(
        numbers=table["row"].to_numpy(),
        ids=table["id"].to_pylist(),
        labels=table["label"].to_numpy(),
        statuses=statuses,
        scored=scored,
        predicted=own.to_numpy(),
        classes=classes,
        probabilities=probabilities,
        problems=problems,
    )


def refuse_other_count(path: Path, result: Record) -> None:
    """Refuse a file that says to hold another number of rows, before they are read: a few bytes
    may stand for more rows than memory holds.

    Raises:
        ValueError: it does, or it holds none.
    """
    told, listed = pq.read_metadata(path).num_rows, result.data.score.listed
    if told != listed:
        raise ValueError(f"{told} rows, the record lists {listed}")
    if not listed:
        raise ValueError("it holds no rows")


def texts(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    """Return a column of few different texts, str `[rows]`."""
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
