"""HTML snippets that the pages share, and the page template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from bench.records.record import Record

PARTS = (
    "title", "lead", "before", "controls", "table", "notes", "legend", "figures", "records", "data",
)  # fmt: skip
LONGEST_TERM = 10  # letters
BREAKS = re.compile(r"[_:/]|[^\s_:/]{24}(?=[^\s_:/])")


def filled_page(parts: Mapping[str, str]) -> str:
    """Replace each `{{name}}` by its part, in one pass: a part may itself contain braces.

    Missing parts (of `PARTS`) are empty; `css` and `js` come from the files next to this one.
    """
    page, css, js = (
        Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    given = {**dict.fromkeys(PARTS, ""), **parts, "css": css, "js": js}
    return re.sub(r"\{\{(.*?)\}\}", lambda match: given[match[1]], page)


def framed(lines: Iterable[str], caption: str, labelled_by: str, css: str = "scroll") -> str:
    """Return the lines of a table in a scrolling frame, labelled by the element of that id."""
    return "\n".join(
        [
            f'<div class="{css}" role="region" aria-labelledby="{labelled_by}" tabindex="0">',
            '<table class="board">',
            f"<caption>{escape(caption)}</caption>",
            *lines,
            "</table>",
            "</div>",
        ]
    )


def css_class(*names: str) -> str:
    """Return a class attribute of the names that are not empty; nothing without any."""
    used = " ".join(filter(None, names))
    return f' class="{used}"' if used else ""


def bodies(rows: Sequence[tuple[str, str]], num_columns: int) -> list[str]:
    """Return the bodies of a table from (kind, row): encoders, then floors below their heading."""
    ranked = [row for kind, row in rows if kind in ("encoder", "published")]
    floors = [row for kind, row in rows if kind in ("floor", "chance")]
    if floors:
        rest = f'<td class="start" colspan="{num_columns}"></td>' if num_columns else ""
        heading = f'<th class="who" scope="rowgroup">Floors</th>{rest}'
        floors.insert(0, f'<tr class="apart">{heading}</tr>')
    return ['<tbody class="ranked">', *ranked, "</tbody>",
            '<tbody class="floors">', *floors, "</tbody>"]  # fmt: skip


def listed_notes(notes: Iterable[str]) -> str:
    """Return footnotes as a numbered list that cells link to."""
    items = [f'<li id="note-{i}">{escape(note)}</li>' for i, note in enumerate(notes, start=1)]
    return "\n".join(
        ['<ol class="notes" aria-label="Footnotes">', *items, "</ol>"] if items else []
    )


def listed_legend(sentences: Iterable[str]) -> str:
    """Return sentences as a list; a short text before a colon is set as the term they define."""
    items = []
    for sentence in sentences:
        term, colon, rest = sentence.partition(": ")
        is_term = bool(colon) and len(term) <= LONGEST_TERM
        text = f"<b>{escape(term)}:</b> {escape(rest)}" if is_term else escape(sentence)
        items.append(f"<li>{text}</li>")
    return "\n".join(['<ul class="legend">', *items, "</ul>"] if items else [])


def described(facts: Mapping[str, Iterable[str]]) -> str:
    """Return headings and lines as a description list."""
    items = (
        f"<dt>{escape(name)}</dt><dd>{'<br>'.join(map(escape, lines))}</dd>"
        for name, lines in facts.items()
    )
    return f"<dl>{''.join(items)}</dl>"


def marks(notes: Iterable[int]) -> str:
    """Return links to footnotes."""
    return " ".join(f'<a href="#note-{n}" aria-label="footnote {n}">{n}</a>' for n in notes)


def bar(value: float, chance: float | None, low: float | None = None, high: float | None = None,
        ) -> str:  # fmt: skip
    """Return the style of the bar below a number: fading from `low` to `high`, a tick at chance.

    All are fractions.
    """
    ends = {"value": value, "low": low, "high": high, "chance": chance}
    return ";".join(f"--{name}:{100 * end:.1f}%" for name, end in ends.items() if end is not None)


def breakable(name: str) -> str:
    """Return a name with line-break opportunities at `_:/` and within very long words."""
    return escape(BREAKS.sub("\\g<0>\0", name)).replace("\0", "<wbr>")


def size_of(record: Record) -> str:
    """Return parameters and input of an encoder: `303 M · 16 x 224²`."""
    encoder = record.encoder
    parts = [millions(encoder.num_parameters)] if encoder.num_parameters else []
    return " · ".join([*parts, f"{encoder.num_frames} x {encoder.image_size}²"])


def millions(count: int) -> str:
    """Format a number of parameters: `303 M`."""
    return f"{count / 1e6:.0f} M" if count >= 10_000_000 else f"{count / 1e6:.1f} M"
