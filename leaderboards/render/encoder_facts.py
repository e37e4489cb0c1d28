"""The facts about an encoder before its numbers: parameters, input, computation, measured speed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.records.record import Record
from bench.records.speeds import Network, Speed
from leaderboards.render.markup import millions
from leaderboards.rows.layout import NONE
from leaderboards.rows.table import Fact

TITLES, SPEED = ("parameters", "input", "GFLOPs/clip"), "clips/s"
REMARKS = (
    "Input: frames x pixels²; 8 x (1 x 224²) is an image encoder applied to 8 frames one by one.",
    "GFLOPs/clip: computed, not measured; a multiply-add counts as two operations.",
)


def facts_of_encoder(shown: Record | None, speeds: Mapping[Network, Speed]) -> tuple[Fact, ...]:
    """Return a fact per title, and the speed if any is known; empty without a `shown` record of the
    encoder (chance).
    """
    if shown is None:
        return tuple(Fact() for _ in (*TITLES, *[SPEED] * bool(speeds)))
    encoder = shown.encoder
    count, frames, size = encoder.num_parameters, encoder.num_frames, encoder.image_size
    clip = f"{frames} x {size}²" if encoder.takes == "video" else f"{frames} x (1 x {size}²)"
    facts = (
        Fact(text=millions(count) if count else NONE, plain=str(count), value=count),
        Fact(text=clip, plain=clip.replace("²", ""), value=frames * size * size),
        _number(gflops_of(shown)),
    )
    found = speeds.get(_network(shown))
    return (*facts, _number(found.median if found else None)) if speeds else facts


def gflops_of(record: Record) -> float | None:
    """Return the computation per clip of a record's encoder; None if it was not counted."""
    return record.encoder.check.gflops if record.encoder.check else None


def remarks_on_facts(shown: Iterable[Record], speeds: Mapping[Network, Speed]) -> list[str]:
    """Return the sentences that define the facts, and where the speeds were measured."""
    records = list(shown)
    if not records:
        return []
    used = {_network(record) for record in records}
    places = sorted({speed.place for key, speed in speeds.items() if key in used})
    measured = f"{SPEED}: the network alone, bench speed ({'; '.join(places)})."
    return [*REMARKS, *[measured] * bool(places)]


def _network(record: Record) -> Network:
    encoder = record.encoder
    return encoder.name, encoder.weights_sha256, encoder.num_frames, encoder.image_size


def _number(value: float | None) -> Fact:
    if value is None:
        return Fact(text=NONE)
    return Fact(text=three_digits(value), plain=repr(value), value=value)


def three_digits(value: float) -> str:
    """Format with three significant digits, as a whole number above a thousand."""
    digits = max(0, 3 - len(str(int(value)))) if value >= 1 else 2
    return f"{value:,.{digits}f}"
