"""Tables 6 and 7 of ViDROP (an anonymous submission, 2024) as boards.

Its protocols are not released: linear probes and neighbours are measured by ours, attentive probes
by that of V-JEPA. It does not say which split of UCF101 and HMDB51 it scores; ours is the first.
"""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperColumn, PaperTable, paper_board, shares

PAPER = "vidrop-2024"
PROTOCOLS = {"linear": "honest@1", "knn": "honest@1", "attentive": "vjepa@1"}
K400 = PaperColumn(title="K400 linear", task="k400", probe="linear", views="16x5x3")


@board
def vidrop_table6(*, protocol: str | None = None) -> Leaderboard:
    """ViDROP table 6: linear probes, neighbours, few labels; `protocol` is that of all columns."""
    small = tuple(
        PaperColumn(title=f"{title} {probe}", task=task, probe=probe, views=views)
        for task, title in (("ucf101", "UCF101"), ("hmdb51", "HMDB51"))
        for probe, views in (("linear", "16x5x3"), ("knn", "16x1x1"))
    )
    columns = (
        K400,
        PaperColumn(title="K400 attentive", task="k400", probe="attentive", views="16x1x1"),
        PaperColumn(title="SSv2 linear", task="ssv2", probe="linear", views="16x2x3"),
        *small,
        *shares(K400, (0.05, 0.1, 0.5)),
        PaperColumn(title="THUMOS14", task="thumos14", probe="actionformer", metric="mAP"),
    )
    return _board("6", "linear probes, neighbours and few labels", columns, protocol)


@board
def vidrop_table7(*, protocol: str | None = None) -> Leaderboard:
    """ViDROP table 7: ViT-B against SIGMA; `protocol` is that of all columns."""
    tasks = {"ssv2": "SSv2", "k400": "K400", "ucf101": "UCF101", "hmdb51": "HMDB51"}
    columns = (
        *(
            PaperColumn(title=f"{title} linear", task=task, probe="linear")
            for task, title in (*tasks.items(), ("in1k", "IN1K"))
        ),
        PaperColumn(
            title="DAVIS 2017", task="davis2017", probe="label-propagation", metric="J&F_m"
        ),
        PaperColumn(title="VSC2023", task="vsc2023", probe="copy-detection", metric="muAP"),
    )
    return _board("7", "ViT-B pretrained on K400", columns, protocol)


def _board(
    number: str, what: str, columns: tuple[PaperColumn, ...], protocol: str | None
) -> Leaderboard:
    table = PaperTable(
        name=f"vidrop_table{number}",
        title=f"ViDROP, table {number}: {what}",
        paper=PAPER,
        tables=(number,),
        columns=columns,
    )
    return paper_board(table, {probe: protocol or own for probe, own in PROTOCOLS.items()})
