"""Numbers against the cost of an encoder: a figure per task, by parameters and by computation.

A point is an encoder, its bar the 95 % interval over samples; floors are grey, published numbers
are diamonds, and numbers that do not compare with their column are hollow. Points link to records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from bench.records.record import Record
from leaderboards.render.drawing import ACCENT, INK, inline, own_style, plain_axes, svg_text
from leaderboards.render.labels import Box, placed
from leaderboards.render.low_shot_figure import panel_svg
from leaderboards.render.points import Kind, Point, frontier, gflops, parameters, points_of
from leaderboards.rows.low_shot_join import join as join_low_shot
from leaderboards.rows.sections import sections
from leaderboards.rows.table import METRICS, Table, TableCell, TableHead, TableRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS_LIMIT = 12
LABELS_LIMIT = 14  # with more points, only those on the frontier are named
WIDTH, HEIGHT = 3.7, 2.9  # inches
LETTERS = 8


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A cost of encoders; `value` is that of a cell, None if unknown."""

    prefix: str
    label: str
    value: Callable[[TableRow, TableCell], float | None]


SIZE = Axis(prefix="size", label="parameters (millions)", value=parameters)
WORK = Axis(prefix="work", label="GFLOPs per clip", value=gflops)


def figures_markup(table: Table, records: Sequence[Record]) -> str:
    """Return all figures of a table, empty if there is nothing to compare.

    `records` are those that the table was made of, for low-shot curves.
    """
    shown = [r for r in records if r.status != "not_reportable"]
    parts = [
        _group(table, "Against the number of parameters", SIZE),
        _group(table, "Against the computation of the encoder", WORK),
        _curves(table, shown),
    ]
    parts = [part for part in parts if part]
    return "\n".join(['<section class="figures">', *parts, "</section>"]) if parts else ""


# ------------------------------------------------------------------------------------------ figures
def _group(table: Table, title: str, x: Axis) -> str:
    panels, unplaced = [], set()
    for section in sections(table):
        column = next((i for i in section.columns if table.heads[i].column.shows == "metric"), None)
        points = [] if column is None else points_of(table, column, x.value)
        if column is None or len({point.x for point in points}) < 2:
            continue  # a single size shows nothing
        panels.append((section, table.heads[column], points))
        unplaced |= {
            row.name
            for row in table.rows
            if row.cells[column].record and x.value(row, row.cells[column]) is None
        }
    if not panels:
        return ""
    sentences = []
    if unplaced and x is SIZE:
        sentences.append(f"Not shown because without parameters: {', '.join(sorted(unplaced))}.")
    sentences.append("Click a point to see its provenance.")
    if any(len(points) > LABELS_LIMIT for _, _, points in panels):
        sentences.append("Named: encoders that no encoder to their left matches.")
    if len(panels) > PANELS_LIMIT:
        sentences.append(f"Only the first {PANELS_LIMIT} of {len(panels)} tasks are drawn.")
    drawn = []
    for i, (section, head, points) in enumerate(panels[:PANELS_LIMIT]):
        label = escape(f"{section.title}: {METRICS[head.column.metric]} by {x.label}")
        svg = inline(_scatter(head, points, x.label), f"{x.prefix}{i}", label)
        drawn.append(_figure(section.title, head.column.probe, svg))
    kinds = {point.kind for _, _, points in panels for point in points}
    key = " ".join(
        f'<span class="key"><i class="{css}"></i>{words}</span>'
        for kind, (css, words) in KEYS.items()
        if kind in kinds
    )
    legend = f'<p class="legend">{escape(" ".join(sentences))}</p><p class="legend">{key}</p>'
    return _panels(title, legend, drawn)


def _panels(title: str, legend: str, drawn: Sequence[str]) -> str:
    return f'<h2>{title}</h2>{legend}\n<div class="panels">{"".join(drawn)}</div>'


def _figure(title: str, probe: str, svg: str) -> str:
    caption = f"<figcaption>{escape(title)} <small>{escape(probe)}</small></figcaption>"
    return f"<figure>{caption}\n{svg}</figure>\n"


KEYS: Mapping[Kind, tuple[str, str]] = {
    "encoder": ("dot", "encoder, with the 95 % interval over samples"),
    "floor": ("dot grey", "floor"),
    "published": ("dot square", "published"),
    "other": ("dot hollow", "does not compare with its column, see the footnotes"),
}
# Colour, fill and marker.
LOOKS: Mapping[Kind, tuple[str, str, str]] = {
    "encoder": (ACCENT, ACCENT, "o"),
    "floor": (INK, INK, "o"),
    "published": (INK, "none", "D"),
    "other": (ACCENT, "none", "o"),
}


