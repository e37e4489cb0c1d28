"""The tables of the ViC-MAE poster (ECCV 2024) as boards; no column of them is measured here."""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperColumn, PaperTable, paper_board

PAPER = "vicmae-poster"
FINE_TUNED = {"in1k": "IN1K", "k400": "K400", "places365": "Places365", "ssv2": "SSv2"}
IMAGES = {
    "food101": "Food-101",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "birdsnap": "Birdsnap",
    "sun397": "SUN397",
    "voc2007": "VOC 2007",
    "dtd": "DTD",
    "caltech101": "Caltech-101",
}


@board
def vicmae_main() -> Leaderboard:
    """ViC-MAE main table: end-to-end fine-tuning on images and videos."""
    columns = tuple(
        PaperColumn(title=f"{title} fine-tuned", task=task, probe="finetune")
        for task, title in FINE_TUNED.items()
    )
    return _board("vicmae_main", "ViC-MAE: fine-tuned end to end", "main", columns)


@board
def vicmae_transfer() -> Leaderboard:
    """ViC-MAE: transfer from video to images, linear probes."""
    columns = tuple(
        PaperColumn(title=title, task=task, probe="linear", metric="accuracy")
        for task, title in IMAGES.items()
    )
    title = "ViC-MAE: transfer to images, linear probes"
    return _board("vicmae_transfer", title, "video-to-image-transfer", columns)


def _board(name: str, title: str, table: str, columns: tuple[PaperColumn, ...]) -> Leaderboard:
    return paper_board(
        PaperTable(name=name, title=title, paper=PAPER, tables=(table,), columns=columns), {}
    )
