"""The facts about an encoder before its numbers: parameters, input and clips per second.

The speed is measured in the runs themselves: clips through the network per second, with the
transfer to the device and the readout. Padding of a call counts, since it takes the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.records.record import Record
from leaderboards.render.markup import millions
from leaderboards.rows.layout import NONE
from leaderboards.rows.table import Fact

TITLES = ("parameters", "input", "clips/s")
FRAMES_NOTE = (
    "Input: frames x pixels²; 8 x (1 x 224²) is an image encoder applied to 8 frames one by one."
)


def facts_of_encoder(records: Sequence[Record], shown: Record | None) -> tuple[Fact, ...]:
    """Return a fact per title, empty without a `shown` record of the encoder (chance).

    `records` are all of that encoder.
    """
    if shown is None:
        return tuple(Fact() for _ in TITLES)
    encoder = shown.encoder
    count, frames, size = encoder.num_parameters, encoder.num_frames, encoder.image_size
    clip = f"{frames} x {size}²" if encoder.takes == "video" else f"{frames} x (1 x {size}²)"
    speed = clips_per_second(records, shown)
    return (
        Fact(text=millions(count) if count else NONE, plain=str(count), value=count),
        Fact(text=clip, plain=clip.replace("²", ""), value=frames * size * size),
        Fact(text=speed_text(speed), plain=repr(speed), value=speed) if speed else Fact(text=NONE),
    )


def clips_per_second(records: Iterable[Record], shown: Record) -> float | None:
    """Return clips per second over all runs on videos with the device, precision and input of
    `shown`.

    None if no run encoded anything, or the records are too old to have the batch size.
    """
    clips, seconds = 0, 0.0
    for record in records:
        size = record.encoder.clips_per_call
        if size and record.task.kind == "video" and _setting(record) == _setting(shown):
            clips += record.features.encoder_calls * size
            seconds += record.timing.encode_seconds
    return clips / seconds if clips and seconds else None


def speed_note(shown: Iterable[Record]) -> list[str]:
    """Return the sentences that define input and speed, and where speed was measured."""
    places = sorted({f"{r.features.precision} on {r.environment.get('device')}" for r in shown})
    if not places:
        return []
    where = " and ".join(places)
    return [FRAMES_NOTE, f"clips/s: through the network, measured in these runs ({where})."]


def speed_text(speed: float) -> str:
    """Format a speed with three significant digits, as a whole number above a thousand."""
    digits = max(0, 3 - len(str(int(speed)))) if speed >= 1 else 2
    return f"{speed:,.{digits}f}"


def _setting(record: Record) -> tuple[object, ...]:
    encoder = record.encoder
    return (
        record.environment.get("device"),
        record.features.precision,
        encoder.num_frames,
        encoder.image_size,
    )
