"""Label-efficiency curves as a figure: a panel per task and probe, a line per encoder.

The task's metric against training labels on a logarithmic axis; a band is one standard deviation
(ddof = 1) over the draws. The same records give the same bytes. Text and axes inherit the colour
of the page, so one figure serves light and dark pages.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from leaderboards.render.drawing import INK, own_style, plain_axes, svg_text
from leaderboards.rows.low_shot_parts import Line, LowShot, Panel
from leaderboards.rows.table import grouped

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable on white and on black, and with common colour blindness (Okabe and Ito).
COLOURS = ("#0a85cc", "#e08a00", "#0c9c74", "#cc6fa5", "#d45a1e", "#8d7bd6", "#a39a1e", "#5aa9c4")
MARKERS = "oXP*"
FLOOR, DASHES, FLOOR_MARKERS = "#98999b", ((4, 2), (1.5, 1.5), (6, 2, 1.5, 2)), "s^vD"
WIDTH, HEIGHT = 3.3, 2.7  # inches of a panel
PANEL_WIDTH = 3.7  # of a panel that is a figure of its own
LETTERS_PER_INCH = 13
HANDLE_LETTERS = 8  # width of the line and the gaps before a name in the legend
TICK_GAP = 0.14  # decades between two ticks, so that their labels do not touch
LIGHT_OR_DARK = (
    "<style>:root{color:#40454b}@media(prefers-color-scheme:dark){:root{color:#c6ccd2}}</style>"
)


def pictures(board: LowShot) -> tuple[str, bytes]:
    """Return the curves as SVG text that inherits its colour, and as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with own_style():
        figure = _figure(board)
        png = io.BytesIO()
        # PNG first: drawing an SVG leaves the figure at 72 dots per inch.
        FigureCanvasAgg(figure).print_png(  # type: ignore[no-untyped-call]
            png, metadata={"Software": None}
        )
        return svg_text(figure), png.getvalue()


def panel_svg(panel: Panel) -> str:
    """Return the curves of one panel as SVG, with the names of its lines below."""
    from matplotlib.figure import Figure

    with own_style():
        key = _Key.of([panel], PANEL_WIDTH)
        size = (PANEL_WIDTH, HEIGHT + 0.3 + 0.18 * key.num_lines)
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.set_ylim(0, 1.04 * _top(panel))
        handles = _draw(axes, panel, key.styles)
        axes.set_ylabel(f"{panel.metric} (%)")
        key.draw(figure, handles, loc="outside lower left", fontsize=8)
        return svg_text(figure)


def standalone(svg: str) -> str:
    """Return the SVG as a file that follows the reader's light or dark setting."""
    start = svg.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:start]}{LIGHT_OR_DARK}{svg[start:]}'


def _figure(board: LowShot) -> Figure:
    from matplotlib.figure import Figure

    rows = list(grouped(board.panels, _task).values())
    across = max(len(row) for row in rows)
    width = WIDTH * across + 0.3
    key = _Key.of(board.panels, width)
    size = (width, HEIGHT * len(rows) + 0.2 * key.num_lines + 0.1)
    figure = Figure(figsize=size, dpi=144, layout="constrained")
    figure.patch.set_alpha(0)
    grid = figure.subplots(len(rows), across, squeeze=False, sharey="row")
    handles: dict[str, Artist] = {}
    times = Counter(panel.title for panel in board.panels)
    for axes_row, row in zip(grid, rows, strict=True):
        axes_row[0].set_ylim(0, 1.04 * max(map(_top, row)))  # shared by the row
        for place, axes in enumerate(axes_row):
            if place < len(row):
                panel = row[place]
                handles.update(_draw(axes, panel, key.styles))
                facts = f"\n{panel.record.protocol.name}, n = {panel.record.metrics.expected:,}"
                axes.set_title(panel.title + facts * (times[panel.title] > 1), fontsize=9)
                axes.set_ylabel("" if place else f"{panel.metric} (%)")
            else:
                axes.set_axis_off()
    key.draw(figure, handles, loc="outside lower center")
    return figure


