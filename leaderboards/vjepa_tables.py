"""The tables of the V-JEPA paper (arXiv:2404.08471) as boards: 1 to 7 and 12 to 15.

Attentive probes are measured by the protocol of the release; linear ones, whose settings for clips
and stills were not released, by ours. `protocol` sets another one for all columns. Table 10 prints
the settings of AVA, which its task has under `vjepa@1`.
"""

from __future__ import annotations

from bench.publish.leaderboard import Leaderboard
from bench.registry import board
from leaderboards.paper_tables import PaperColumn, PaperTable, paper_board, shares

PAPER = "vjepa-2024"
RELEASED, OURS = "vjepa@1", "honest@1"

K400 = PaperColumn(title="K400 16x8x3", task="k400", probe="attentive", views="16x8x3")
SSV2 = PaperColumn(title="SSv2 16x2x3", task="ssv2", probe="attentive", views="16x2x3")
AVA = PaperColumn(title="AVA", task="ava", probe="linear-roi", metric="mAP")
STILLS = tuple(
    PaperColumn(title=title, task=task, probe="attentive")
    for task, title in (("in1k", "IN1K"), ("places205", "Places205"), ("inat21", "iNat21"))
)
ONE_CLIP = tuple(
    PaperColumn(title=f"{title} 16x1x1", task=task, probe="attentive", views="16x1x1")
    for task, title in (("k400", "K400"), ("ssv2", "SSv2"))
)
FINE_TUNED = tuple(
    PaperColumn(title=f"{title} {views} fine-tuned", task=task, probe="finetune", views=views)
    for task, title, views in (("k400", "K400", "16x5x3"), ("ssv2", "SSv2", "16x2x3"))
)
LAST_TWO_LAYERS = PaperColumn(
    title="IN1K, 2-layer probe (5.2)", task="in1k", probe="attentive-2layer"
)


@board
def vjepa_table1(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 1: pixels or features as the target; `protocol` is that of all columns."""
    columns = (ONE_CLIP[0], ONE_CLIP[1], STILLS[0], FINE_TUNED[0])
    return _board("1", "pixels or features as the target", columns, protocol)


@board
def vjepa_table2(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 2: pretraining data; `protocol` is that of all columns."""
    return _board("2", "pretraining data", (*ONE_CLIP, STILLS[0]), protocol)


@board
def vjepa_table3(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 3: average and attentive pooling; `protocol` is that of all columns."""
    columns = tuple(
        PaperColumn(title=f"{title} {pooling}", task=task, probe=probe, views="16x1x1")
        for task, title in (("k400", "K400"), ("ssv2", "SSv2"))
        for probe, pooling in (("linear", "average"), ("attentive", "attentive"))
    )
    return _board("3", "average and attentive pooling, 16x1x1", columns, protocol)


@board
def vjepa_table4(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 4: masking strategies; `protocol` is that of all columns."""
    return _board("4", "masking strategies", (*ONE_CLIP, STILLS[0]), protocol)


@board
def vjepa_table5(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 5: prediction of pixels; `protocol` is that of all frozen columns."""
    columns = (K400, SSV2, AVA, *STILLS, *FINE_TUNED)
    return _board("5", "features or pixels predicted, frozen and fine-tuned", columns, protocol)


@board
def vjepa_table6(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 6: frozen image and video models; `protocol` is that of all columns.

    The last column is the number of section 5.2 on its last row.
    """
    columns = (K400, SSV2, AVA, *STILLS, LAST_TWO_LAYERS)
    return _board("6", "frozen image and video models", columns, protocol, more=("text-5.2",))


@board
def vjepa_table7(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 7: 5, 10 and 50 % of the labels; `protocol` is that of all columns."""
    columns = tuple(share for one in (K400, SSV2) for share in shares(one, (0.05, 0.1, 0.5)))
    return _board("7", "few labels, mean and deviation over draws", columns, protocol)


@board
def vjepa_table12(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 12: linear and attentive probes; `protocol` is that of all columns."""
    columns = tuple(
        PaperColumn(title=f"{title} {views} {probe}", task=task, probe=probe, views=views)
        for task, title, views in (("k400", "K400", "16x5x3"), ("ssv2", "SSv2", "16x2x2"))
        for probe in ("linear", "attentive")
    )
    return _board("12", "linear and attentive probes of video models", columns, protocol)


@board
def vjepa_table13(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 13: linear and attentive probes; `protocol` is that of all columns."""
    tasks = {"k400": "K400", "ssv2": "SSv2", "in1k": "IN1K"}
    tasks |= {"places205": "Places205", "inat21": "iNat21"}
    columns = tuple(
        PaperColumn(title=f"{title} {probe}", task=task, probe=probe)
        for task, title in tasks.items()
        for probe in ("linear", "attentive")
    )
    return _board("13", "linear and attentive probes of image models", columns, protocol)


@board
def vjepa_table14(*, protocol: str | None = None) -> Leaderboard:
    """V-JEPA table 14: one clip and eight; `protocol` is that of all columns."""
    columns = tuple(
        PaperColumn(title=f"K400 {views}", task="k400", probe="attentive", views=views)
        for views in ("16x1x1", "16x8x1")
    )
    return _board("14", "one clip and eight", columns, protocol)


@board
def vjepa_table15() -> Leaderboard:
    """V-JEPA table 15: fine-tuned models, which nothing here measures."""
    return _board("15", "fine-tuned models", FINE_TUNED, None)


def _board(
    number: str,
    what: str,
    columns: tuple[PaperColumn, ...],
    protocol: str | None,
    *,
    more: tuple[str, ...] = (),
) -> Leaderboard:
    table = PaperTable(
        name=f"vjepa_table{number}",
        title=f"V-JEPA, table {number}: {what}",
        paper=PAPER,
        tables=(number, *more),
        columns=columns,
    )
    usual = {"attentive": RELEASED, "linear": OURS, "linear-roi": RELEASED}
    return paper_board(table, {probe: protocol or own for probe, own in usual.items()})
