"""Figures as SVG that inherits the colours of the page; the same data give the same bytes.

Text and axes are drawn in `INK` and become the text colour, data are drawn in `ACCENT` and become
the accent of the page, so one figure serves light and dark pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#7f8183"
ACCENT = "#0f6b5d"
STYLES: Mapping[str, object] = {
    "svg.hashsalt": "frozenbench",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may contain a dollar sign
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with our settings, whatever the user's matplotlibrc says."""
    import matplotlib as mpl  # takes half a second, not needed to list the registry

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLES)  # type: ignore[arg-type]
        yield


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG, without date and version."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    omitted = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(out, metadata=omitted)  # type: ignore[no-untyped-call]
    text = out.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def inline(svg: str, prefix: str, label: str) -> str:
    """Return an SVG to embed in a page next to others: full width, with unique ids.

    Unused ids and clip paths are dropped: nothing is drawn beyond the axes. The links of its points
    cannot take the focus, since the table has the same ones.
    """
    svg = re.sub(r"<defs>\s*<clipPath.*?</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="[^"]*"| xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href").replace(ACCENT, "var(--accent)")
    used = set(re.findall(r'<use href="#([^"]+)"', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'<use href="#', f'<use href="#{prefix}-', svg)
    svg = re.sub(r'<a href="([^"]*)"[^>]*>', r'<a href="\1" tabindex="-1">', svg)
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: (\d[\d.]*)px [^;\"]*", r"font-size: \1px", svg)
    start = svg.index(">")
    box = re.search(r'viewBox="[^"]*"', svg[:start])
    assert box
    return f'<svg {box[0]} role="img" aria-label="{label}"{svg[start:]}'


def plain_axes(axes: Axes) -> None:
    """Remove everything that is not data: frame, background, heavy grid lines."""
    axes.grid(color=INK, alpha=0.18, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_alpha(0.5)
