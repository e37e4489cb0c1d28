"""ImageNet-1k (ILSVRC 2012), Russakovsky et al., arXiv 1409.0575.

    {train,val}/n01440764/*.JPEG                         class folders, as most users have it
    ILSVRC/Data/CLS-LOC/{train/n01440764,val}/*.JPEG     Kaggle, with LOC_val_solution.csv
    val/ILSVRC2012_val_00000001.JPEG                     flat, with Caffe's val.txt or the devkit
    data/{train,validation}-00000-of-00014.parquet       Hugging Face
    train/n01440764.tar, imagenet1k-train-0000.tar       tar archives

`tasks/formats/imagenet_files.py` reads the lists and documents their traps.
"""

from __future__ import annotations

from bench.data.discover.dataset import DataSet
from tasks.formats.imagenet_files import GROUND_TRUTH, TITLE, image_id, read_imagenet, wnid_in_name
from tasks.labels import shipped
from tasks.published_task import published

IN1K = DataSet(
    name="in1k",
    title=TITLE,
    kind="image",
    labels=shipped("in1k"),
    words={
        "train": ("train", "ILSVRC2012_img_train"),
        "val": ("val", "validation", "ILSVRC2012_img_val"),
    },
    sizes={"train": {"published": 1_281_167}, "val": {"published": 50_000}},
    patterns={
        "train": ("ImageSets/CLS-LOC/train_cls.txt", "train.txt", "train_map.txt"),
        "val": ("LOC_val_solution.csv", GROUND_TRUTH, "val.txt", "val_map.txt"),
    },
    read=read_imagenet,
    # The 544,546 images with boxes, and validation images with running numbers instead of labels.
    no_lists=(
        "LOC_train_solution.csv",
        "ImageSets/CLS-LOC/train_loc.txt",
        "ImageSets/CLS-LOC/val.txt",
    ),
    keys=lambda name: (image_id(name),),
    sample_id=image_id,
    class_of_file=wnid_in_name,
    folders=("imagenet", "imagenet_full_size", "ILSVRC2012"),
)


@published(IN1K, plan=None, flip=True)
def in1k() -> None:
    """ImageNet-1k: 1,000 kinds of objects in images, top-1; V-JEPA tables 1, 2, 4 to 6 and 13.

    1,281,167 images to fit on, the 50,000 of `val` to score on (the labels of `test` were never
    published). V-JEPA (arXiv:2404.08471) repeats an image to 16 frames of one clip, one view, and
    fits with flips. Class indices are the ranks of the sorted WNIDs, as in torchvision and timm.
    `subset=FILE` takes SimCLR's `1percent.txt` and `10percent.txt` unchanged. CMYK images, a PNG
    named JPEG (n02105855_2933) and images with broken EXIF blocks are all read as RGB.

    Raises:
        DataError: a devkit without its `meta.mat`, a list that numbers the classes differently.
    """
