"""Kinetics-400 in every layout of its examples: the same ids, labels and digest."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.data.discover.find_split import read_split
from bench.data.manifest import Manifest
from bench.data.media.media import FrameFolder, Member, ParquetCell
from bench.errors import DataError, UsageError
from bench.types import ClipPlan
from tasks.formats.kinetics_files import clip_id, clip_keys
from tasks.k400 import K400, k400
from tasks.labels import shipped

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats" / "kinetics400"
# The examples' clips of the training split, and their classes in the shipped map.
TRAIN = {
    "--MadeUpx03": "massaging person's head",
    "-0aMadeUp01": "abseiling",
    "AbMade_Up02": "air drumming",
    "_1MadeUp005": "zumba",
    "zzMadeUp004": "passing American football (in game)",
}
BY_NAME = [K400.labels.names.index(name) for name in TRAIN.values()]
BY_NUMBER = [2, 0, 1, 4, 3]  # what the examples' lists write beside them


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def example(name: str, root: Path, to: str = "") -> Path:
    path = root / (to or Path(name).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(FORMATS / name, path)
    return path


def listing(name: str) -> list[str]:
    return (FORMATS / name).read_text().splitlines()


def flat(root: Path) -> None:
    touch(root, *(name for name in listing("cvdf_flat_videos_listing.txt") if "train/" in name))


def train(root: Path, **options: Any) -> Manifest:
    manifest = read_split(K400, root, "train", **options)
    assert list(manifest.ids) == list(TRAIN)
    assert list(manifest.classes) == list(K400.labels.names)
    return manifest


def below(root: Path, manifest: Manifest) -> list[str]:
    return [str(medium).removeprefix(f"{root}/") for medium in manifest.media]


# -------------------------------------------------------------------------------- official tables
@pytest.mark.parametrize("name", ["train.csv", "kinetics_train.csv", "kinetics400_train.csv"])
def test_cvdf_flat_videos_and_their_table(tmp_path: Path, name: str) -> None:
    flat(tmp_path)
    example("cvdf/annotations/train.csv", tmp_path, f"annotations/{name}")
    manifest = train(tmp_path)
    assert manifest.labels.tolist() == BY_NAME
    assert below(tmp_path, manifest)[0] == "train/--MadeUpx03_000003_000013.mp4"
    assert manifest.layout == "table of clips (CVDF); files"
    assert manifest.expected == 246_534
    assert manifest.copies["CVDF archives"] == 240_258


def test_replacement_of_a_corrupted_video_wins_by_its_id(tmp_path: Path) -> None:
    touch(tmp_path, *listing("cvdf_flat_videos_listing.txt"))
    example("cvdf/annotations/train.csv", tmp_path)
    media = below(tmp_path, train(tmp_path))
    folder = "replacement/replacement_for_corrupted_k400"
    assert media == [
        "train/--MadeUpx03_000003_000013.mp4",
        "train/-0aMadeUp01_000000_000010.mp4",
        f"{folder}/AbMade_Up02_000104_000114.mp4",
        "train/_1MadeUp005_000012_000022.mp4",
        f"{folder}/zzMadeUp004.mp4",
    ]


def test_replacement_wins_in_class_folders_and_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, *listing("class_folder_listing_spaces.txt"))
    touch(tmp_path, "train/replacement_for_corrupted_k400/zzMadeUp004.mp4")
    manifest = train(tmp_path)
    assert below(tmp_path, manifest)[-1] == "train/replacement_for_corrupted_k400/zzMadeUp004.mp4"
    assert manifest.labels.tolist() == BY_NAME


def test_deepmind_table_of_the_validation_split(tmp_path: Path) -> None:
    example("deepmind/validate.csv", tmp_path)
    ids = ["v-MadeUpx03", "v0aMadeUp01", "v1MadeUp005", "vbMade_Up02", "vzMadeUp004"]
    touch(tmp_path, *(f"val/{name}.mkv" for name in ids[:4]))
    manifest = read_split(K400, tmp_path, "val")
    names = list(TRAIN.values())
    expected = [names[0], names[1], "zumba", "air drumming", names[4]]
    assert list(manifest.ids) == ids
    assert [manifest.classes[label] for label in manifest.labels] == expected
    assert below(tmp_path, manifest)[:4] == [f"val/{name}.mkv" for name in ids[:4]]
    assert not manifest.media[4].exists(), "a listed clip without file stays a row"


def test_both_val_tables_give_one_digest(tmp_path: Path) -> None:
    digests = set()
    for number, name in enumerate(("deepmind/validate.csv", "cvdf/annotations/val.csv")):
        root = tmp_path / str(number)
        example(name, root)
        touch(root, "val/v-MadeUpx03_000003_000013.mp4")
        digests.add(read_split(K400, root, "val").digest)
    assert len(digests) == 1


def test_crawler_table_without_labels_is_refused(tmp_path: Path) -> None:
    path = example("activitynet_crawler/kinetics-400_test.csv", tmp_path)
    touch(tmp_path, "test/t0aMadeUp01.mp4")
    for options in ({}, {"listing": path}):
        with pytest.raises(DataError, match=r"lists 5 clips of Kinetics-400 without labels"):
            read_split(K400, tmp_path, "test", **options)


def test_cvdf_table_of_the_test_split_has_labels(tmp_path: Path) -> None:
    example("cvdf/annotations/test.csv", tmp_path)
    touch(tmp_path, "test/t0aMadeUp01_000000_000010.mp4")
    manifest = read_split(K400, tmp_path, "test")
    assert manifest.classes[manifest.labels[1]] == "abseiling"


def test_one_table_for_all_splits_is_cut_by_its_column(tmp_path: Path) -> None:
    lines = ["label,youtube_id,time_start,time_end,split"]
    lines += ["abseiling,aaaaaaaaaaa,1,2,train", "zumba,bbbbbbbbbbb,1,2,validate"]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    touch(tmp_path, "x/aaaaaaaaaaa.mp4", "x/bbbbbbbbbbb.mp4")
    for split, ids in (("train", ["aaaaaaaaaaa"]), ("val", ["bbbbbbbbbbb"])):
        assert read_split(K400, tmp_path, split, listing=tmp_path / "all.csv").ids == ids


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("abseilin,aaaaaaaaaaa,1,2,train", r"line 2: 'abseilin' .*Did you mean 'abseiling'\?"),
        ("zumba,aaaaaaaaaaa,1,x,train", r"line 2: the times of 'aaaaaaaaaaa'"),
        ("zumba,a,aaaaaaaaaaa,1,2,train", r"line 2: 6 fields, but the header has 5"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "train.csv").write_text(f"label,youtube_id,time_start,time_end,split\n{row}\n")
    touch(tmp_path, "x/aaaaaaaaaaa.mp4")
    with pytest.raises(DataError, match=said):
        read_split(K400, tmp_path, "train")


# ----------------------------------------------------------------------------------- class folders
@pytest.mark.parametrize("name", ["spaces", "underscores"])
def test_class_folders(tmp_path: Path, name: str) -> None:
    touch(tmp_path, *listing(f"class_folder_listing_{name}.txt"))
    manifest = train(tmp_path)
    assert manifest.labels.tolist() == BY_NAME
    assert manifest.layout == "class folders; files"


def test_unknown_class_folder_is_named_with_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "train/zumba/a.mp4", "train/ABSEILNG/b.mp4")
    with pytest.raises(DataError, match=r"'ABSEILNG'.*Did you mean 'abseiling'\?"):
        read_split(K400, tmp_path, "train")


# ------------------------------------------------------------------------------------------- lists
LISTS = (
    "jepa_style/k400_train_paths.csv",
    "videomae_style/train.csv",
    "svt_style/train.csv",
    "comma_style_uniformer/train.csv",
    "mmaction2/kinetics400_train_list_videos.txt",
)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("place", ["train", "videos_train/some class", "elsewhere"])
def test_lists_of_indices_find_files_by_name_wherever_they_lie(
    tmp_path: Path, name: str, place: str
) -> None:
    clips = [Path(line).name for line in listing("class_folder_listing_spaces.txt")]
    touch(tmp_path, *(f"{place}/{clip}" for clip in clips))
    example(name, tmp_path, f"lists/{Path(name).name}")
    manifest = train(tmp_path)
    assert manifest.labels.tolist() == BY_NUMBER
    assert all(medium.is_file() for medium in manifest.media)
    # The examples number five classes, the shipped map 400: only mmaction2's names tell both.
    other = " (3 are not those of the class folders)" if "mmaction2" in name else ""
    assert manifest.layout == f"list of paths and indices{other}; files"


def test_list_of_frame_folders(tmp_path: Path) -> None:
    path = example("mmaction2/kinetics400_train_list_rawframes.txt", tmp_path)
    for line in path.read_text().splitlines():
        folder = tmp_path / "rawframes_train" / line.rsplit(" ", 2)[0]
        folder.mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (2, 2)).save(folder / f"img_{number:05d}.jpg")
    manifest = train(tmp_path)
    assert manifest.labels.tolist() == BY_NUMBER
    assert manifest.layout.startswith("list of frame folders (3 are not")
    assert manifest.layout.endswith("; folders of frames")
    folder = tmp_path / "rawframes_train/massaging_person's_head/--MadeUpx03_000003_000013"
    assert manifest.media[0] == FrameFolder(folder)
    path.unlink()
    assert train(tmp_path).labels.tolist() == BY_NAME, "without the list: class folders"


def test_label_map_beside_a_list_must_not_contradict_the_shipped_one(tmp_path: Path) -> None:
    clips = listing("class_folder_listing_underscores.txt")
    touch(tmp_path, *clips)
    example("mmaction2/kinetics400_train_list_videos.txt", tmp_path)
    own = example("mmaction2/label_map_k400.txt", tmp_path)
    with pytest.raises(DataError, match=r"label_map_k400.txt gives the class"):
        read_split(K400, tmp_path, "train")
    manifest = read_split(K400, tmp_path, "train", classes=own)
    assert list(manifest.classes) == own.read_text().splitlines()
    assert manifest.labels.tolist() == BY_NUMBER
    own.write_text("".join(f"{name}\n" for name in K400.labels.names))
    assert train(tmp_path).labels.tolist() == BY_NUMBER, "the same order is none"


def test_index_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("train/a.mp4 400\n")
    touch(tmp_path, "train/a.mp4")
    with pytest.raises(DataError, match=r"line 1: label '400' is not one of the 400 classes"):
        read_split(K400, tmp_path, "train", listing=tmp_path / "train.csv")


# ---------------------------------------------------------------------------------------- archives
def tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("tail", ["cls", "json", "txt"])
@pytest.mark.parametrize("named", [True, False])
def test_tar_shards_with_labels(tmp_path: Path, tail: str, named: bool) -> None:
    for shard in range(2):
        members = {}
        for key, name in list(TRAIN.items())[shard::2]:
            label = name.replace(" ", "_") if named else str(K400.labels.names.index(name))
            quoted = label if not named else f'"{label}"'
            said = f'{{"label": {quoted}}}' if tail == "json" else label
            members |= {f"{key}.mp4": key.encode(), f"{key}.{tail}": said.encode()}
        tar(tmp_path / f"k400-train-{shard:06d}.tar", members)
    manifest = train(tmp_path)
    assert manifest.labels.tolist() == BY_NAME
    assert manifest.layout == "tar shards with labels; members of tar archives"
    for key, medium in zip(manifest.ids, manifest.media, strict=True):
        assert isinstance(medium, Member)
        with medium.archive.open("rb") as file:
            file.seek(medium.offset)
            assert file.read(medium.size) == key.encode()


def test_tar_parts_without_labels_are_read_by_the_table(tmp_path: Path) -> None:
    clips = [Path(line).name for line in listing("class_folder_listing_spaces.txt")]
    tar(tmp_path / "targz/part_0.tar", dict.fromkeys((f"./{clip}" for clip in clips[:3]), b"x"))
    tar(tmp_path / "targz/part_1.tar", dict.fromkeys(clips[3:], b"x"))
    example("cvdf/annotations/train.csv", tmp_path)
    manifest = train(tmp_path)
    assert manifest.labels.tolist() == BY_NAME
    assert all(isinstance(medium, Member) for medium in manifest.media)


def test_parquet_with_videos_and_labels(tmp_path: Path) -> None:
    rows = [
        {"video": {"bytes": b"x", "path": f"{key}.mp4"}, "label": label}
        for key, label in zip(TRAIN, BY_NAME, strict=True)
    ]
    (tmp_path / "data").mkdir()
    for shard in range(2):
        table = pa.Table.from_pylist(rows[shard::2])
        pq.write_table(table, tmp_path / "data" / f"train-{shard:05d}-of-00002.parquet")
    manifest = train(tmp_path)
    assert manifest.labels.tolist() == BY_NAME
    assert manifest.media[2] == ParquetCell(
        tmp_path / "data/train-00000-of-00002.parquet", 1, "video"
    )


# ------------------------------------------------------------------------------------ all of them
def test_layouts_agree_on_ids_labels_and_digest(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("table", "folders", "underscores", "list", "metadata")]
    flat(roots[0])
    example("cvdf/annotations/train.csv", roots[0])
    touch(roots[1], *listing("class_folder_listing_spaces.txt"))
    touch(roots[2], *listing("class_folder_listing_underscores.txt"))
    rows = [
        f"/data/{key}_000000_000010.mp4 {label}" for key, label in zip(TRAIN, BY_NAME, strict=True)
    ]
    touch(roots[3], *(f"videos/{key}.webm" for key in TRAIN))
    (roots[3] / "train.csv").write_text("\n".join(reversed(rows)))
    touch(roots[4], *(f"train/{key}.mp4" for key in TRAIN))
    lines = [f"{key}.mp4,{name}" for key, name in TRAIN.items()]
    (roots[4] / "train/metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    manifests = [train(root) for root in roots]
    assert len({manifest.digest for manifest in manifests}) == 1
    assert all(np.array_equal(manifest.labels, BY_NAME) for manifest in manifests)
    assert all(medium.is_file() for manifest in manifests for medium in manifest.media)
    assert manifests[4].layout == "metadata of folders; files"


# --------------------------------------------------------------------------------------- the task
def both_splits(root: Path) -> Path:
    flat(root)
    touch(root, *(f"val/v{name[1:]}_000000_000010.mp4" for name in TRAIN))
    for split in ("train", "val"):
        example(f"cvdf/annotations/{split}.csv", root, f"annotations/{split}.csv")
    return root


def test_task_reads_both_splits(tmp_path: Path) -> None:
    task = k400(data=both_splits(tmp_path))
    assert (task.name, task.title, task.kind, task.flip) == ("k400", "Kinetics-400", "video", True)
    assert (len(task.fit), len(task.score)) == (5, 5)
    assert (task.fit.split, task.score.split) == ("train", "val")
    assert task.score_plan == ClipPlan.parse("16x8x3@4")
    assert task.fit_plan == ClipPlan.parse("16x8x1@4")
    assert task.score.expected == 19_906


@pytest.mark.parametrize("name", ["k400", "Kinetics-400", "kinetics400"])
def test_task_finds_its_folder_among_others(tmp_path: Path, name: str) -> None:
    both_splits(tmp_path / name)
    touch(tmp_path, "other/train/zumba/a.mp4")
    task = k400(data=tmp_path)
    assert task.fit.media.root == tmp_path / name


def test_task_takes_lists_and_media_from_elsewhere(tmp_path: Path) -> None:
    root = both_splits(tmp_path / "data")
    path = tmp_path / "val.csv"
    path.write_text("x/va.mp4 3\n")
    touch(tmp_path, "media/va.mp4")
    task = k400(data=root, val=path, media=tmp_path / "media", train=path)
    assert task.score.ids == ["va"]
    assert task.score.media[0] == tmp_path / "media/va.mp4"


def test_task_without_data_says_how_to_give_it() -> None:
    with pytest.raises(UsageError, match=r"--data DIR, or run `bench data add k400 DIR`"):
        k400()


def test_low_shot_options_cut_the_training_split(tmp_path: Path) -> None:
    root = both_splits(tmp_path)
    lines = (root / "annotations/train.csv").read_text().splitlines()
    lines.append("zumba,bMadeUp0005,12,22,train,0")
    (root / "annotations/train.csv").write_text("\n".join(lines))
    task = k400(data=root, shots=1)
    assert (len(task.fit), len(task.fit.root), task.options["shots"]) == (5, 6, 1)


# ------------------------------------------------------------------------------------------- names
def test_ids_are_parsed_from_the_right() -> None:
    assert clip_id("a/b c/--MadeUpx03_000003_000013.mp4") == "--MadeUpx03"
    assert clip_id("_a_000001__000104_000114.webm") == "_a_000001__000104_000114"
    assert clip_id("_a_000001_x_000104_000114.webm") == "_a_000001_x"
    assert clip_id("AbMade_Up02.mp4") == "AbMade_Up02"
    assert clip_keys("train/AbMade_Up02_000104_000114.mp4") == (
        "train/AbMade_Up02_000104_000114",
        "AbMade_Up02_000104_000114",
        "AbMade_Up02",
    )
    assert shipped("k400") is K400.labels
