"""Frozen video encoders on the embedded moving digits: what moves, how it moves, and stills."""

from __future__ import annotations

from bench.registry import board
from bench.types import Column, Leaderboard
from leaderboards.render import write

TASKS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
PROBES = ("attentive", "linear", "logistic", "knn")


@board
def frozen_video() -> Leaderboard:
    """Moving digits: three tasks by four probes, heads chosen on held-out training rows."""
    return Leaderboard(
        name="frozen_video",
        title="Frozen video encoders",
        columns=[
            Column(title=probe, task=task, probe=probe, protocol="honest@1")
            for task in TASKS
            for probe in PROBES
        ],
        write=write,
    )
