"""The tables of the ViC-MAE poster (ECCV 2024) as boards; no column is measured here."""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperTable, paper_board

PAPER = "vicmae-poster"


@board
def vicmae_main() -> Leaderboard:
    """ViC-MAE main table: end-to-end fine-tuning on images and videos."""
    table = PaperTable(paper=PAPER, tables=("main",))
    return paper_board("vicmae_main", "ViC-MAE: fine-tuned end to end", table, {})


@board
def vicmae_transfer() -> Leaderboard:
    """ViC-MAE: transfer from video to images, linear probes."""
    table = PaperTable(paper=PAPER, tables=("video-to-image-transfer",))
    return paper_board("vicmae_transfer", "ViC-MAE: transfer to images, linear probes", table, {})
