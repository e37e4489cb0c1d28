"""Places205, Zhou et al., NIPS 2014.

    trainvalsplit_places205/{train,val}_places205.csv             `a/abbey/gsun_1.jpg 0`: blanks,
                                                                  not commas, despite the extension
    data/vision/torralba/deeplearning/images256/a/abbey/*.jpg     both splits in one nested tree
    {train,val}/<class>/*.jpg                                     classes nested or flattened

Flattened names sort differently from nested ones, so a class is identified by its name, never by
the position of its folder.
"""

from __future__ import annotations

from bench.data.discover.dataset import DataSet
from tasks.formats.places_files import image_ids, listed_path, reader
from tasks.labels import shipped
from tasks.published_task import published

TITLE = "Places205"

LABELS = shipped("places205")

PLACES205 = DataSet(
    name="places205",
    title=TITLE,
    kind="image",
    labels=LABELS,
    words={"train": ("train",), "val": ("val", "validation")},
    sizes={"train": {"published": 2_448_873}, "val": {"published": 20_500}},
    patterns={"train": ("train_places205.csv",), "val": ("val_places205.csv",)},
    read=reader(TITLE, "categoryIndex_places205.csv", LABELS),
    keys=listed_path,
    sample_id=image_ids(LABELS),
    class_in_id=True,
)


@published(PLACES205, plan=None, flip=True)
def places205() -> None:
    """Places205: 205 kinds of scenes in images, top-1; V-JEPA tables 5, 6 and 13.

    2,448,873 images to fit on, the 20,500 of `val` (100 per class) to score on; the test labels
    were never published. V-JEPA (arXiv:2404.08471) repeats an image to 16 frames of one clip, one
    view, and fits with flips. Class indices are those of the official lists, which are not sorted;
    a head fitted on sorted class folders has another order.

    Raises:
        DataError: a list whose indices contradict the scenes in its file names.
    """
