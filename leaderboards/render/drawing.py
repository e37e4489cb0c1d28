"""Pictures as SVG that takes the colours of the page around it; the same data give the same bytes.

Letters and axes are drawn in `INK` and become the colour of the text, what is measured is drawn in
`ACCENT` and becomes the accent of the page: one picture serves light and dark.
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
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with our settings, whatever the reader's own matplotlibrc says."""
    import matplotlib as mpl  # half a second, and not needed to list what is registered

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLES)  # type: ignore[arg-type]
        yield


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG, without what says when and with which version it was made."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(out, metadata=unsaid)  # type: ignore[no-untyped-call]
    text = out.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def inline(svg: str, prefix: str, label: str) -> str:
    """Return an SVG to stand in a page beside others: as wide as its place, ids of its own.

    Ids that nothing refers to are left out, and so are clips: nothing is drawn beyond the axes.
    Links of its points are for the mouse alone, since the table has the same ones.
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
    """Take away what is no data: the frame, its background, heavy grid lines."""
    axes.grid(color=INK, alpha=0.18, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_alpha(0.5)
