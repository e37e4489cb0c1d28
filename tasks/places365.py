"""Places365-Standard, Zhou et al., TPAMI 2017.

    places365_train_standard.txt, places365_val.txt, categories_places365.txt     the official lists
    data_{256,large}/a/airfield/00000001.jpg  val_{256,large}/Places365_val_00000001.jpg
    places365_standard/{train,val}/apartment_building-outdoor/*.jpg               "easyformat"

Class indices are those of `categories_places365.txt`; a modified copy of it is refused. The 2016
challenge has the same classes and validation split and more training images.
"""

from __future__ import annotations

from bench.data.discover.dataset import DataSet
from tasks.formats.places_files import image_ids, listed_path, reader
from tasks.labels import shipped
from tasks.published_task import published

TITLE = "Places365"

LABELS = shipped("places365")

PLACES365 = DataSet(
    name="places365",
    title=TITLE,
    kind="image",
    labels=LABELS,
    words={
        "train": ("train", "data_256", "data_large"),
        "val": ("val", "validation"),
    },
    sizes={
        "train": {"published": 1_803_460, "challenge 2016": 8_026_628},
        "val": {"published": 36_500},
    },
    patterns={
        "train": ("places365_train_standard.txt", "places365_train_challenge.txt", "train.txt"),
        "val": ("places365_val.txt", "val.txt"),
    },
    read=reader(TITLE, "categories_places365.txt", LABELS),
    keys=listed_path,
    sample_id=image_ids(LABELS),
    class_in_id=True,
    folders=("places365_standard", "places2"),
)


@published(PLACES365, plan=None, flip=True)
def places365() -> None:
    """Places365-Standard: 365 kinds of scenes in images, top-1; ViC-MAE reports it.

    1,803,460 images to fit on, the 36,500 of `val` (100 per class) to score on; the labels of
    the 328,500 of `test` were never published. An image is repeated to 16 frames of one clip, one
    view; fitting flips. Classes share file names, so the id of a training image includes its scene:
    `apartment_building-outdoor/00000002`.

    Raises:
        DataError: a list of test images, a category file ordered unlike the shipped one, a list
            whose indices contradict the scenes in its file names.
    """
