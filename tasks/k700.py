"""Kinetics-700, Carreira et al., arXiv 1907.06987, and its 2020 edition, arXiv 2010.10864.

    train/*.mp4  val/*.mp4  annotations/{train,val,test}.csv       CVDF (folder 700_2020)
    train/<class>/*.mp4  videos_train/<class_with_underscores>/*   crawlers, torchvision, mmaction2
    {train,validate,test}.csv, kinetics700_{train,val}.csv         tables of DeepMind and mmaction2
    train.csv  val.csv                                             `path index` lists

Both editions have the same 700 classes; the 2020 edition replaces lost videos and adds new ones.
Layouts and names are those of Kinetics-400.
"""

from __future__ import annotations

from bench.data.discover.dataset import DataSet
from tasks.formats.kinetics_files import WORDS, clip_id, clip_keys, patterns, reader
from tasks.labels import shipped
from tasks.published_task import published

TITLE = "Kinetics-700"

K700 = DataSet(
    name="k700",
    title=TITLE,
    kind="video",
    labels=shipped("k700"),
    words=WORDS,
    sizes={
        "train": {
            "published": 545_317,
            "2020 edition, DeepMind table": 542_352,
            "2020 edition, CVDF archives": 534_073,
            "mmaction2": 542_357,
        },
        "val": {
            "published": 35_000,
            "2020 edition, DeepMind table": 34_125,
            "2020 edition, CVDF archives": 33_914,
            "mmaction2": 34_824,
        },
        "test": {
            "published": 70_000,
            "2020 edition, DeepMind table": 67_433,
            "2020 edition, CVDF archives": 64_260,
        },
    },
    patterns=patterns("k700"),
    read=reader(TITLE),
    keys=clip_keys,
    sample_id=clip_id,
    folders=("kinetics700", "kinetics700-2020", "k700-2020", "700_2020"),
)


@published(K700, plan="16x8x3@4", flip=True)
def k700() -> None:
    """Kinetics-700: 700 human actions in videos, top-1; the protocol of K400, no paper table here.

    The 2019 edition has 545,317 videos to fit on and 35,000 of `val` to score on; the 2020 edition
    has 542,352 and 34,125 (534,073 and 33,914 in CVDF's archives): the counts show which was found.
    8 clips of 16 frames, 3 views, stride 4, with flips, as V-JEPA does on K400. Classes are in
    alphabetical order (for VideoMAEv2's lists, in K710's order, pass their `classes`). Some videos
    are shorter than 9 s.

    Raises:
        DataError: an unknown label, a table without labels (the test split's).
    """
