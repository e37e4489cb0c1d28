"""Trees as users really have them: read right and counted exactly, or refused in one sentence."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.manifest import Manifest
from bench.errors import DataError
from tasks.in1k import in1k
from tasks.k400 import k400
from tasks.labels import shipped
from tasks.places365 import places365

CLASSES = ("abseiling", "air drumming")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def class_folders(
    root: Path, *, tops: tuple[str, str] = ("train", "val"), extension: str = "mp4"
) -> None:
    for top in tops:
        touch(root, *(f"{top}/{name}/{top[0]}{n}.{extension}" for n, name in enumerate(CLASSES)))


def tar(path: Path, *names: str, links: Sequence[tuple[str, bytes, str]] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 700
            archive.addfile(entry, io.BytesIO(os.fsencode(name).ljust(700)))
        for name, kind, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    return path


def both_tars(root: Path, **options: Any) -> Path:
    for split in ("train", "val"):
        names = [f"{split}/{name}/{split[0]}{n}.mp4" for n, name in enumerate(CLASSES)]
        made = tar(root / f"{split}.tar", *names, **options)
    return made


def refusal(task: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        task(**options)
    return str(refused.value)


def media(manifest: Manifest, root: Path) -> list[str]:
    return [str(medium).removeprefix(f"{root}/") for medium in manifest.media]


# ------------------------------------------------------------------------------------------- tar
@pytest.mark.parametrize("extra", [0, 200, 512])
def test_tar_cut_between_or_within_headers_loses_no_member_in_silence(
    tmp_path: Path, extra: int
) -> None:
    path = both_tars(tmp_path)
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1]
    path.write_bytes(path.read_bytes()[: second.offset + extra])
    assert "val.tar cannot be read" in refusal(k400, data=tmp_path)


def test_tar_that_is_damaged_in_the_middle_or_joined_is_refused(tmp_path: Path) -> None:
    path = both_tars(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole)
    assert "has another appended" in refusal(k400, data=tmp_path)
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1]
    path.write_bytes(whole[: second.offset] + b"x" * 512 + whole[second.offset + 512 :])
    assert "is damaged" in refusal(k400, data=tmp_path)


def test_links_in_a_tar_are_the_files_they_lead_to(tmp_path: Path) -> None:
    for split in ("train", "val"):
        here = f"{split}/abseiling"
        links = [
            (f"./{here}/hard.mp4", tarfile.LNKTYPE, f"{here}/a.mp4"),
            (f"{here}/soft.mp4", tarfile.SYMTYPE, "../air drumming/b.mp4"),
            (f"{here}/chain.mp4", tarfile.SYMTYPE, "soft.mp4"),
        ]
        tar(tmp_path / f"{split}.tar", f"{here}/a.mp4", f"{split}/air drumming/b.mp4", links=links)
    fit = k400(data=tmp_path).fit
    places = {sample: medium.offset for sample, medium in zip(fit.ids, fit.media, strict=True)}
    assert places["hard"] == places["a"] and places["soft"] == places["chain"] == places["b"]
    assert [fit.classes[label] for label in fit.labels] == [
        *["abseiling", "air drumming"], *["abseiling"] * 3
    ]  # fmt: skip


@pytest.mark.parametrize("target", ["/elsewhere/x.mp4", "link.mp4"])
def test_link_in_a_tar_that_leads_nowhere_is_refused(tmp_path: Path, target: str) -> None:
    both_tars(tmp_path, links=[("train/abseiling/link.mp4", tarfile.SYMTYPE, target)])
    assert "link.mp4 is a link to" in refusal(k400, data=tmp_path)


def test_name_that_stands_twice_in_a_tar_or_is_no_utf8_is_refused(tmp_path: Path) -> None:
    tar(tmp_path / "train.tar", "train/zumba/a.mp4", "train/zumba/a.mp4")
    assert "it contains train/zumba/a.mp4 twice" in refusal(k400, data=tmp_path)
    tar(tmp_path / "train.tar", os.fsdecode(b"train/zumba/\xe9.mp4"))
    assert "is not UTF-8" in refusal(k400, data=tmp_path)


def test_compressed_archives_of_the_split_are_told_in_the_layout(tmp_path: Path) -> None:
    class_folders(tmp_path)
    touch(tmp_path, "train-000001.tar.gz", "train/more.zip", "docs.zip")
    task = k400(data=tmp_path)
    assert task.fit.layout.endswith("; 2 compressed or nested archives were not read")
    assert task.score.layout == "class folders; files"


def test_archive_of_archives_is_named(tmp_path: Path) -> None:
    tar(tmp_path / "ILSVRC2012_img_train.tar", "n01440764.tar")
    assert "ILSVRC2012_img_train.tar, cannot be read in place" in refusal(in1k, data=tmp_path)


# --------------------------------------------------------------------------------------- parquet
def parquets(root: Path, column: str = "label", path: str | None = "video.mp4") -> None:
    for split in ("train", "val"):
        cells = [{"bytes": b"x", "path": path}] * 2
        (root / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table({"video": cells, column: [0, 1]}), root / f"data/{split}-0.parquet")


def test_parquet_whose_rows_share_one_path_is_told_apart_by_row(tmp_path: Path) -> None:
    parquets(tmp_path)
    fit = k400(data=tmp_path).fit
    assert (list(fit.ids), fit.labels.tolist()) == (["00000000", "00000001"], [0, 1])


def test_parquet_without_a_label_column_says_which_columns_are_taken(tmp_path: Path) -> None:
    parquets(tmp_path, column="action")
    said = refusal(k400, data=tmp_path)
    assert "train-0.parquet carries no labels" in said and "label or class or target" in said


def test_parquet_of_bare_bytes_does_not_print_them(tmp_path: Path) -> None:
    table = pa.table({"video": [b"\0" * 100_000], "label": [0]})
    for split in ("train", "val"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    assert len(refusal(k400, data=tmp_path)) < 2000


# --------------------------------------------------------------------- several copies of the data
def test_videos_go_before_the_frames_that_were_made_of_them(tmp_path: Path) -> None:
    class_folders(tmp_path)
    for split in ("train", "val"):
        for n, name in enumerate(CLASSES):
            frames = f"rawframes_{split}/{name}/{split[0]}{n}"
            touch(tmp_path, f"{frames}/img_00001.jpg", f"{frames}/img_00002.jpg")
    assert media(k400(data=tmp_path).fit, tmp_path) == [
        "train/abseiling/t0.mp4", "train/air drumming/t1.mp4"
    ]  # fmt: skip
    frames = k400(data=tmp_path, media=Path("rawframes_*"))
    assert media(frames.score, tmp_path) == [
        "rawframes_val/abseiling/v0/", "rawframes_val/air drumming/v1/"
    ]  # fmt: skip


def test_large_and_small_copies_of_places_are_told_apart_by_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "places365_train_standard.txt").write_text("/a/airfield/1.jpg 0\n")
    (tmp_path / "places365_val.txt").write_text("Places365_val_00000001.jpg 0\n")
    for size in ("256", "large"):
        touch(tmp_path, f"data_{size}/a/airfield/1.jpg", f"val_{size}/Places365_val_00000001.jpg")
    assert "'*_256' matches several" in refusal(places365, data=tmp_path)
    task = places365(data=tmp_path, media=Path("*_256"))
    assert media(task.fit, tmp_path) == ["data_256/a/airfield/1.jpg"]
    assert media(task.score, tmp_path) == ["val_256/Places365_val_00000001.jpg"]
    assert "no folder in" in refusal(places365, data=tmp_path, media=Path("*_128"))


def test_archive_that_was_unpacked_may_lie_beside_its_class_folders(tmp_path: Path) -> None:
    wnids = shipped("in1k").names[:2]
    for n, wnid in enumerate(wnids):
        touch(tmp_path, f"train/{wnid}/{wnid}_1.JPEG", f"val/{wnid}/ILSVRC2012_val_{n:08d}.JPEG")
    names = [f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(3)]
    tar(tmp_path / "ILSVRC2012_img_val.tar", *names[:2])
    score = in1k(data=tmp_path).score
    assert score.labels.tolist() == [0, 1] and score.layout == "class folders; files"
    tar(tmp_path / "ILSVRC2012_img_val.tar", *names)
    assert names[2] in refusal(in1k, data=tmp_path), "one that is in no class folder"


# ------------------------------------------------------------------------------ roots and settings
def test_what_is_no_folder_of_media_is_said(tmp_path: Path) -> None:
    class_folders(tmp_path)
    touch(tmp_path, "train.csv")
    assert "train.csv is a file" in refusal(k400, data=tmp_path / "train.csv")
    assert f"perhaps {tmp_path}, the folder above" in refusal(k400, data=tmp_path / "train")
    assert "neither here nor in" in refusal(k400, data=tmp_path, media=Path("nothing"))
    touch(tmp_path, "train2/x")
    for path in (tmp_path, tmp_path / "train" / ".."):
        assert len(k400(data=tmp_path, media=path).fit) == 2


def test_link_to_itself_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "train/abseiling/loop").symlink_to("loop")
    task = k400(data=tmp_path)
    assert len(task.fit) == 2 and not task.score.notes
    assert task.fit.notes == (
        "1 not read (cannot be opened: Too many levels of symbolic links): train/abseiling/loop",
    )


def test_list_that_counts_from_one_is_asked_about(tmp_path: Path) -> None:
    for split in ("train", "val"):
        rows = [f"{split}{n}.mp4 {n}" for n in (1, 400)]
        (tmp_path / f"{split}.csv").write_text("\n".join(rows))
        touch(tmp_path, f"media/{split}1.mp4", f"media/{split}400.mp4")
    assert "count from 1?" in refusal(k400, data=tmp_path)


def test_reason_of_an_official_file_without_media_is_given_once(tmp_path: Path) -> None:
    rows = "label,youtube_id,time_start,time_end,split\nabseiling,-0aMadeUp01,0,10,train\n"
    (tmp_path / "train.csv").write_text(rows)
    touch(tmp_path, "videos.rar")
    said = refusal(k400, data=tmp_path)
    assert said.count("lists 1 samples") == 1 and "no media file column" not in said
    assert "videos.rar, cannot be read in place" in said


@pytest.mark.parametrize(
    "content", [{}, {"name": "k400", "kind": "video", "root": ".", "splits": {"train": {}}}]
)
def test_damaged_description_of_an_added_data_set_is_refused(
    tmp_path: Path, content: dict[str, str | dict[str, dict[str, Any]]]
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"version": 1, **content}))
    assert "run `bench data add" in refusal(k400, data=tmp_path)
