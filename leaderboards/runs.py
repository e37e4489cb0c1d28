"""All records: a column per task, protocol and probe."""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.render.write_all import write


@board
def runs() -> Leaderboard:
    """All records: encoders by every task, protocol and probe found."""
    return Leaderboard(name="runs", title="Runs on record", columns=(), write=write)
