"""Kinetics-400, Kay et al., arXiv 1705.06950.

    train/*.mp4  val/*.mp4  annotations/{train,val,test}.csv         CVDF: flat, with tables
    train/<class>/*.mp4                                              crawlers, torchvision
    videos_train/<class_with_underscores>/*  rawframes_train/...     mmaction2
    train.csv  val.csv                                               lists of jepa and VideoMAE
    train-00000.tar  data/train-00000-of-00100.parquet               shards with labels

Copies hold what YouTube still had when they were made, so a record counts the videos it saw.
"""

from __future__ import annotations

from bench.data.discover.dataset import DataSet
from tasks.formats.kinetics_files import REPLACEMENTS, WORDS, clip_id, clip_keys, patterns, reader
from tasks.labels import shipped
from tasks.published_task import published

TITLE = "Kinetics-400"

K400 = DataSet(
    name="k400",
    title=TITLE,
    kind="video",
    labels=shipped("k400"),
    words=WORDS,
    sizes={
        "train": {
            "published": 246_534,
            "CVDF archives": 240_258,
            "CVDF archives (another count)": 241_258,
            "OpenDataLab and mmaction2": 240_436,
        },
        "val": {
            "published": 19_906,
            "CVDF archives": 19_881,
            "OpenDataLab and mmaction2": 19_796,
            "non-local": 19_761,
        },
        "test": {"published": 39_805, "CVDF archives": 38_685},
    },
    patterns=patterns("k400"),
    read=reader(TITLE),
    keys=clip_keys,
    sample_id=clip_id,
    prefer=REPLACEMENTS,
    folders=("kinetics400", "kinetics"),
)


@published(K400, plan="16x8x3@4", flip=True)
def k400() -> None:
    """Kinetics-400: 400 human actions in videos, top-1; V-JEPA tables 1 to 7.

    246,534 videos to fit on, the 19,906 of `val` to score on, as published; copies hold 240,258 and
    19,881 or fewer. 8 clips of 16 frames, 3 views, stride 4, with flips. Classes are in
    alphabetical order, unlike those of V-JEPA's released heads.

    Raises:
        DataError: an unknown label, a table without labels (the crawler's test table), a label map
            next to a list that contradicts the shipped one.
    """
