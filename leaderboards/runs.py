"""Everything on record: a column for every task, protocol and probe that was run."""

from __future__ import annotations

from bench.registry import board
from bench.types import Leaderboard
from leaderboards.render import write


@board
def runs() -> Leaderboard:
    """All records: every encoder by every task, protocol and probe found."""
    return Leaderboard(name="runs", title="Runs on record", columns=(), write=write)
