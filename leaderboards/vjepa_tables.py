"""The tables of the V-JEPA paper (arXiv:2404.08471) as boards: 1 to 7 and 12 to 15.

Attentive probes use the protocol of the release; linear ones, whose settings for clips and stills
were not released, use ours. `protocol` sets another one for all columns. Table 10 prints the
settings of AVA, which its task has under `vjepa@1`.
"""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperTable, paper_board

PAPER = "vjepa-2024"
RELEASED, OURS = "vjepa@1", "honest@1"


@board
def vjepa_table1(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 1: pixels or features as the target; `protocol` is that of all columns."""
    return _board("1", "pixels or features as the target", protocol)


@board
def vjepa_table2(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 2: pretraining data; `protocol` is that of all columns."""
    return _board("2", "pretraining data", protocol)


@board
def vjepa_table3(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 3: average and attentive pooling; `protocol` is that of all columns."""
    return _board("3", "average and attentive pooling, 16x1x1", protocol, title="{task} {pooling}")


@board
def vjepa_table4(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 4: masking strategies; `protocol` is that of all columns."""
    return _board("4", "masking strategies", protocol)


@board
def vjepa_table5(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 5: pixel prediction models; `protocol` is that of all frozen columns."""
    return _board("5", "features or pixels predicted, frozen and fine-tuned", protocol)


@board
def vjepa_table6(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 6: frozen image and video models; `protocol` is that of all columns.

    The last column is the number of section 5.2 for the last row.
    """
    return _board("6", "frozen image and video models", protocol, more=("text-5.2",))


@board
def vjepa_table7(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 7: 5, 10 and 50 % of the labels; `protocol` is that of all columns."""
    return _board("7", "few labels, mean and deviation over draws", protocol)


@board
def vjepa_table12(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 12: linear and attentive probes; `protocol` is that of all columns."""
    return _board(
        "12",
        "linear and attentive probes of video models",
        protocol,
        title="{task} {views} {probe}",
    )


@board
def vjepa_table13(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 13: linear and attentive probes; `protocol` is that of all columns."""
    return _board(
        "13", "linear and attentive probes of image models", protocol, title="{task} {probe}"
    )


@board
def vjepa_table14(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 14: one clip and eight; `protocol` is that of all columns."""
    return _board("14", "one clip and eight", protocol)


@board
def vjepa_table15() -> Leaderboard:
    """V-JEPA table 15: fine-tuned models, not measured here."""
    return _board("15", "fine-tuned models", None)


def _board(
    number: str,
    what: str,
    protocol: str | None,
    *,
    title: str = "{task} {views}",
    more: tuple[str, ...] = (),
) -> Leaderboard:
    table = PaperTable(paper=PAPER, tables=(number, *more), title=title)
    default = {"attentive": RELEASED, "linear": OURS, "linear-roi": RELEASED}
    protocols = {probe: protocol or own for probe, own in default.items()}
    return paper_board(f"vjepa_table{number}", f"V-JEPA, table {number}: {what}", table, protocols)
