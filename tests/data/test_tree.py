"""What a scan finds: every form of media, annotation files, labels inside of archives."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.data.discover.folder_scan import scan
from bench.data.media.media import FrameFolder, Member, ParquetCell
from bench.errors import DataError

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def tar(path: Path, members: dict[str, bytes | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            raw = content.encode() if isinstance(content, str) else content
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    return path


# ------------------------------------------------------------------------------------------- files
def test_media_of_the_kind_and_other_files(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.MP4", "a/1.webm", "a/1.jpg", "train.csv", "labels/x.json", "a/.hidden.mp4")
    touch(tmp_path, ".cache/3.mp4", "archive.zip")
    videos = scan(tmp_path, "video")
    assert list(videos.names) == ["a/1.webm", "b/2.MP4"]
    assert list(videos.media) == [tmp_path / "a/1.webm", tmp_path / "b/2.MP4"]
    assert list(videos.others) == ["labels/x.json", "train.csv"]
    assert list(videos.compressed) == ["archive.zip"]
    assert list(videos.labels) == [None, None]
    assert list(scan(tmp_path, "image").names) == ["a/1.jpg"]


def test_folder_of_pictures_is_a_video_where_videos_are_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "v/many/1.jpg", "v/many/2.jpg", "v/single/1.jpg")
    touch(tmp_path, "v/beside/1.jpg", "v/beside/2.jpg", "v/beside/x.mp4")
    touch(tmp_path, "v/nested/1.jpg", "v/nested/2.jpg", "v/nested/in/1.png", "v/nested/in/2.png")
    tree = scan(tmp_path, "video")
    assert list(tree.names) == ["v/beside/x.mp4", "v/many", "v/nested/in"]
    assert tree.media[1] == FrameFolder(tmp_path / "v/many")
    assert list(scan(tmp_path / "v/many", "image").names) == ["1.jpg", "2.jpg"]


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "1.mp4")
    touch(tmp_path / "root", "a/2.mp4")
    (tmp_path / "root/b").symlink_to(tmp_path / "disk")
    (tmp_path / "root/broken.mp4").symlink_to(tmp_path / "gone.mp4")
    assert list(scan(tmp_path / "root", "video").names) == ["a/2.mp4", "b/1.mp4", "broken.mp4"]
    (tmp_path / "disk/up").symlink_to(tmp_path / "root")
    tree = scan(tmp_path / "root", "video")
    assert list(tree.names) == ["a/2.mp4", "b/1.mp4", "broken.mp4"]
    assert tree.left_out.notes() == ("1 not read (link to a folder that contains it): b/up",)


def test_what_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        scan(tmp_path / "none", "video")
    with open(os.fsencode(tmp_path) + b"/x\xff.mp4", "wb"):  # noqa: PTH123
        pass
    with pytest.raises(DataError, match="is not UTF-8"):
        scan(tmp_path, "video")


def test_patterns_find_files_the_best_pattern_first_then_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "z/Train.CSV", "train.csv", "a/b/train.csv", "lists/mytrain.csv", "x/val.csv")
    tree = scan(tmp_path, "video")

    def found(*patterns: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in tree.find(*patterns)]

    assert found("train.csv") == ["train.csv", "z/Train.CSV", "a/b/train.csv"]
    assert found("val.csv", "train.csv")[:2] == ["x/val.csv", "train.csv"]
    assert found("B/train.csv", "train.csv")[:2] == ["a/b/train.csv", "train.csv"]
    assert found("*train.csv", "train.csv").count("train.csv") == 1
    assert found("lists/*.csv") == ["lists/mytrain.csv"]
    assert found("ain.csv") == []


def test_file_beside_another_is_nearest_or_anywhere(tmp_path: Path) -> None:
    touch(tmp_path, "a/map.txt", "b/map.txt", "b/list.csv", "c/list.csv")
    tree = scan(tmp_path, "video")
    assert tree.beside(tmp_path / "b/list.csv", "map.txt") == tmp_path / "b/map.txt"
    assert tree.beside(tmp_path / "c/list.csv", "map.txt") == tmp_path / "a/map.txt"
    assert tree.beside(tmp_path / "c/list.csv", "other.txt") is None


def test_media_below_a_folder(tmp_path: Path) -> None:
    tree = scan(touch(tmp_path, "a/1.mp4", "ab/2.mp4", "a/b/3.mp4"), "video")
    assert list(tree.below(tmp_path / "a").names) == ["a/1.mp4", "a/b/3.mp4"]
    assert list(tree.below(tmp_path / "a").media) == [tmp_path / "a/1.mp4", tmp_path / "a/b/3.mp4"]
    assert len(tree.below(tmp_path).names) == 3
    with pytest.raises(DataError, match="has no videos"):
        tree.below(tmp_path / "c")


# --------------------------------------------------------------------------------------------- tar
def test_members_of_a_tar_are_media_with_their_bytes(tmp_path: Path) -> None:
    tar(tmp_path / "b/part.tar", {"./a/x.mp4": b"12345", "a/.y.mp4": b"0", "a/z.jpg": b"67"})
    touch(tmp_path, "c.mp4")
    tree = scan(tmp_path, "video")
    assert list(tree.names) == ["c.mp4", "b/part/a/x.mp4"]
    medium = tree.media[1]
    assert isinstance(medium, Member)
    assert (medium.archive, medium.name, medium.size) == (tmp_path / "b/part.tar", "a/x.mp4", 5)
    assert medium.archive.read_bytes()[medium.offset :][:5] == b"12345"
    assert list(tree.others) == []


@pytest.mark.parametrize(
    ("tail", "content", "label"),
    [
        ("cls", "7", "7"),
        ("cls", "air drumming\n", "air drumming"),
        ("txt", "zumba", "zumba"),
        ("txt", "two\nlines", None),
        ("json", '{"label": "zumba"}', "zumba"),
        ("json", '{"Class": 3, "width": 4}', "3"),
        ("json", '{"target": 3}', "3"),
        ("json", '{"width": 4}', None),
        ("json", '{"label": [1, 2]}', None),
        ("json", "4", "4"),
        ("json", "not json", None),
    ],
)
def test_label_beside_a_member(tmp_path: Path, tail: str, content: str, label: str | None) -> None:
    tar(tmp_path / "x.tar", {f"k.{tail}": content, "k.mp4": b"1", "other.mp4": b"2"})
    assert list(scan(tmp_path, "video").labels) == [label, None]


def test_label_of_names_with_several_dots_and_the_best_of_several(tmp_path: Path) -> None:
    members = {"a.b.jpg": b"", "a.b.cls": "1", "a.c.jpg": b"", "a.c.cls": "2", "a.c.txt": "words"}
    tar(tmp_path / "x.tar", {**members, "d.left.jpg": b"", "d.cls": "3"})
    assert list(scan(tmp_path, "image").labels) == ["1", "2", "3"]


def test_tar_that_is_cut_off_or_none_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {"a.mp4": b"1" * 3000})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"x\.tar cannot be read .*extends beyond its end"):
        scan(tmp_path, "video")
    path.write_bytes(b"no archive" * 200)
    with pytest.raises(DataError, match=r"x\.tar cannot be read"):
        scan(tmp_path, "video")


def test_compressed_archives_are_noted_not_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.tar.gz", "b.TGZ", "c.tar.zst", "d.gz")
    tree = scan(tmp_path, "video")
    assert list(tree.compressed) == ["a.tar.gz", "b.TGZ", "c.tar.zst"]
    assert list(tree.others) == ["d.gz"]


# ----------------------------------------------------------------------------------------- parquet
def parquet(path: Path, rows: list[dict], features: dict | None = None) -> None:
    table = pa.Table.from_pylist(rows)
    if features is not None:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path)


def test_parquet_of_hugging_face(tmp_path: Path) -> None:
    shutil.copytree(FORMATS / "imagenet1k/hf_parquet", tmp_path / "data")
    tree = scan(tmp_path, "image")
    archive = "data/validation-00000-of-00014"
    assert list(tree.names) == [
        f"{archive}/ILSVRC2012_val_00000001_n01751748.JPEG",
        f"{archive}/ILSVRC2012_val_00000002_n02119789.JPEG",
    ]
    assert list(tree.labels) == ["0", "2"]
    names = tree.class_names[f"{archive}.parquet"]
    assert list(names) == ["made-up snake", "made-up setter, second name", "made-up fox"]
    medium = tree.media[1]
    assert medium == ParquetCell(tmp_path / f"{archive}.parquet", 1, "image")
    cell = pq.read_table(medium.archive).column(medium.column)[medium.row].as_py()
    assert Image.open(io.BytesIO(cell["bytes"])).size == (8, 6)


def test_cells_without_a_path_are_called_by_their_row(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": b"1", "path": name}, "label": "x"} for name in (None, "d/a.jpg")]
    parquet(tmp_path / "p.parquet", rows)
    assert list(scan(tmp_path, "image").names) == ["p/00000000", "p/d/a.jpg"]
    parquet(tmp_path / "p.parquet", [{"image": {"bytes": b"1"}, "fine": 1}])
    tree = scan(tmp_path, "image")
    assert (list(tree.names), list(tree.labels)) == (["p/00000000"], [None])


def test_parquet_without_media_of_the_kind_is_an_annotation_file(tmp_path: Path) -> None:
    parquet(tmp_path / "list.parquet", [{"path": "a.mp4", "label": 1}])
    parquet(tmp_path / "pictures.parquet", [{"image": {"bytes": b"1"}, "label": 1}])
    parquet(tmp_path / "x.parquet", [{"a": {"bytes": b""}}], {"a": {"_type": "Image"}})
    tree = scan(tmp_path, "video")
    assert list(tree.others) == ["list.parquet", "pictures.parquet", "x.parquet"]
    assert len(tree.names) == 0
    assert list(scan(tmp_path, "image").others) == ["list.parquet"]


def test_two_columns_of_pictures_are_refused_unless_one_is_called_so(tmp_path: Path) -> None:
    parquet(tmp_path / "x.parquet", [{"left": {"bytes": b""}, "right": {"bytes": b""}}])
    with pytest.raises(DataError, match="any of the columns left, right may hold the images"):
        scan(tmp_path, "image")
    parquet(tmp_path / "x.parquet", [{"mask": {"bytes": b""}, "image": {"bytes": b""}}])
    assert scan(tmp_path, "image").media[0].column == "image"


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable parquet file"):
        scan(tmp_path, "image")
