"""Frozen video encoders on the embedded moving digits: what moves, how, stills, and boxes."""

from __future__ import annotations

from bench.registry import board
from bench.types import Column, Leaderboard
from leaderboards.render import write

TASKS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
PROBES = ("attentive", "linear", "logistic", "knn")
BOX_TASK = "moving_digits_ava"


@board
def frozen_video() -> Leaderboard:
    """Moving digits: clips, stills and boxes, by the probes that fit, heads chosen honestly."""
    return Leaderboard(
        name="frozen_video",
        title="Frozen video encoders",
        columns=[
            Column(title=probe, task=task, probe=probe, protocol="honest@1")
            for task in TASKS
            for probe in PROBES
        ]
        + [
            Column(title=probe, task=BOX_TASK, probe=probe, protocol="honest@1", metric="mean_ap")
            for probe in PROBES[:2]
        ],
        write=write,
    )
