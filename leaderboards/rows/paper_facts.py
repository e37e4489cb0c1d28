"""Facts about an encoder that papers print: architecture, size, data and samples seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.publish.leaderboard import PublishedNumber
from bench.records.record import Record
from leaderboards.rows.table import Fact

FIELDS: Mapping[str, str] = {
    "arch": "arch",
    "params (M)": "params_m",
    "data": "pretrain_data",
    "samples seen (M)": "samples_seen_m",
}
USUAL_RESOLUTION = 224  # pixels; others are printed as a subscript of the architecture
EMPTY = Fact()


def titles_of(numbers: Sequence[PublishedNumber]) -> tuple[str, ...]:
    """Return the titles of the facts that these numbers have."""
    return tuple(
        title for title, field in FIELDS.items() if any(getattr(n, field) for n in numbers)
    )


def facts_of_row(group: Sequence[PublishedNumber], titles: Sequence[str]) -> tuple[Fact, ...]:
    """Return the facts of a published row; not every number has all of them."""
    return tuple(_printed(group, title) for title in titles)


def facts_of_encoder(record: Record | None, titles: Sequence[str]) -> tuple[Fact, ...]:
    """Return the same facts of an encoder measured here, empty if unknown."""
    if record is None:
        return tuple(EMPTY for _ in titles)
    count, trained_on = record.encoder.num_parameters, "+".join(record.encoder.card.trained_on)
    known = {
        "params (M)": _millions(count / 1e6) if count else EMPTY,
        "data": Fact(text=trained_on, plain=trained_on),
    }
    return tuple(known.get(title, EMPTY) for title in titles)


def _printed(group: Sequence[PublishedNumber], title: str) -> Fact:
    values = [value for n in group if (value := getattr(n, FIELDS[title])) not in (None, "")]
    if not values:
        return EMPTY
    if title == "params (M)":
        return _millions(values[0])
    resolution = group[0].resolution
    has_resolution = title == "arch" and resolution not in (None, USUAL_RESOLUTION)
    text = f"{values[0]}_{resolution}" if has_resolution else values[0]
    return Fact(text=text, plain=text)


def _millions(count: float) -> Fact:
    text = f"{count:.0f}" if count >= 10 else f"{count:.1f}"
    return Fact(text=text, plain=text, value=count)
