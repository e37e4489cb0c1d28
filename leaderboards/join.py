"""Join records into a table: encoders by columns, a footnote wherever numbers do not compare.

A cell takes the newest complete record of its encoder that measured what the rest of the column
measured. What departs from the column (another protocol, split, annotation list or share of the
labels; rows that were not scored; a record that is suspect or not reportable) is shown only with a
mark, and marked numbers that do not compare are never the best of a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.errors import UsageError, closest
from bench.result import Result
from bench.types import Column, Leaderboard
from leaderboards.notes import measured, notes_on, trained_on
from leaderboards.table import METRICS, Cell, Head, Row, Table, percent

RANK = {"not_reportable": 0, "suspect": 1, "complete": 2}


def join(
    board: Leaderboard, records: Sequence[Result], *, include_unreportable: bool = False
) -> Table:
    """Return the table of a board; a board without columns gets every task and probe found.

    Rows are encoders (best first by the first column), then floors, then chance.

    Raises:
        UsageError: a column shows a metric that records do not have, or those of its task do not,
            or the board has published rows, which these tables cannot show.
    """
    if board.published is not None:
        raise UsageError(
            f"board {board.name!r} brings published rows ({board.published}), which this table"
            " cannot show; leave `published` out."
        )
    for column in board.columns:
        if column.metric not in METRICS:
            raise UsageError(
                f"board {board.name!r} shows {column.metric!r}.{closest(column.metric, METRICS)}"
            )
    shown = [r for r in records if include_unreportable or r.status != "not_reportable"]
    columns = board.columns or columns_of(shown)
    heads = tuple(_head(column, _candidates(column, columns, shown)) for column in columns)
    for head in heads:
        _refuse_other_metric(board.name, head)
    rows = _encoder_rows(heads, shown)
    rows = [*ordered(rows, "encoder", 0), *ordered(rows, "floor", 0)]
    rows, notes = _numbered([*_with_best(rows, heads), _chance(heads)], heads)
    return Table(
        name=board.name,
        title=board.title,
        heads=heads,
        rows=tuple(rows),
        notes=tuple(notes),
        hidden=len(records) - len(shown),
    )


def columns_of(records: Iterable[Result]) -> list[Column]:
    """Return a column for every task, protocol, probe and metric found, sorted."""
    found = sorted({(r.task.name, r.protocol.name, r.probe.name, r.task.metric) for r in records})
    return [
        Column(title=probe, task=task, probe=probe, protocol=protocol, metric=metric)
        for task, protocol, probe, metric in found
    ]


def ordered(rows: Sequence[Row], kind: str, column: int) -> list[Row]:
    """Return the rows of a kind, best first by a column; rows without a number there come last."""

    def key(row: Row) -> tuple[float, str]:
        value = row.cells[column].value if column < len(row.cells) else None
        return (1.0 if value is None else -value, row.name)

    return sorted((row for row in rows if row.kind == kind), key=key)


def _refuse_other_metric(board: str, head: Head) -> None:
    """Refuse a column whose records have numbers of another kind, which would show nothing."""
    column, record = head.column, head.reference
    if record and column.metric not in type(record.metrics).model_fields:
        raise UsageError(
            f"board {board!r} shows {column.metric} of {column.task}, whose records have"
            f" {record.task.metric}; give its column {column.title!r} that metric."
        )


def _candidates(
    column: Column, columns: Sequence[Column], records: Iterable[Result]
) -> list[Result]:
    """Return the records a column may show: a record whose protocol has a column stays there."""
    same = [c for c in columns if (c.task, c.probe) == (column.task, column.probe)]
    elsewhere = {c.protocol for c in same} - {column.protocol}
    return [
        r
        for r in records
        if (r.task.name, r.probe.name) == (column.task, column.probe)
        and r.protocol.name not in elsewhere
    ]


def _head(column: Column, candidates: Sequence[Result]) -> Head:
    """Settle what a column measures: its own protocol or the most frequent, then the most frequent
    splits under it; among equals the larger score split.
    """
    protocol = column.protocol
    if protocol is None and candidates:
        votes = Counter(r.protocol.name for r in candidates)
        protocol = min(votes, key=lambda name: (-votes[name], name))
    agreed = [r for r in candidates if r.protocol.name == protocol] or list(candidates)
    # A study of few labels leaves many records: the column still shows what all labels give.
    agreed = [r for r in agreed if r.train_labels is None or r.train_labels.are_all] or agreed
    kinds = Counter(measured(r) for r in agreed)
    reference = max(
        agreed,
        key=lambda r: (kinds[measured(r)], r.data.score.listed, measured(r), r.created, r.id),
        default=None,
    )
    return Head(column=column, protocol=protocol, reference=reference)


def _encoder_rows(heads: Sequence[Head], records: Sequence[Result]) -> list[Row]:
    """Return a row per encoder name and weights that has a number in some column."""
    columns = [head.column for head in heads]
    fields = [_candidates(column, columns, records) for column in columns]
    newest: dict[tuple[str, str], Result] = {}
    for record in sorted((r for field in fields for r in field), key=lambda r: (r.created, r.id)):
        newest[identity_of(record)] = record
    names = Counter(name for name, _ in newest)
    rows = []
    for identity, record in sorted(newest.items()):
        name, weights = identity
        cells = [
            _cell(head, [r for r in field if identity_of(r) == identity])
            for head, field in zip(heads, fields, strict=True)
        ]
        rows.append(
            Row(
                kind="floor" if record.encoder.is_floor else "encoder",
                name=name if names[name] == 1 else f"{name} ({weights[:8] or 'no weights'})",
                record=record,
                cells=tuple(cells),
            )
        )
    return rows


def _cell(head: Head, candidates: Sequence[Result]) -> Cell:
    """Take the newest complete record, one that compares with the column before one that does not.

    Scores of the metric decide nothing here: the best of several runs is not their result.
    """
    reference = head.reference
    if not candidates or reference is None:
        return Cell()
    chosen = max(
        candidates,
        key=lambda r: (
            r.protocol.name == head.protocol,
            measured(r) == measured(reference),
            trained_on(r) == trained_on(reference),
            RANK[r.status],
            r.created,
            r.id,
        ),
    )
    value = chosen.value(head.column.metric)
    return Cell(value=value, record=chosen, others=len(candidates) - 1)


def _chance(heads: Sequence[Head]) -> Row:
    """Uniform guessing, which the record states for accuracies of one guess; a mAP has none."""
    values = [
        head.reference.chance if head.reference and head.column.metric != "top5" else None
        for head in heads
    ]
    cells = tuple(Cell(value=value) for value in values)
    return Row(kind="chance", name="chance", record=None, cells=cells)


def _with_best(rows: Sequence[Row], heads: Sequence[Head]) -> list[Row]:
    """Mark the highest comparable number of every column, and its equals as they are printed."""
    tops: list[str | None] = []
    for i, head in enumerate(heads):
        values = [row.cells[i].value for row in rows if _competes(row.cells[i], head)]
        tops.append(percent(max((v for v in values if v is not None), default=None)))
    return [
        replace(
            row,
            cells=tuple(
                replace(cell, is_best=_competes(cell, head) and percent(cell.value) == top)
                for cell, head, top in zip(row.cells, heads, tops, strict=True)
            ),
        )
        for row in rows
    ]


def _competes(cell: Cell, head: Head) -> bool:
    if cell.record is None or head.reference is None or cell.value is None:
        return False
    same = cell.record.protocol.name == head.protocol
    return (
        same
        and cell.record.status == "complete"
        and (measured(cell.record) == measured(head.reference))
    )


def _numbered(rows: Sequence[Row], heads: Sequence[Head]) -> tuple[list[Row], list[str]]:
    """Number the footnotes in reading order; equal sentences share a number."""
    numbers: dict[str, int] = {}

    def number(cell: Cell, head: Head) -> Cell:
        if cell.record is None or head.reference is None:
            return cell
        said = notes_on(cell.record, head.reference, head.protocol)
        return replace(cell, notes=tuple(numbers.setdefault(s, len(numbers) + 1) for s in said))

    marked = []
    for row in rows:
        cells = tuple(number(cell, head) for cell, head in zip(row.cells, heads, strict=True))
        marked.append(replace(row, cells=cells))
    return marked, list(numbers)


def identity_of(record: Result) -> tuple[str, str]:
    """Return name and weights of an encoder, by which records share a row."""
    return record.encoder.name, record.encoder.weights_sha256 or ""
