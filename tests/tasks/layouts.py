"""Small trees of real media in every layout in which users hold the published data sets.

A medium shows its class as one grey level, so that the nearest neighbour names the class of every
scored medium if, and only if, all labels are read right.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NUM_FRAMES = 10
CODECS = {"mp4": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4", "mkv": "libx264"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One medium: its file name, its class (name and index), and how it looks."""

    name: str
    label: str
    index: int
    level: int

    @property
    def stem(self) -> str:
        return self.name.rsplit(".", 1)[0].rsplit("/", 1)[-1]

    @property
    def folder(self) -> str:
        """The class as a folder name."""
        return self.label.replace(" ", "_")


Split = Sequence[Item]
Official = Callable[[Path, str, Split], None]


def pixels(item: Item, number: int = 0) -> np.ndarray:
    """Return uint8 `[48, 64, 3]`: the level of the class, a little texture and the frame number."""
    rng = np.random.default_rng((item.index, number, len(item.name)))
    noise = rng.integers(-6, 7, (48, 64, 1))
    return np.clip(item.level + noise, 0, 255).astype(np.uint8).repeat(3, axis=-1)


def video_bytes(item: Item, extension: str) -> bytes:
    """Return ten frames as a file of this container."""
    file = io.BytesIO()
    form = {"mkv": "matroska"}.get(extension, extension)
    with av.open(file, "w", format=form) as media:
        stream = media.add_stream(CODECS[extension], rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(pixels(item, number), format="rgb24")
            media.mux(stream.encode(frame))
        media.mux(stream.encode(None))
    return file.getvalue()


def image_bytes(item: Item, number: int = 0) -> bytes:
    """Return one picture as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels(item, number)).save(file, format="jpeg", quality=92)
    return file.getvalue()


def media_bytes(item: Item) -> bytes:
    """Return the file that the name of the item asks for."""
    extension = item.name.rsplit(".", 1)[-1].lower()
    return video_bytes(item, extension) if extension in CODECS else image_bytes(item)


def put(path: Path, content: bytes | str) -> None:
    """Write a file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


# ---------------------------------------------------------------------------- layouts for all sets
def class_folders(root: Path, split: str, items: Split) -> None:
    """`train/<class with underscores>/<file>`."""
    for item in items:
        put(root / split / item.folder / Path(item.name).name, media_bytes(item))


def class_folders_with_blanks(root: Path, split: str, items: Split) -> None:
    """`videos_train/<class as it is called>/<file>`."""
    for item in items:
        put(root / f"data_{split}" / item.label / Path(item.name).name, media_bytes(item))


def flat_with_list(root: Path, split: str, items: Split) -> None:
    """A flat folder, and `path label` lines with folders of another machine.

    Where a class name is a path (Places), files of two classes may have one name: folders stay.
    """
    names = {
        item: f"{item.label}/{item.name}" if "/" in item.label else item.name for item in items
    }
    lines = [f"/datasets/elsewhere/{split}/{names[item]} {item.index}" for item in items]
    put(root / f"{split}.csv", "\n".join(lines) + "\n")
    for item in items:
        put(root / "media" / names[item], media_bytes(item))


def frame_folders(root: Path, split: str, items: Split) -> None:
    """`rawframes_train/<class>/<video>/img_00001.jpg`, as extraction tools leave them."""
    for item in items:
        folder = root / f"rawframes_{split}" / item.folder / item.stem
        for number in range(NUM_FRAMES):
            put(folder / f"img_{number + 1:05d}.jpg", image_bytes(item, number))


def parquet(root: Path, split: str, items: Split) -> None:
    """`data/train-00000-of-00001.parquet` with struct{bytes, path} and an integer label."""
    column = "video" if items[0].name.rsplit(".", 1)[-1] in CODECS else "image"
    media = [{"bytes": media_bytes(item), "path": Path(item.name).name} for item in items]
    table = pa.table({column: media, "label": [item.index for item in items]})
    name = {"val": "validation"}.get(split, split)
    (root / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, root / "data" / f"{name}-00000-of-00001.parquet", row_group_size=2)


def tar_shards(root: Path, split: str, items: Split) -> None:
    """WebDataset: `train-000000.tar` with `<key>.<ext>` beside `<key>.cls`, two shards a split."""
    for shard in range(2):
        root.mkdir(parents=True, exist_ok=True)
        with tarfile.open(root / f"{split}-{shard:06d}.tar", "w") as archive:
            for item in items[shard::2]:
                extension = item.name.rsplit(".", 1)[-1]
                for tail, content in (
                    (extension, media_bytes(item)),
                    ("cls", str(item.index).encode()),
                ):
                    entry = tarfile.TarInfo(f"{item.stem}.{tail}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))


def metadata_csv(root: Path, split: str, items: Split) -> None:
    """Hugging Face folders: `train/metadata.csv` with `file_name,label` beside the files."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file_name", "label"])
    for item in items:
        writer.writerow([Path(item.name).name, item.label])
        put(root / split / Path(item.name).name, media_bytes(item))
    put(root / split / "metadata.csv", file.getvalue())


COMMON = {
    "class folders": class_folders,
    "class folders with blanks": class_folders_with_blanks,
    "flat with list": flat_with_list,
    "frame folders": frame_folders,
    "parquet": parquet,
    "tar shards": tar_shards,
    "metadata csv": metadata_csv,
}


# --------------------------------------------------------------------- official files of each set
def kinetics(root: Path, split: str, items: Split) -> None:
    """CVDF: quoted labels in `annotations/train.csv`, flat videos."""
    lines = ["label,youtube_id,time_start,time_end,split,is_cc"]
    for item in items:
        name, start, end = item.stem[:11], int(item.stem[12:18]), int(item.stem[19:25])
        lines.append(f'"{item.label}",{name},{start},{end},{split},0')
        put(root / split / item.name, media_bytes(item))
    put(root / "annotations" / f"{split}.csv", "\n".join(lines) + "\n")


def ssv2(root: Path, split: str, items: Split) -> None:
    """Qualcomm: `labels/train.json` with templates in brackets, `<id>.webm`."""
    rows = []
    for item in items:
        template = item.label.replace("something", "[something]")
        rows.append({"id": item.stem, "label": "a made-up caption", "template": template})
        put(root / "20bn-something-something-v2" / item.name, media_bytes(item))
    name = {"val": "validation"}.get(split, split)
    put(root / "labels" / f"{name}.json", json.dumps(rows))


def ucf101(root: Path, split: str, items: Split) -> None:
    """`UCF-101/<Class>/v_*.avi` and `ucfTrainTestlist` with CRLF; test rows have no label."""
    place = root / "ucfTrainTestlist"
    lines = []
    for item in items:
        put(root / "UCF-101" / item.label / item.name, media_bytes(item))
        label = f" {item.index + 1}" if split == "train" else ""
        lines.append(f"{item.label}/{item.name}{label}\r\n")
    put(place / f"{'train' if split == 'train' else 'test'}list01.txt", "".join(lines))


def hmdb51(root: Path, split: str, items: Split) -> None:
    """`<class>/<file>.avi` and one list a class; 1 trains, 2 tests, 0 is unused."""
    for item in items:
        put(root / "videos" / item.label / item.name, media_bytes(item))
        lists = root / "testTrainMulti_7030_splits"
        lists.mkdir(parents=True, exist_ok=True)
        with (lists / f"{item.label}_test_split1.txt").open("a") as file:
            file.write(f"{item.name} {1 if split == 'train' else 2} \n")


def jester(root: Path, split: str, items: Split) -> None:
    """`20bn-jester-v1/<id>/00001.jpg` and `jester-v1-train.csv` with `id;label`."""
    name = {"val": "validation"}.get(split, split)
    put(root / f"jester-v1-{name}.csv", "".join(f"{item.stem};{item.label}\n" for item in items))
    for item in items:
        for number in range(NUM_FRAMES):
            folder = root / "20bn-jester-v1" / item.stem
            put(folder / f"{number + 1:05d}.jpg", image_bytes(item, number))


def diving48(root: Path, split: str, items: Split) -> None:
    """`Diving48_V2_train.json` and `rgb/<name>.mp4`."""
    rows = [
        {"vid_name": item.stem, "label": item.index, "start_frame": 0, "end_frame": NUM_FRAMES}
        for item in items
    ]
    name = {"val": "test"}.get(split, split)
    put(root / f"Diving48_V2_{name}.json", json.dumps(rows))
    for item in items:
        put(root / "rgb" / item.name, media_bytes(item))


def coin(root: Path, split: str, items: Split) -> None:
    """One `COIN.json` for both splits, `videos/<id>.mp4`."""
    path = root / "COIN.json"
    facts = json.loads(path.read_text()) if path.exists() else {"database": {}}
    for item in items:
        facts["database"][item.stem] = {
            "recipe_type": item.index,
            "class": item.label,
            "subset": "training" if split == "train" else "testing",
            "start": 0.0,
            "end": 1.0,
            "duration": 1.0,
            "video_url": "",
            "annotation": [],
        }
        put(root / "videos" / item.name, media_bytes(item))
    put(path, json.dumps(facts))


def in1k(root: Path, split: str, items: Split) -> None:
    """Kaggle: class folders to train on, a flat folder and `LOC_val_solution.csv` to score."""
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    if split == "train":
        for item in items:
            put(base / "train" / item.label / item.name, media_bytes(item))
        return
    lines = ["ImageId,PredictionString"]
    for item in reversed(items):
        put(base / "val" / item.name, media_bytes(item))
        lines.append(f"{item.stem},{item.label} 1 2 30 40 ")
    put(root / "LOC_val_solution.csv", "\n".join(lines) + "\n")


def in1k_caffe(root: Path, split: str, items: Split) -> None:
    """Class folders to train on, a flat folder and Caffe's `val.txt` to score."""
    for item in items:
        folder = item.label if split == "train" else ""
        put(root / split / folder / item.name, media_bytes(item))
    if split == "val":
        put(root / "val.txt", "".join(f"{item.name} {item.index}\n" for item in items))


def places205(root: Path, split: str, items: Split) -> None:
    """`trainvalsplit_places205/train_places205.csv`, nested classes."""
    base = root / "data/vision/torralba/deeplearning/images256"
    lines = []
    for item in items:
        put(base / item.label / item.name, media_bytes(item))
        lines.append(f"{item.label}/{item.name} {item.index}\n")
    put(root / "trainvalsplit_places205" / f"{split}_places205.csv", "".join(lines))


def places365(root: Path, split: str, items: Split) -> None:
    """`places365_train_standard.txt` with a leading slash; the flat `val_large`."""
    lines = []
    for item in items:
        nested = split == "train"
        folder = f"data_large/{item.label}" if nested else "val_large"
        put(root / folder / item.name, media_bytes(item))
        listed = f"/{item.label}/{item.name}" if nested else item.name
        lines.append(f"{listed} {item.index}\n")
    name = "places365_train_standard" if split == "train" else "places365_val"
    put(root / f"{name}.txt", "".join(lines))


def places365_easy(root: Path, split: str, items: Split) -> None:
    """`places365_standard/train/apartment_building-outdoor/<file>`."""
    for item in items:
        folder = item.label.split("/", 1)[1].replace("/", "-")
        put(root / "places365_standard" / split / folder / item.name, media_bytes(item))


def inat21(root: Path, split: str, items: Split) -> None:
    """COCO-like `train.json`, folders with a five-digit prefix."""
    classes = {index: f"{index:05d}_Made_Up" for index in range(10_000)}
    classes |= {item.index: item.label for item in items}
    facts = {
        "info": {},
        "images": [
            {"id": i, "width": 64, "height": 48, "file_name": f"{split}/{item.label}/{item.name}"}
            for i, item in enumerate(items)
        ],
        "licenses": [],
        "annotations": [
            {"id": i, "image_id": i, "category_id": item.index} for i, item in enumerate(items)
        ],
        "categories": [
            {"id": index, "name": label, "image_dir_name": label}
            for index, label in classes.items()
        ],
    }
    put(root / f"{split}.json", json.dumps(facts))
    for item in items:
        put(root / split / item.label / item.name, media_bytes(item))
