"""Join records into a table: encoders by columns, with a footnote wherever numbers do not compare.

A cell shows the newest complete record of its encoder that measured what the rest of the column
did, or the mean over those that differ from it only in the seed or the draw. Whatever deviates from
the column (another protocol, split, annotation list or share of the labels; unscored rows; a
suspect or not reportable record) gets a footnote; numbers that do not compare are never the best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.errors import UsageError, closest
from bench.publish.leaderboard import Column, Leaderboard
from bench.records.record import Record
from leaderboards.rows.best import with_best
from leaderboards.rows.candidates import candidates, names_a_share, plan_note, shown_value
from leaderboards.rows.layout import ordered
from leaderboards.rows.notes import left_out, measured, notes_on, trained_on
from leaderboards.rows.ranks import with_intervals, with_places
from leaderboards.rows.seeds import repeats, spread
from leaderboards.rows.table import METRICS, Table, TableCell, TableHead, TableRow, age, grouped

Identity = tuple[str, str, str]
RANK = {"not_reportable": 0, "suspect": 1, "complete": 2}


def join(
    board: Leaderboard, records: Sequence[Record], *, include_unreportable: bool = False
) -> Table:
    """Return the table of a board; without columns of its own it gets every task and probe found.

    Rows are encoders (best first by the first column), then floors, then chance.

    Raises:
        UsageError: a column shows a metric that does not exist, or that its task does not have.
    """
    for column in board.columns:
        if column.metric not in METRICS:
            raise UsageError(
                f"board {board.name!r} shows {column.metric!r}.{closest(column.metric, METRICS)}"
            )
    shown = [r for r in records if include_unreportable or r.status != "not_reportable"]
    columns = board.columns or columns_of(shown)
    by_task = grouped(shown, lambda record: (record.task.name, record.probe.name))
    fields = [
        candidates(column, columns, by_task.get((column.task, column.probe), []))
        for column in columns
    ]
    heads = tuple(map(_head, columns, fields))
    for column, record in ((head.column, head.reference) for head in heads):
        if record and column.metric not in type(record.metrics).model_fields:
            raise UsageError(
                f"board {board.name!r} shows {column.metric} of {column.task}, whose records have"
                f" {record.task.metric}; use that metric for its column {column.title!r}."
            )
    rows, pooled = _encoder_rows(heads, fields)
    rows = [*ordered(rows, "encoder", 0), *ordered(rows, "floor", 0)]
    rows, without_interval = with_intervals(rows, heads, pooled, board.records)
    rows, without_place = with_places(rows, heads, board.records)
    rows = with_best(rows, heads)
    rows, notes = _numbered([*rows, *_chance(heads)], heads)
    return Table(
        name=board.name,
        title=board.title,
        heads=heads,
        rows=tuple(rows),
        notes=tuple(notes),
        hidden=len(records) - len(shown),
        remarks=(*without_interval, *without_place),
        refused=board.refused,
    )


def columns_of(records: Iterable[Record]) -> list[Column]:
    """Return a column per task, protocol, probe and metric found, sorted."""
    found = sorted({(r.task.name, r.protocol.name, r.probe.name, r.task.metric) for r in records})
    return [
        Column(title=probe, task=task, probe=probe, protocol=protocol, metric=metric)
        for task, protocol, probe, metric in found
    ]


def _head(column: Column, field: Sequence[Record]) -> TableHead:
    """Choose the reference of a column: its own protocol or the most frequent one, then the most
    frequent splits under it, then the larger score split. Records that count all rows come first.
    """
    protocol = column.protocol
    if protocol is None and field:
        votes = Counter(r.protocol.name for r in field)
        protocol = min(votes, key=lambda name: (-votes[name], name))
    agreed = [r for r in field if r.protocol.name == protocol] or list(field)
    # A low-shot study leaves many records; the column still shows the results with all labels.
    agreed = [r for r in agreed if r.train_labels is None or r.train_labels.are_all] or agreed
    kinds = Counter(measured(r) for r in agreed)
    reference = max(
        agreed,
        key=lambda r: (
            not left_out(r),
            kinds[measured(r)],
            r.data.score.listed,
            measured(r),
            *age(r),
        ),
        default=None,
    )
    return TableHead(column=column, protocol=protocol, reference=reference)


def _encoder_rows(
    heads: Sequence[TableHead], fields: Sequence[Sequence[Record]]
) -> tuple[list[TableRow], dict[str, list[Record]]]:
    """Return a row per encoder with a number, and the records of each mean by that of its cell."""
    by_encoder = [grouped(field, identity_of) for field in fields]
    every = grouped((record for field in fields for record in field), identity_of)
    newest = {identity: max(group, key=age) for identity, group in every.items()}
    rows, pooled = [], {}
    for identity, record in sorted(newest.items()):
        cells = []
        for head, group in zip(heads, by_encoder, strict=True):
            cell, repeated = _cell(head, group.get(identity, []))
            cells.append(cell)
            if cell.record and head.column.shows == "metric":
                pooled[cell.record.id] = repeated
        rows.append(
            TableRow(
                kind="floor" if record.encoder.is_floor else "encoder",
                name=_name(identity, newest),
                record=record,
                cells=tuple(cells),
            )
        )
    return rows, pooled


def _cell(head: TableHead, field: Sequence[Record]) -> tuple[TableCell, list[Record]]:
    """Choose the newest complete record, preferably one that compares with the column, whatever
    the scores; average it with those that repeat it with other seeds or draws, returned too.
    """
    reference = head.reference
    if not field or reference is None:
        return TableCell(), []
    usual = measured(reference)
    chosen = max(
        field,
        key=lambda r: (
            r.protocol.name == head.protocol,
            measured(r) == usual,
            trained_on(r) == trained_on(reference),
            RANK[r.status],
            *age(r),
        ),
    )
    found = repeats(chosen, field) if len(field) > 1 else {}
    seeds = spread(head.column, found)
    value = seeds.mean if seeds else shown_value(head.column, chosen)
    others = len(field) - (seeds.count if seeds else 1)
    cell = TableCell(value=value, record=chosen, others=others, seeds=seeds)
    return cell, list(found.values())


def _chance(heads: Sequence[TableHead]) -> list[TableRow]:
    """Return the row of uniform guessing, unless no column has a chance level (mAP has none)."""
    cells = tuple(
        TableCell(value=head.chance if head.column.shows == "metric" else None) for head in heads
    )
    row = TableRow(kind="chance", name="chance", record=None, cells=cells)
    return [row] if any(cell.value is not None for cell in cells) else []


def _numbered(
    rows: Sequence[TableRow], heads: Sequence[TableHead]
) -> tuple[list[TableRow], list[str]]:
    """Number the footnotes in reading order; equal sentences share a number."""
    numbers: dict[str, int] = {}

    def number(cell: TableCell, head: TableHead) -> TableCell:
        if cell.record is None or head.reference is None:
            return cell
        drawn = cell.seeds is not None and cell.seeds.over == "draws"
        notes = notes_on(
            cell.record,
            head.reference,
            head.protocol,
            is_named=names_a_share(head.column),
            draws=tuple(cell.seeds.values) if cell.seeds and drawn else (),
        )
        notes = [note for note in [plan_note(head.column, cell.record), *notes] if note]
        return replace(cell, notes=tuple(numbers.setdefault(n, len(numbers) + 1) for n in notes))

    marked = [replace(row, cells=tuple(map(number, row.cells, heads))) for row in rows]
    return marked, list(numbers)


def identity_of(record: Record) -> Identity:
    """Return name, weights and input of an encoder; records that share them share a row."""
    encoder = record.encoder
    clip = f"{encoder.num_frames} x {encoder.image_size}²"
    return encoder.name, encoder.weights_sha256 or "", clip


def _name(identity: Identity, others: Iterable[Identity]) -> str:
    """Return the name of an encoder, with what distinguishes it from others of that name."""
    name, weights, clip = identity
    same = [other for other in others if other[0] == name]
    parts = [weights[:8] or "no weights"] if len({other[1] for other in same}) > 1 else []
    parts += [clip] if len({other[2] for other in same}) > 1 else []
    return f"{name} ({', '.join(parts)})" if parts else name
