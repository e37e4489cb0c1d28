"""Tables of a talk on denoising models (2024), taken from the I-JEPA paper, as boards.

Of ImageNet the 1 % of the labels are drawn here, three times; I-JEPA took SimCLR's list, which
`bench run --task in1k --set task.subset=1percent.txt` reads.
"""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperColumn, PaperTable, paper_board

PAPER = "denoising-talk-2024"
ONE_PERCENT = PaperColumn(title="IN1K 1 %", task="in1k", probe="linear", fraction=0.01)


@board
def denoising_clevr() -> Leaderboard:
    """Talk on denoising models: counting and distances on CLEVR, which nothing here measures."""
    columns = tuple(
        PaperColumn(title=f"CLEVR {what}", task=f"clevr_{what}", probe="linear", metric="accuracy")
        for what in ("count", "dist")
    )
    return _board("clevr", "CLEVR, linear probes", columns, "honest@1")


@board
def denoising_targets(*, protocol: str = "honest@1") -> Leaderboard:
    """Talk on denoising models: targets of I-JEPA by 1 % of ImageNet, with that `protocol`."""
    return _board("targets", "targets of I-JEPA", (ONE_PERCENT,), protocol)


@board
def denoising_masking(*, protocol: str = "honest@1") -> Leaderboard:
    """Talk on denoising models: masks of I-JEPA by 1 % of ImageNet, with that `protocol`."""
    return _board("masking", "masks of I-JEPA", (ONE_PERCENT,), protocol)


def _board(table: str, what: str, columns: tuple[PaperColumn, ...], protocol: str) -> Leaderboard:
    return paper_board(
        PaperTable(
            name=f"denoising_{table}",
            title=f"Denoising models (talk): {what}",
            paper=PAPER,
            tables=(table,),
            columns=columns,
        ),
        {"linear": protocol},
    )
