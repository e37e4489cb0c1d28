"""iNaturalist 2021, Van Horn et al., arXiv 2103.16483.

    train.json, train_mini.json, val.json      COCO-like, `tasks/formats/inat21_files.py`
    {train,train_mini,val}/00001_Animalia_Annelida_.../<uuid>.jpg

The label map comes with the data: folder names start with the category id, so the images can be
read with or without the JSON.
"""

from __future__ import annotations

from dataclasses import replace

from bench.data.discover.dataset import DataSet
from tasks.formats.inat21_files import TITLE, read_inat21
from tasks.published_task import Choice, published

INAT21 = DataSet(
    name="inat21",
    title=TITLE,
    kind="image",
    labels=None,
    # `train_mini` is listed so that its folder is not mistaken for `train`.
    words={"train": ("train",), "train_mini": ("train_mini",), "val": ("val", "validation")},
    sizes={"train": {"published": 2_686_843}, "val": {"published": 100_000}},
    patterns={"train": ("train.json",), "val": ("val.json",)},
    read=read_inat21,
    folders=("inaturalist", "inat2021", "inaturalist_2021"),
)
INAT21_MINI = replace(
    INAT21,
    title=f"{TITLE} mini",
    words={"train": ("train_mini",), "val": ("val", "validation")},
    sizes={**INAT21.sizes, "train": {"published": 500_000}},
    patterns={**INAT21.patterns, "train": ("train_mini.json",)},
)


@published(INAT21, plan=None, flip=True)
def inat21(*, mini: bool = False) -> Choice:
    """iNaturalist 2021: 10,000 species in images, top-1; V-JEPA tables 5, 6 and 13.

    2,686,843 images to fit on, or with `mini=true` the 500,000 of `train_mini` (50 per class, a
    subset); the 100,000 of `val` (10 per class) to score on. The test labels were never published.
    V-JEPA (arXiv:2404.08471) repeats an image to 16 frames of one clip, one view, and fits with
    flips.

    Raises:
        DataError: damaged or inconsistent JSON, class folders without number.
    """
    return Choice(dataset=INAT21_MINI if mini else INAT21)