@dataclass(frozen=True, kw_only=True)
class _Key:
    """The style of each line by name, encoders first, and the legend below the panels.

    Encoders differ by colour, then marker; floors are grey and dashed.
    """

    styles: Mapping[str, Mapping[str, Any]]
    names: Sequence[str]
    labels: Sequence[str]
    num_columns: int

    @classmethod
    def of(cls, panels: Sequence[Panel], width: float) -> Self:
        """Return the key of panels that are `width` inches wide together."""
        lines = [line for panel in panels for line in panel.lines]
        floors = sorted({line.name for line in lines if line.kind == "floor"})
        encoders = sorted({line.name for line in lines} - {*floors})
        styles: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(encoders):
            marker = MARKERS[i // len(COLOURS) % len(MARKERS)]
            styles[name] = {"color": COLOURS[i % len(COLOURS)], "marker": marker}
        for i, name in enumerate(floors):
            dashes = (0, DASHES[i % len(DASHES)])
            marker = FLOOR_MARKERS[i % len(FLOOR_MARKERS)]
            styles[name] = {"color": FLOOR, "marker": marker, "linestyle": dashes}
        has_chance = any(panel.record.chance is not None for panel in panels)
        names = [*styles, *["chance"] * has_chance]
        letters = int(width * LETTERS_PER_INCH)
        labels = [textwrap.fill(name, letters - HANDLE_LETTERS) for name in names]
        longest = max(map(len, "\n".join(labels).splitlines()))
        num_columns = max(1, min(3, letters // (longest + HANDLE_LETTERS)))
        return cls(styles=styles, names=names, labels=labels, num_columns=num_columns)

    @property
    def num_lines(self) -> int:
        """Number of text lines of the legend."""
        return -(-len(self.names) // self.num_columns) + "".join(self.labels).count("\n")

    def draw(self, figure: Figure, handles: Mapping[str, Artist], **style: Any) -> None:
        """Draw the legend of the lines in `handles`."""
        shown = [handles[name] for name in self.names]
        figure.legend(shown, self.labels, ncols=self.num_columns, frameon=False, **style)


def _top(panel: Panel) -> float:
    """Return the upper end of the highest band in percent, at least chance."""
    cells = [cell for line in panel.lines for cell in line.cells if cell.mean is not None]
    ends = [(cell.mean or 0.0) + (cell.std() or 0.0) for cell in cells]
    return 100 * max(panel.record.chance or 0.0, *ends)


def _task(panel: Panel) -> tuple[str, ...]:
    record = panel.record
    return record.task.name, record.data.score.digest, record.protocol.name


def _draw(axes: Axes, panel: Panel, styles: Mapping[str, Mapping[str, Any]]) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    for line in panel.lines:
        style = styles[line.name]
        cells = sorted((c for c in line.cells if c.records), key=lambda cell: cell.labels)
        x = [cell.labels for cell in cells]
        y = 100 * np.array([cell.mean or 0.0 for cell in cells])
        half = 100 * np.array([cell.std() or 0.0 for cell in cells])
        [drawn] = axes.plot(x, y, markersize=3.5, linewidth=1.6, **style)
        axes.fill_between(x, y - half, y + half, color=style["color"], alpha=0.22, linewidth=0)
        handles[line.name] = drawn
    if panel.record.chance is not None:
        chance = 100 * panel.record.chance
        handles["chance"] = axes.axhline(chance, linestyle=":", linewidth=1, color=INK)
    axes.set_xscale("log")
    ticks = _ticks(panel.lines)
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.set_xticks([], minor=True)
    plain_axes(axes)
    axes.set_xlabel(f"training {panel.rows}")
    return handles


def _ticks(lines: Sequence[Line]) -> list[float]:
    """Return the measured numbers of labels, thinned so that tick labels do not touch."""
    found = sorted({cell.labels for line in lines for cell in line.cells if cell.records})
    kept: list[float] = []
    for labels in reversed(found):
        if not kept or math.log10(kept[-1] / labels) >= TICK_GAP:
            kept.append(labels)
    return kept[::-1]
