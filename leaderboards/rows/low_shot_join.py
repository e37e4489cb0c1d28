"""Join low-shot records: a panel per task and probe, encoders by shares of the labels.

A line is one encoder with one configuration (plan, seed, probe settings, precision); its runs
differ only in the share of the labels and the draw. Of several records of one share and draw the
newest complete one is taken, whatever their scores.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from bench.data.few_labels import KEYS
from bench.metrics.label_efficiency import Curve, labels_to_reach, log_area, middle
from bench.records.metrics import FrameMapPart
from bench.records.record import ProbePart, Record, TrainLabelsPart
from bench.records.run_id import FILE_PLACES, PLACES
from leaderboards.rows.best import as_printed, bold, is_trusted, marked
from leaderboards.rows.join import RANK
from leaderboards.rows.low_shot_parts import (
    DrawnNumbers,
    Draws,
    LabelShare,
    Line,
    LowShot,
    Panel,
    Reach,
    labels_of,
)
from leaderboards.rows.notes import left_out, own_notes
from leaderboards.rows.table import age, grouped

SHARE_OPTIONS = (*KEYS, *PLACES, *FILE_PLACES)
NUM_TARGETS = 3
CLASSES = {
    "short_classes": "classes with too few rows, all of which are used",
    "lifted_classes": "classes raised to one row, above the fraction",
    "lost_classes": "classes absent from the drawn videos",
}


def join(
    title: str,
    records: Sequence[Record],
    *,
    targets: Sequence[float] = (),
    include_unreportable: bool = False,
    refused: tuple[str, ...] = (),
) -> LowShot:
    """Return the panels of all tasks and probes that have a record with few labels.

    `targets` are accuracies as fractions; by default every panel gets up to three multiples of
    10 % that some line reaches, but not every line with its smallest share.
    """
    labelled = (record for record in sorted(records, key=age) if record.train_labels)
    groups = grouped(labelled, _panel_key)
    numbers: dict[str, int] = {}
    panels, hidden = [], 0
    for _, group in sorted(groups.items()):
        if not _has_few_labels(group):
            continue
        shown = [r for r in group if include_unreportable or r.status != "not_reportable"]
        hidden += len(group) - len(shown)
        if _has_few_labels(shown):
            panels.append(_panel(shown, targets, numbers))
    return LowShot(
        title=title, panels=tuple(panels), notes=tuple(numbers), hidden=hidden, refused=refused
    )


def _has_few_labels(records: Iterable[Record]) -> bool:
    return any(not labels_of(record).are_all for record in records)


def _panel_key(record: Record) -> tuple[str, ...]:
    whole = record.data.fit.digest if labels_of(record).are_all and record.data.fit else ""
    return (
        record.task.name,
        record.probe.name,
        record.protocol.name,
        record.protocol.digest,
        record.data.score.digest,
        str(record.task.options.get("whole_sha256") or whole),
        *(f"{name} {sha256}" for name, sha256 in sorted(record.task.files.items())),
        record.metrics.rules if isinstance(record.metrics, FrameMapPart) else "",
    )


def _panel(records: Sequence[Record], targets: Sequence[float], numbers: dict[str, int]) -> Panel:
    # Sorted by number of labels; all labels come last.
    found = {_share(labels_of(record)): LabelShare(record=record) for record in records}
    shares = sorted(found, key=lambda key: (found[key].rows, [str(part) for part in key]))
    columns = tuple(found[key] for key in shares)
    by_line = grouped(records, lambda record: tuple(_choices(record).items()))
    lines = [_line(group, shares) for group in by_line.values()]
    draws = max(len(c.records) for line in lines for c in line.cells)
    targets = tuple(targets) or _usual_targets(lines, records[0].chance or 0.0)
    lines = sorted((_measured(_named(line, lines), targets) for line in lines), key=_best_first)
    lines = [_with_notes(line, columns, draws, numbers) for line in _with_best(lines)]
    return Panel(
        record=records[-1], columns=columns, lines=tuple(lines), targets=targets, draws=draws
    )


def _best_first(line: Line) -> tuple[Any, ...]:
    means = (-1.0 if cell.mean is None else cell.mean for cell in line.cells)
    return line.kind == "floor", -(line.area.mean or 0.0), *(-mean for mean in means), line.name


def _share(labels: TrainLabelsPart) -> tuple[Any, ...]:
    """Return what the draws of one share have in common; all labels need no rule."""
    rule = "" if labels.are_all else labels.rule
    return labels.subset_sha256, labels.shots, labels.fraction, rule


def _choices(record: Record) -> dict[str, str]:
    """Return everything that can distinguish two lines of a panel, as readable texts."""
    config, features, probe = record.config, record.features, record.probe
    options, plan = record.task.options, record.plan
    # The plan is named on its own.
    deviations = [d for d in record.protocol.deviations if not d.startswith("plan ")]
    return {
        "encoder": record.encoder.name,
        "weights": (record.encoder.weights_sha256 or "none")[:8],
        "plan": plan.fit if plan.fit == plan.score else f"{plan.fit} to fit, {plan.score} to score",
        "seed": str(config.get("seed", 0)),
        "protocol": "; ".join(deviations) or "as is",
        "features": f"{features.mode} {features.dtype} {features.precision}",
        "limit": str(config.get("limit") or "none"),
        "unreadable": str(config.get("on_unreadable", "stop")),
        "decoder": _decoder(record),
        "encoder options": _compact(config.get("encoder_options")),
        "task options": _compact({k: v for k, v in options.items() if k not in SHARE_OPTIONS}),
        **_settings(probe),
    }


def _decoder(record: Record) -> str:
    """Return the decoder of the configuration; `auto` was decord before it was PyAV."""
    name = str(record.config.get("decoder", "auto"))
    return f"{name} (decord)" if name == "auto" and "decord" in record.features.decoders else name


def _settings(probe: ProbePart) -> dict[str, str]:
    """Return the settings of a probe, and the values of each axis of its sweep."""
    axes: dict[str, list[str]] = {}
    for head in probe.heads:
        for key, value in head.items():
            axes.setdefault(key, []).append(str(value))
    common = {key: [str(value)] for key, value in probe.settings.items()}
    return {key: ", ".join(dict.fromkeys(values)) for key, values in (common | axes).items()}


def _compact(value: Any) -> str:
    return json.dumps(value or {}, sort_keys=True, separators=(",", ":"))


def _line(records: Sequence[Record], shares: Iterable[tuple[Any, ...]]) -> Line:
    cells: dict[tuple[Any, ...], dict[int, Record]] = {share: {} for share in shares}
    for record in sorted(records, key=lambda r: (RANK[r.status], age(r))):
        labels = labels_of(record)
        # All draws of all labels are equal.
        cells[_share(labels)][0 if labels.are_all else labels.draw] = record
    newest = max(records, key=age)
    return Line(
        name=newest.encoder.name,
        record=newest,
        cells=tuple(
            Draws(records=found, values=tuple(r.headline for _, r in sorted(found.items())))
            for found in cells.values()
        ),
    )


def _named(line: Line, lines: Sequence[Line]) -> Line:
    same = [_choices(other.record) for other in lines if other.name == line.name]
    chosen = _choices(line.record)
    differing = [key for key in chosen if len({choices.get(key) for choices in same}) > 1]
    suffix = ", ".join(f"{key} {chosen[key]}" for key in differing)
    return replace(line, name=f"{line.name} ({suffix})") if suffix else line


def _measured(line: Line, targets: Sequence[float]) -> Line:
    """Add the areas, and the labels to reach the targets, from the curve of every draw."""
    curves = _curves_by_draw(line.cells)
    areas = (log_area(curve) for curve in curves)
    return replace(
        line,
        area=DrawnNumbers(values=tuple(area for area in areas if area is not None)),
        reaches=tuple(_reach(curves, target) for target in targets),
    )


def _reach(curves: Sequence[Curve], target: float) -> Reach:
    by_draw = tuple(labels_to_reach(curve, target) for curve in curves)
    firsts = [min((n for n, _ in curve), default=None) for curve in curves]
    from_the_first = sum(got == n for got, n in zip(by_draw, firsts, strict=True) if n is not None)
    labels = middle(by_draw)
    is_bound = labels is not None and 2 * from_the_first >= len(by_draw)
    return Reach(target=target, labels=labels, by_draw=by_draw, is_bound=is_bound)


def _curves_by_draw(cells: Sequence[Draws]) -> list[list[tuple[float, float]]]:
    """Return a curve per draw that has all shares (one if no share is drawn); shares without draws
    are in each.
    """
    drawn = [cell for cell in cells if cell.records and not _is_single(cell)]
    fixed = [(c.labels, c.values[0]) for c in cells if c.records and _is_single(c)]
    if not drawn:
        return [fixed]
    draws = set.intersection(*(set(cell.records) for cell in drawn))
    return [
        [*((labels_of(c.records[d]).used, c.records[d].headline) for c in drawn), *fixed]
        for d in sorted(draws)
    ]


def _is_single(cell: Draws) -> bool:
    """Whether a share has no draws: all labels, or a list of them."""
    labels = labels_of(next(iter(cell.records.values())))
    return labels.are_all or labels.subset_sha256 is not None


def _usual_targets(lines: Sequence[Line], chance: float) -> tuple[float, ...]:
    curves = [[accuracy for _, accuracy in line.curve] for line in lines if line.kind == "encoder"]
    curves = curves or [[accuracy for _, accuracy in line.curve] for line in lines]
    useful = [
        target
        for target in (n / 10 for n in range(1, 10))
        if target > chance
        and any(max(curve) >= target for curve in curves)
        and any(curve[0] < target for curve in curves)
    ]
    return tuple(useful[-NUM_TARGETS:])


def _with_best(lines: Sequence[Line]) -> list[Line]:
    """Mark the bold numbers of every column, among lines with the most frequent deviations from
    the protocol (on a tie the fewest); lines that excluded rows compete only if all did.
    """
    counts = Counter(_deviations(line.record) for line in lines)
    common = min(counts, key=lambda key: (key[0] != "", -counts[key], len(key), key))
    values = [
        [as_printed(cell.mean) if _competes(cell, common) else None for cell in line.cells]
        for line in lines
    ]
    is_floor = [line.kind == "floor" for line in lines]
    pairs = zip(lines, bold(values, is_floor), strict=True)
    return [replace(line, cells=marked(line.cells, is_best)) for line, is_best in pairs]


def _competes(cell: Draws, common: tuple[str, ...]) -> bool:
    return bool(cell.records) and all(
        is_trusted(r) and _deviations(r) == common for r in cell.records.values()
    )


def _deviations(record: Record) -> tuple[str, ...]:
    """Return what competing numbers share: excluded rows, and deviations from the protocol."""
    return left_out(record), *record.protocol.deviations


def _with_notes(
    line: Line, columns: Sequence[LabelShare], draws: int, numbers: dict[str, int]
) -> Line:
    """Number the footnotes in reading order; equal sentences share a number."""

    def number(sentences: Iterable[str]) -> tuple[int, ...]:
        return tuple(sorted({numbers.setdefault(s, len(numbers) + 1) for s in sentences}))

    titles = [column.title for column in columns]
    cells = []
    for column, cell in zip(columns, line.cells, strict=True):
        notes = _sentences(cell, draws)
        if cell.records and titles.count(column.title) > 1:
            notes.append(f"draw rule: {column.labels.rule or 'not recorded'}")
        cells.append(replace(cell, notes=number(notes)))
    measured = [c.title for c, cell in zip(columns, line.cells, strict=True) if cell.records]
    is_partial = line.area.values and len(measured) < len(columns)
    notes = [f"area only over the shares {', '.join(measured)}"] if is_partial else []
    return replace(line, cells=tuple(cells), area=replace(line.area, notes=number(notes)))


def _sentences(cell: Draws, draws: int) -> list[str]:
    if not cell.records:
        return []
    notes = []
    if len(cell.records) < draws and not _is_single(cell):
        notes.append(f"{len(cell.records)} of {draws} draws")
    for record in cell.records.values():
        labels, options = labels_of(record), record.task.options
        assert record.data.fit
        if labels.used < record.data.fit.listed:
            notes.append(f"trained on {labels.used:,} of {record.data.fit.listed:,} drawn rows")
        notes += [f"{what}: {options[key]}" for key, what in CLASSES.items() if options.get(key)]
        notes += own_notes(record)
    return notes