def _scatter(head: TableHead, points: Sequence[Point], axis: str) -> str:
    from matplotlib.figure import Figure

    with own_style():
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=72, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.set_xscale("log")
        for kind in LOOKS:
            if of_kind := [point for point in points if point.kind == kind]:
                _draw(axes, of_kind, kind)
        chance = head.chance
        _limits(axes, points, chance)
        if chance is not None:
            axes.axhline(100 * chance, linestyle=":", linewidth=1, color=INK)
        plain_axes(axes)
        axes.set_xlabel(axis)
        axes.set_ylabel(f"{METRICS[head.column.metric]} (%)")
        figure.draw_without_rendering()  # placing the names needs the final axes
        _name(axes, points, chance)
        return svg_text(figure)


def _draw(axes: Axes, points: Sequence[Point], kind: Kind) -> None:
    colour, filling, marker = LOOKS[kind]
    xs, ys = [p.x for p in points], [p.y for p in points]
    lows, highs = [p.low for p in points], [p.high for p in points]
    axes.vlines(xs, lows, highs, color=colour, linewidth=1.2, alpha=0.55)
    drawn = axes.scatter(
        xs, ys, s=22, linewidths=1.2, zorder=3,
        edgecolors=colour, facecolors=filling, marker=marker,
    )  # fmt: skip
    drawn.set_urls([point.href for point in points])


def _limits(axes: Axes, points: Sequence[Point], chance: float | None) -> None:
    """Leave room around everything drawn, so that nothing is cut off at the axes."""
    lows = [p.low for p in points] + ([] if chance is None else [100 * chance])
    highs = [p.high for p in points]
    room = 0.08 * max(max(highs) - min(lows), 1.0)
    axes.set_ylim(max(0.0, min(lows) - room), max(highs) + room)
    left, right = min(p.x for p in points), max(p.x for p in points)
    margin = (right / left) ** 0.12 if right > left else 2.0
    axes.set_xlim(left / margin, right * margin)
    span = right / left
    ticks = [m * 10.0**e for e in range(-4, 7) for m in ((1, 2, 5) if span < 300 else (1,))]
    low, high = axes.get_xlim()
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _name(axes: Axes, points: Sequence[Point], chance: float | None) -> None:
    """Write names next to their points; names without free space are left out."""
    frame = axes.get_window_extent()
    spots = axes.transData.transform([(p.x, p.y) for p in points])
    ends = axes.transData.transform([(p.x, end) for p in points for end in (p.low, p.high)])
    taken = [Box.around(x, y, 4, 4) for x, y in spots]
    taken += [
        Box(left=x - 1, right=x + 1, bottom=low, top=high)
        for (x, low), (_, high) in zip(ends[::2], ends[1::2], strict=True)
    ]
    guess = []
    if chance is not None:
        middle = float(axes.transData.transform((points[0].x, 100 * chance))[1])
        taken.append(Box(left=frame.x0, right=frame.x1, bottom=middle - 0.5, top=middle + 0.5))
        guess = [(frame.x1 - 2, middle), (frame.x0 + 2, middle)]
    wanted = points if len(points) <= LABELS_LIMIT else frontier(points)
    frame_box = Box(left=frame.x0, right=frame.x1, bottom=frame.y0, top=frame.y1)
    by_point = dict(zip(points, spots, strict=True))
    names = [("chance", guess)] if guess else []
    names += [(p.name, [(float(by_point[p][0]), float(by_point[p][1]))]) for p in wanted if p.name]
    for label in placed(names, taken, frame_box, letters=LETTERS):
        text = axes.annotate(
            label.name,
            (label.x, label.y),
            xycoords="figure pixels",
            fontsize=LETTERS,
            ha=label.align,
            va="center",
            alpha=0.8 if label.name == "chance" else 1,
        )
        text.set_in_layout(False)


# ------------------------------------------------------------------------------------------- curves
def _curves(table: Table, records: Sequence[Record]) -> str:
    wanted = {(head.column.task, head.column.probe, head.protocol) for head in table.heads}
    panels = [
        panel
        for panel in join_low_shot("", records).panels
        if (panel.record.task.name, panel.record.probe.name, panel.record.protocol.name) in wanted
    ]
    if not panels:
        return ""
    text = "Mean over draws of the training labels; the band is one standard deviation (ddof = 1)."
    if len(panels) > PANELS_LIMIT:
        text += f" Only the first {PANELS_LIMIT} of {len(panels)} are drawn."
    drawn = []
    for i, panel in enumerate(panels[:PANELS_LIMIT]):
        label = escape(f"{panel.title}: {panel.metric} by the number of training {panel.rows}")
        svg = inline(panel_svg(panel), f"labels{i}", label)
        drawn.append(_figure(panel.record.task.title, panel.record.probe.name, svg))
    return _panels("Against the number of labels", f'<p class="legend">{text}</p>', drawn)
