"""k400, ssv2 and in1k with a percentage of the labels, as in V-JEPA's table 7 (arXiv:2404.08471).

Table 7 draws 5, 10 and 50 % of the training labels of Kinetics-400 and Something-Something v2
three times, and scores on the whole validation split with the same probe and number of epochs. Its
lists are unpublished; ours are stratified by class and nested within a draw. For shots and lists
use the options of k400, ssv2 and in1k.
"""

from __future__ import annotations

from pathlib import Path

from bench.data.few_labels import fraction_of
from bench.data.manifest import Task
from bench.registry import task
from tasks.in1k import in1k
from tasks.k400 import k400
from tasks.ssv2 import ssv2


@task
def k400_low_shot(*, percent: float = 5.0, draw: int = 0, data: Path | None = None) -> Task:
    """Kinetics-400 with a percent of the training labels; V-JEPA table 7 (5, 10, 50 %).

    V-JEPA's copy has about 29, 58 and 287 labels per class; its H/16 reaches 67.0, 72.1 and 80.2.
    """
    return k400(data=data, fraction=fraction_of(percent, "percent"), draw=draw)


@task
def ssv2_low_shot(*, percent: float = 5.0, draw: int = 0, data: Path | None = None) -> Task:
    """Something-Something v2 with a percent of the training labels; V-JEPA table 7 (5, 10, 50 %).

    V-JEPA states about 48, 96 and 440 labels per class (half of 168,913 rows would be 485); its
    H/16 reaches 51.9, 57.5 and 67.3.
    """
    return ssv2(data=data, fraction=fraction_of(percent, "percent"), draw=draw)


@task
def in1k_low_shot(*, percent: float = 1.0, draw: int = 0, data: Path | None = None) -> Task:
    """ImageNet-1k with a percent of the training labels (1 % is 12 or 13 images per class).

    Rows are drawn here; SimCLR's own 1 % and 10 % are `in1k` with `subset=1percent.txt`.
    """
    return in1k(data=data, fraction=fraction_of(percent, "percent"), draw=draw)
