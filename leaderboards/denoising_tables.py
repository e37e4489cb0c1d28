"""Tables of a talk on denoising models (2024), taken from the I-JEPA paper, as boards.

The 1 % of ImageNet labels are drawn here, three times; I-JEPA used SimCLR's list, which
`bench run --task in1k --set task.subset=1percent.txt` reads.
"""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperTable, paper_board

PAPER = "denoising-talk-2024"


@board
def denoising_clevr() -> Leaderboard:
    """Talk on denoising models: counting and distances on CLEVR, not measured here."""
    return _board("clevr", "CLEVR, linear probes", "honest@1")


@board
def denoising_targets(*, protocol: str = "honest@1") -> Leaderboard:
    """Talk on denoising models: targets of I-JEPA with 1 % of ImageNet, scored by `protocol`."""
    return _board("targets", "targets of I-JEPA", protocol)


@board
def denoising_masking(*, protocol: str = "honest@1") -> Leaderboard:
    """Talk on denoising models: masks of I-JEPA with 1 % of ImageNet, scored by `protocol`."""
    return _board("masking", "masks of I-JEPA", protocol)


def _board(table: str, what: str, protocol: str) -> Leaderboard:
    paper = PaperTable(paper=PAPER, tables=(table,))
    title = f"Denoising models (talk): {what}"
    return paper_board(f"denoising_{table}", title, paper, {"linear": protocol})
