"""Small pieces of HTML that the pages share, and the page they are put in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from bench.records.record import Record

PARTS = (
    "title", "lead", "before", "controls", "table", "notes", "legend", "figures", "records", "data",
)  # fmt: skip
LONGEST_KEY = 10  # letters
BREAKS = re.compile(r"[_:/]|[^\s_:/]{24}(?=[^\s_:/])")


def filled_page(parts: Mapping[str, str]) -> str:
    """Put each part in the place of its `{{name}}`, once: a part may contain braces of its own.

    Parts that are not given (of `PARTS`) are empty; `css` and `js` come from the files beside.
    """
    page, css, js = (
        Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    given = {**dict.fromkeys(PARTS, ""), **parts, "css": css, "js": js}
    return re.sub(r"\{\{(.*?)\}\}", lambda match: given[match[1]], page)


def framed(lines: Iterable[str], caption: str, labelled_by: str, css: str = "scroll") -> str:
    """Return the lines of a table in a frame that scrolls, for the element that names it."""
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


def listed_notes(notes: Iterable[str]) -> str:
    """Return footnotes as a numbered list that cells link to."""
    items = [f'<li id="note-{i}">{escape(note)}</li>' for i, note in enumerate(notes, start=1)]
    return "\n".join(
        ['<ol class="notes" aria-label="Footnotes">', *items, "</ol>"] if items else []
    )


def listed_legend(sentences: Iterable[str]) -> str:
    """Return sentences as a list; what stands before a colon, if short, is what they are about."""
    items = []
    for sentence in sentences:
        sign, colon, rest = sentence.partition(": ")
        is_key = bool(colon) and len(sign) <= LONGEST_KEY
        told = f"<b>{escape(sign)}:</b> {escape(rest)}" if is_key else escape(sentence)
        items.append(f"<li>{told}</li>")
    return "\n".join(['<ul class="legend">', *items, "</ul>"] if items else [])


def described(facts: Mapping[str, Iterable[str]]) -> str:
    """Return headings and lines as a description list."""
    told = (
        f"<dt>{escape(name)}</dt><dd>{'<br>'.join(map(escape, lines))}</dd>"
        for name, lines in facts.items()
    )
    return f"<dl>{''.join(told)}</dl>"


def marks(notes: Iterable[int]) -> str:
    """Return links to footnotes."""
    return " ".join(f'<a href="#note-{n}" aria-label="footnote {n}">{n}</a>' for n in notes)


def bar(value: float, chance: float | None, low: float | None = None, high: float | None = None,
        ) -> str:  # fmt: skip
    """Return the style of the bar below a number, which fades from `low` to `high` (fractions).

    The tick stands at chance, if there is one.
    """
    ends = {"low": low, "high": high, "chance": chance}
    told = [f"--{name}:{100 * end:.1f}%" for name, end in ends.items() if end is not None]
    return ";".join([f"--value:{100 * value:.1f}%", *told])


def breakable(name: str) -> str:
    """Return a name that a narrow screen may break at its signs, and within a very long word."""
    return escape(BREAKS.sub("\\g<0>\0", name)).replace("\0", "<wbr>")


def size_of(record: Record) -> str:
    """Return parameters and input of an encoder, such as `303 M · 16 x 224²`."""
    encoder = record.encoder
    parts = [millions(encoder.num_parameters)] if encoder.num_parameters else []
    return " · ".join([*parts, f"{encoder.num_frames} x {encoder.image_size}²"])


def millions(count: int) -> str:
    """Spell a number of parameters, such as `303 M`."""
    return f"{count / 1e6:.0f} M" if count >= 10_000_000 else f"{count / 1e6:.1f} M"
