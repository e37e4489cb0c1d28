"""Everything on record: a column for every task, protocol and probe that was run."""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.render.write_all import write


@board
def runs() -> Leaderboard:
    """All records: every encoder by every task, protocol and probe found."""
    return Leaderboard(name="runs", title="Runs on record", columns=(), write=write)
