"""Numbers against what an encoder costs: a small picture per task, for parameters and for time.

A point is an encoder, its bar the 95 % interval over samples; floors are grey, published numbers
are diamonds, and what does not compare with its column is open. Every point links to its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from bench.records.record import Result
from leaderboards.render.drawing import ACCENT, INK, inline, own_style, plain_axes, svg_text
from leaderboards.render.labels import Box, placed
from leaderboards.render.low_shot_figure import panel_svg
from leaderboards.render.points import Kind, Point, frontier, milliseconds, parameters, points_of
from leaderboards.rows.low_shot_join import join as join_low_shot
from leaderboards.rows.low_shot_parts import Panel
from leaderboards.rows.sections import Section, sections
from leaderboards.rows.table import METRICS, Cell, Head, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS_LIMIT = 12
LABELS_LIMIT = 14  # of more points only those are named that no smaller one reaches
WIDTH, HEIGHT = 3.7, 2.9  # inches
LETTERS = 8


def figures_markup(table: Table, records: Sequence[Result]) -> str:
    """Return all pictures of a table; nothing where there is nothing to compare.

    `records` are those that the table was made of, for speeds and for curves over few labels.
    """
    shown = [r for r in records if r.status != "not_reportable"]
    speeds, where, elsewhere = milliseconds(table, shown)
    cost = (
        f"Milliseconds that a clip takes in the network, measured in these runs ({where})."
        if where
        else ""
    )
    if elsewhere:
        cost += f" Not shown, for they ran elsewhere: {', '.join(elsewhere)}."
    parts = [
        _group(
            table,
            "Against the number of parameters",
            "",
            "parameters (millions)",
            "size",
            parameters,
        ),
        _group(
            table,
            "Against the time of the encoder",
            cost,
            "milliseconds a clip",
            "time",
            lambda row, cell: speeds.get(id(row)),
        ),
        _curves(table, shown),
    ]
    parts = [part for part in parts if part]
    return "\n".join(['<section class="figures">', *parts, "</section>"]) if parts else ""


# ----------------------------------------------------------------------------------------- pictures
def _group(
    table: Table,
    title: str,
    told: str,
    axis: str,
    prefix: str,
    x_of: Callable[[Row, Cell], float | None],
) -> str:
    panels, unplaced = [], set()
    for section in sections(table):
        column = next((i for i in section.columns if table.heads[i].column.shows == "metric"), None)
        points = [] if column is None else points_of(table, column, x_of)
        if column is None or len({point.x for point in points}) < 2:
            continue  # nothing to read off one size, or one speed
        panels.append((section, column, points))
        unplaced |= {
            row.name
            for row in table.rows
            if row.cells[column].record and x_of(row, row.cells[column]) is None
        }
    if not panels:
        return ""
    told += _unplaced(sorted(unplaced)) if prefix == "size" else ""
    kinds = {point.kind for _, _, points in panels for point in points}
    told += " Choose a point to see how it came about."
    many = any(len(points) > LABELS_LIMIT for _, _, points in panels)
    if many:
        told += " Named are those that no encoder to their left reaches."
    if len(panels) > PANELS_LIMIT:
        told += f" The first {PANELS_LIMIT} of {len(panels)} tasks are drawn."
    drawn = []
    for i, (section, column, points) in enumerate(panels[:PANELS_LIMIT]):
        svg = inline(
            _scatter(table.heads[column], points, axis),
            f"{prefix}{i}",
            escape(f"{section.title}: {METRICS[table.heads[column].column.metric]} by {axis}"),
        )
        drawn.append(_figure(_heading(section, table.heads[column]), svg))
    return (
        f'<h2>{title}</h2>{_said(told.strip())}<p class="legend">{_key(kinds)}</p>\n'
        f'<div class="panels">{"".join(drawn)}</div>'
    )


def _said(told: str) -> str:
    return f'<p class="legend">{escape(told)}</p>' if told else ""


def _unplaced(names: Sequence[str]) -> str:
    return f" Without parameters, and so not shown: {', '.join(names)}." if names else ""


def _heading(section: Section, head: Head) -> str:
    return f"{escape(section.title)} <small>{escape(head.column.probe)}</small>"


def _figure(heading: str, svg: str) -> str:
    return f"<figure><figcaption>{heading}</figcaption>\n{svg}</figure>\n"


KEYS: Mapping[Kind, tuple[str, str]] = {
    "encoder": ("dot", "encoder, with the 95 % interval over samples"),
    "floor": ("dot grey", "floor"),
    "published": ("dot square", "published"),
    "other": ("dot hollow", "does not compare with its column, see the footnotes"),
}


def _key(kinds: set[Kind]) -> str:
    return " ".join(
        f'<span class="key"><i class="{css}"></i>{told}</span>'
        for kind, (css, told) in KEYS.items()
        if kind in kinds
    )


LOOKS: Mapping[Kind, dict[str, object]] = {
    "encoder": {"color": ACCENT, "facecolor": ACCENT, "marker": "o"},
    "floor": {"color": INK, "facecolor": INK, "marker": "o"},
    "published": {"color": INK, "facecolor": "none", "marker": "D"},
    "other": {"color": ACCENT, "facecolor": "none", "marker": "o"},
}


def _scatter(head: Head, points: Sequence[Point], axis: str) -> str:
    from matplotlib.figure import Figure

    with own_style():
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=72, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.set_xscale("log")
        for kind, look in LOOKS.items():
            own = [point for point in points if point.kind == kind]
            if own:
                _draw(axes, own, look)
        chance = head.reference.chance if head.reference and head.column.metric != "top5" else None
        _limits(axes, points, chance)
        if chance is not None:
            axes.axhline(100 * chance, linestyle=":", linewidth=1, color=INK)
        plain_axes(axes)
        axes.set_xlabel(axis)
        axes.set_ylabel(f"{METRICS[head.column.metric]} (%)")
        figure.draw_without_rendering()  # the places of names need the final axes
        _name(axes, points, chance)
        return svg_text(figure)


def _draw(axes: Axes, points: Sequence[Point], look: Mapping[str, object]) -> None:
    xs, ys = [p.x for p in points], [p.y for p in points]
    axes.vlines(
        xs, [p.low for p in points], [p.high for p in points],
        color=str(look["color"]), linewidth=1.2, alpha=0.55,
    )  # fmt: skip
    drawn = axes.scatter(
        xs, ys, s=22, linewidths=1.2, zorder=3,
        edgecolors=str(look["color"]), facecolors=str(look["facecolor"]),
        marker=str(look["marker"]),
    )  # fmt: skip
    drawn.set_urls([point.href for point in points])


def _limits(axes: Axes, points: Sequence[Point], chance: float | None) -> None:
    """Leave room around all that is drawn: nothing is cut off at the axes."""
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
    """Write names beside their points, where they touch nothing; else they are left out."""
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
        told = axes.annotate(
            label.name,
            (label.x, label.y),
            xycoords="figure pixels",
            fontsize=LETTERS,
            ha=label.align,
            va="center",
            alpha=0.8 if label.name == "chance" else 1,
        )
        told.set_in_layout(False)


# ------------------------------------------------------------------------------------------- curves
def _curves(table: Table, records: Sequence[Result]) -> str:
    """Return the curves over the number of labels of the tasks and probes of the table."""
    wanted = {(head.column.task, head.column.probe, head.protocol) for head in table.heads}
    panels = [
        panel
        for panel in join_low_shot("", records).panels
        if (panel.record.task.name, panel.record.probe.name, panel.record.protocol.name) in wanted
    ]
    if not panels:
        return ""
    told = "Mean over draws of the training labels; the band is one standard deviation (ddof = 1)."
    if len(panels) > PANELS_LIMIT:
        told += f" The first {PANELS_LIMIT} of {len(panels)} are drawn."
    drawn = [_curve(panel, i) for i, panel in enumerate(panels[:PANELS_LIMIT])]
    return (
        f'<h2>Against the number of labels</h2><p class="legend">{told}</p>\n'
        f'<div class="panels">{"".join(drawn)}</div>'
    )


def _curve(panel: Panel, i: int) -> str:
    said = escape(f"{panel.title}: {panel.metric} by the number of training {panel.rows}")
    heading = f"{escape(panel.record.task.title)} <small>{escape(panel.record.probe.name)}</small>"
    return _figure(heading, inline(panel_svg(panel), f"labels{i}", said))
