"""Frozen video encoders on the built-in moving digits: what moves, how, stills, and boxes."""

from __future__ import annotations

from dataclasses import replace

from bench.publish.leaderboard import Column, Leaderboard
from bench.registry import board

TASKS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
PROBES = ("attentive", "linear", "logistic", "knn")
BOX_TASK = "moving_digits_ava"


@board
def frozen_video() -> Leaderboard:
    """Moving digits: clips, stills and boxes, with all probes that apply, heads chosen honestly.

    The gap is what choosing the heads of the attentive probe on the scored rows would add.
    """
    return Leaderboard(
        name="frozen_video",
        title="Frozen video encoders",
        columns=[
            *(column for task in TASKS for column in _columns(task)),
            *(
                Column(title=name, task=BOX_TASK, probe=name, protocol="honest@1", metric="mean_ap")
                for name in PROBES[:2]
            ),
        ],
    )


def _columns(task: str) -> list[Column]:
    """Return a column per probe, and after the first one the gap of its heads."""
    first = Column(title=PROBES[0], task=task, probe=PROBES[0], protocol="honest@1")
    gap = replace(first, title="gap", shows="gap")
    return [first, gap, *(replace(first, title=probe, probe=probe) for probe in PROBES[1:])]
