"""Tables 6 and 7 of ViDROP (an anonymous submission, 2024) as boards.

Its protocols are not released: here linear and kNN probes use ours, attentive probes that of
V-JEPA. It does not say which split of UCF101 and HMDB51 it scores; ours is the first.
"""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperTable, paper_board

PAPER = "vidrop-2024"
PROTOCOLS = {"linear": "honest@1", "knn": "honest@1", "attentive": "vjepa@1"}


@board
def vidrop_table6(*, protocol: str | None = None) -> Leaderboard:
    """ViDROP table 6: linear and kNN probes, few labels; `protocol` is that of all columns."""
    return _board("6", "linear and kNN probes, few labels", protocol)


@board
def vidrop_table7(*, protocol: str | None = None) -> Leaderboard:
    """ViDROP table 7: ViT-B against SIGMA; `protocol` is that of all columns."""
    return _board("7", "ViT-B pretrained on K400", protocol)


def _board(number: str, what: str, protocol: str | None) -> Leaderboard:
    table = PaperTable(paper=PAPER, tables=(number,), title="{task} {probe}")
    protocols = {probe: protocol or default for probe, default in PROTOCOLS.items()}
    return paper_board(f"vidrop_table{number}", f"ViDROP, table {number}: {what}", table, protocols)
