"""Lists, tables and class folders as users have them, read as the rows that were written."""

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data.manifest import Manifest
from bench.data.media.media import MediaColumn
from bench.data.read_manifest import read_classes, read_folder, read_list
from bench.errors import DataError

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"


def read(path: Path, **options: Any) -> Manifest:
    return read_list(path, **{"root": None, "name": "own", "split": "train", **options})


def written(tmp_path: Path, content: str | bytes, name: str = "train.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return str(caught.value)


# ------------------------------------------------------------------------------- path label lists
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("jepa_style/k400_train_paths.csv", "-0aMadeUp01_000000_000010.mp4"),
        ("svt_style/train.csv", "-0aMadeUp01_000000_000010.mp4"),
        ("videomae_style/train.csv", "k400/train/-0aMadeUp01_000000_000010.mp4"),
        ("comma_style_uniformer/train.csv", "train/-0aMadeUp01_000000_000010.mp4"),
        ("mmaction2/kinetics400_train_list_videos.txt", "abseiling/-0aMadeUp01_000000_000010.mp4"),
    ],
)
def test_lists_of_public_codes_are_read(name: str, first: str) -> None:
    manifest = read(FORMATS / "kinetics400" / name)
    assert manifest.kind == "video"
    assert manifest.ids[0] == first
    assert manifest.labels.tolist() == [0, 1, 2, 3, 4]
    assert list(manifest.classes) == ["0", "1", "2", "3", "4"]


def test_label_map_file_names_the_classes() -> None:
    folder = FORMATS / "kinetics400" / "mmaction2"
    manifest = read(
        folder / "kinetics400_train_list_videos.txt", classes=folder / "label_map_k400.txt"
    )
    assert manifest.classes[2] == "massaging person's head"
    assert manifest.ids[3].startswith("passing_American_football_(in_game)/")


def test_frame_list_with_counts_is_refused() -> None:
    path = FORMATS / "kinetics400" / "mmaction2" / "kinetics400_train_list_rawframes.txt"
    assert "line 1" in refusal(path)


def test_classes_of_a_blank_separated_csv_of_images_are_the_labels_that_occur() -> None:
    path = FORMATS / "places205" / "trainvalsplit_places205" / "train_places205.csv"
    manifest = read(path)
    assert manifest.kind == "image"
    assert manifest.labels.tolist() == [0, 1, 2]
    assert manifest.classes == ["0", "1", "22"]


def test_shell_characters_in_names_survive() -> None:
    manifest = read(FORMATS / "hmdb51" / "mmaction2" / "hmdb51_train_split_1_videos.txt")
    assert manifest.ids[1] == "wave/MadeUp&Friends_wave_u_cm_np1_ri_bad_1.avi"


def test_parquet_with_image_bytes_is_refused_with_the_way_out() -> None:
    path = next((FORMATS / "imagenet1k" / "hf_parquet").glob("*.parquet"))
    assert "holds the images themselves" in refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4 0\nb.mp4 1\n",
        "\ufeffa.mp4 0\r\nb.mp4 1\r\n",
        "a.mp4 0 \t\nb.mp4 1  ",
        "a.mp4  0\nb.mp4  1\n\n\r\n",
        "a.mp4\t0\nb.mp4\t1",
        "a.mp4,0\nb.mp4, 1\n",
        '"a.mp4" 0\n"b.mp4" 1\n',
        "./a.mp4 0\n./b.mp4 1\n",
        "path,label\na.mp4,0\nb.mp4,1\n",
        "\ufeffLabel,File_Name,extra\r\n0,a.mp4,x\r\n1,b.mp4,y \r\n\r\n",
        "video_id\tclass\na.mp4\t0\nb.mp4\t1\n",
        "path label\na.mp4 0\nb.mp4 1\n",
        '{"video": "a.mp4", "target": 0}\r\n{"video": "b.mp4", "target": "1"}\r\n',
    ],
)
@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.list", "list"])
def test_spellings_of_two_rows_are_the_same_manifest(tmp_path: Path, text: str, name: str) -> None:
    manifest = read(written(tmp_path, text, name))
    assert list(manifest.ids) == ["a.mp4", "b.mp4"]
    assert manifest.labels.tolist() == [0, 1]
    assert list(manifest.media) == [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert manifest.digest == read(written(tmp_path, "a.mp4 0\nb.mp4 1", "plain")).digest


def test_names_with_blanks_and_commas_follow_the_media_name(tmp_path: Path) -> None:
    text = "my clip, 2.mp4 so it slides down, slowly\nb.mp4 (in game)\n"
    manifest = read(written(tmp_path, text))
    assert list(manifest.ids) == ["my clip, 2.mp4", "b.mp4"]
    assert list(manifest.classes) == ["(in game)", "so it slides down, slowly"]
    assert manifest.labels.tolist() == [1, 0]


def test_names_that_end_in_a_number_are_names(tmp_path: Path) -> None:
    manifest = read(written(tmp_path, "a.mp4,class 10\nb.mp4,class 9\n"))
    assert list(manifest.classes) == ["class 10", "class 9"]


def test_names_are_sorted_as_ascii(tmp_path: Path) -> None:
    manifest = read(written(tmp_path, "a.jpg b\nb.jpg B\nc.jpg _\nd.jpg a\n"))
    assert list(manifest.classes) == ["B", "_", "a", "b"]


def test_shuffled_integers_with_known_names_agree_on_names(tmp_path: Path) -> None:
    by_name = read(written(tmp_path, "a.mp4 run\nb.mp4 walk\n", "names"), classes=["walk", "run"])
    by_index = read(written(tmp_path, "a.mp4 1\nb.mp4 0\n", "numbers"), classes=["walk", "run"])
    assert by_name.digest == by_index.digest


NAME = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=["Cs", "Cc", "Zl", "Zp"],
        exclude_characters="\\\ufeff",
    )
    | st.sampled_from(" ,;'\"[](){}&#!-_.0"),
    min_size=1,
    max_size=12,
).filter(lambda text: text != "." and not text.startswith(("/", "./")))
ROWS = st.lists(
    st.tuples(NAME.map(lambda stem: f"{stem}/{stem}.mp4"), st.integers(0, 4)),
    min_size=1,
    max_size=6,
    unique_by=lambda row: unicodedata.normalize("NFC", row[0]),
)


def write_list(path: Path, rows: list[tuple[str, int]], separator: str) -> None:
    path.write_text("".join(f"{f}{separator}{n}\n" for f, n in rows), "utf-8", newline="")


def write_table(path: Path, rows: list[tuple[str, int]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("path", "label"), *rows])


def write_objects(path: Path, rows: list[tuple[str, int]]) -> None:
    lines = [json.dumps({"path": f, "label": n}) for f, n in rows]
    path.write_text("\n".join(lines), "utf-8")


def write_parquet(path: Path, rows: list[tuple[str, int]]) -> None:
    files, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"label": labels, "path": files}), path)


WRITERS = {
    "blank": lambda path, rows: write_list(path, rows, " "),
    "comma": lambda path, rows: write_list(path, rows, ","),
    "tab": lambda path, rows: write_list(path, rows, "\t"),
    "csv": lambda path, rows: write_table(path, rows, ","),
    "tsv": lambda path, rows: write_table(path, rows, "\t"),
    "jsonl": write_objects,
    "parquet": write_parquet,
}


@pytest.mark.parametrize("writer", WRITERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS)
def test_rows_with_nasty_names_come_back_as_written(
    tmp_path: Path, writer: str, rows: list[tuple[str, int]]
) -> None:
    path = tmp_path / "rows"
    WRITERS[writer](path, rows)
    manifest = read(path)
    labels = [int(manifest.classes[label]) for label in manifest.labels]
    assert isinstance(manifest.media, MediaColumn)
    assert list(zip(manifest.media.names, labels, strict=True)) == rows
    assert list(manifest.ids) == [unicodedata.normalize("NFC", name) for name, _ in rows]


# ------------------------------------------------------------------------------------------ paths
def test_absolute_names_below_the_root_become_relative(tmp_path: Path) -> None:
    path = written(tmp_path, f"{tmp_path}/media/a.mp4 0\nsub/b.mp4 1\n/elsewhere/c.mp4 1\n")
    manifest = read(path, root=tmp_path / "media")
    assert list(manifest.ids) == ["a.mp4", "sub/b.mp4", "/elsewhere/c.mp4"]
    assert [str(p) for p in manifest.media] == [
        f"{tmp_path}/media/a.mp4",
        f"{tmp_path}/media/sub/b.mp4",
        "/elsewhere/c.mp4",
    ]


def test_relative_name_that_begins_like_the_root_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = read(written(tmp_path, "media/a.mp4 0\n"), root=Path("media"))
    assert manifest.ids[0] == "media/a.mp4"
    assert manifest.media[0] == Path("media/media/a.mp4")


def test_moved_media_keep_their_ids(tmp_path: Path) -> None:
    here = read(written(tmp_path, "/disk/k400/a/x.mp4 0\n/disk/k400/ab/y.mp4 1\n", "here"))
    there = read(written(tmp_path, "/other/a/x.mp4 0\n/other/ab/y.mp4 1\n", "there"))
    assert list(here.ids) == ["a/x.mp4", "ab/y.mp4"]
    assert here.media[1] == Path("/disk/k400/ab/y.mp4")
    assert here.digest == there.digest


def test_backslashes_become_slashes(tmp_path: Path) -> None:
    manifest = read(written(tmp_path, "train\\run\\a.mp4 0\n"))
    assert manifest.ids[0] == "train/run/a.mp4"


def test_subset_shares_its_parent(tmp_path: Path) -> None:
    manifest = read(written(tmp_path, "a.mp4 0\nb.mp4 1\nc.mp4 0\n"))
    part = manifest.subset(np.array([2, 0]))
    assert list(part.ids) == ["c.mp4", "a.mp4"]
    assert part.media[0] == tmp_path / "c.mp4"
    assert part.root is manifest


def test_media_column_makes_paths_on_access() -> None:
    column = MediaColumn.of_files(Path("/m"), ["a", "b", "c"])
    assert (len(column), column[-1], list(column[1:])) == (
        3,
        Path("/m/c"),
        [Path("/m/b"), Path("/m/c")],
    )


# ------------------------------------------------------------------------------------ table options
def test_where_keeps_the_rows_of_a_split(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,split\na.mp4,x,train\nb.mp4,y,val\nc.mp4,y,train\n")
    manifest = read(path, where={"split": "train"})
    assert list(manifest.ids) == ["a.mp4", "c.mp4"]
    assert "found train, val" in refusal(path, where={"split": "test"})
    assert "no column 'part'" in refusal(path, where={"part": "train"})


def test_error_after_where_names_the_line_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,split\na.mp4,0,train\nb.mp4,0,val\nc.mp4,9,val\n")
    assert "line 4: label 9" in refusal(path, where={"split": "val"}, classes=["x", "y"])


def test_parquet_takes_names_as_labels(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "label": ["y", "x"]}), tmp_path / "p")
    manifest = read(tmp_path / "p")
    assert (manifest.kind, manifest.labels.tolist()) == ("image", [1, 0])


def test_parquet_without_a_label_names_the_row(tmp_path: Path) -> None:
    table = pa.table({"path": ["a.png", "b.png"], "label": pa.array([0, None], pa.int64())})
    pq.write_table(table, tmp_path / "p")
    assert "line 2: None is not a usable label" in refusal(tmp_path / "p")


# ----------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("\n\r\n", ["is empty"]),
        ("path,label\n", ["no row under its header"]),
        ("a.mp4 0\nb.mp4\nc.mp4 1\n", ["line 2", "no label", "b.mp4"]),
        ("my a.mp4 0\nmy b.mp4\n", ["line 2", "no label"]),
        ("a.mp4 0\n\nc.mp4 1\n", ["line 2", "no label"]),
        ("a.mp4,0\nb.mp4,1\nc.mp4 1\n", ["line 3"]),
        ("a.mp4 0\nb.mp4 -1\n", ["line 2", "label -1", "never negative"]),
        ("a.mp4 0\nb.mp4 run\n", ["line 2", "'run'", "line 1"]),
        ("a.mp4 0\nb.mp4 1\na.mp4 1\n", ["'a.mp4'", "lines 1 and 3"]),
        ("a.mp4 0\n./a.mp4 1\n", ["lines 1 and 2"]),
        ("a.mp4 0\nb.jpg 1\n", ["video 'a.mp4'", "image 'b.jpg'"]),
        ("a.mp4 0\nb.pdf 1\n", ["line 2", "'b.pdf'", "extension"]),
        ("a.mp4 300 0\nb.mp4 299 1\n", ["line 1", "extension"]),
        ("path,label\na.mp4,0\nb,c.mp4,1\n", ["line 3", "3 fields", "quotes"]),
        ('path,label\n"a.mp4,0\nb.mp4,1\n', ["quotes"]),
        ("path,label\na.mp4,0\nb.mp4,\n", ["line 3", "is not a usable label"]),
        ("path,size of\na.mp4,0\n", ["no label column", "path, size of"]),
        ("clip,label\na.mp4,0\n", ["no media file column", "clip, label"]),
        ('{"path": "a.mp4", "label": 0}\n{"path": "b.mp4"}\n', ["line 2", "is not a usable label"]),
        ('{"path": "a.mp4", "label": 0}\n{"path": "b.m\n', ["line 2", "JSON"]),
        ('{"path": "a.mp4", "label": 0.5}\n', ["line 1", "0.5"]),
    ],
)
def test_unusable_list_is_refused_by_line(tmp_path: Path, text: str, words: list[str]) -> None:
    message = refusal(written(tmp_path, text))
    assert all(word in message for word in words), message


def test_undecodable_text_names_the_line(tmp_path: Path) -> None:
    assert "line 2: not UTF-8" in refusal(written(tmp_path, b"a.mp4 0\nb\xe9.mp4 1\n"))


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nothing.csv") in refusal(tmp_path / "nothing.csv")


def test_label_outside_of_the_label_map_names_line_and_range(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "a.mp4 0\nb.mp4 2\n"), classes=["x", "y"])
    assert "line 2: label 2" in message
    assert "0 to 1" in message


def test_unknown_name_gets_the_closest_match(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "a.mp4 runing\n"), classes=["running", "walking"])
    assert "line 1: label 'runing'" in message
    assert "Did you mean 'running'?" in message


def test_unknown_name_does_not_print_a_thousand_classes(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(1000)]
    assert len(refusal(written(tmp_path, "a.mp4 zzz\n"), classes=names)) < 300


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(["0", "1", "2"], [1, 2]), (["5", "1", "2"], [1, 2]), (["x", "y", "z"], [1, 2])],
)
def test_integers_are_indices_or_names_where_both_agree(
    tmp_path: Path, classes: list[str], expected: list[int]
) -> None:
    assert (
        read(written(tmp_path, "a.mp4 1\nb.mp4 2\n"), classes=classes).labels.tolist() == expected
    )


def test_integers_that_can_only_be_names_are_names(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.mp4 7\nb.mp4 3\n"), classes=["3", "7"]).labels.tolist() == [
        1,
        0,
    ]


def test_integers_that_are_names_and_indices_are_refused(tmp_path: Path) -> None:
    assert "could be the name" in refusal(written(tmp_path, "a.mp4 1\n"), classes=["1", "0"])


def test_labels_of_any_size_are_the_classes_that_occur(tmp_path: Path) -> None:
    train = read(written(tmp_path, "a.mp4 2084071\nb.mp4 99999999999999999999\nc.mp4 07\n"))
    assert train.classes == ["7", "2084071", "99999999999999999999"]
    assert train.labels.tolist() == [1, 2, 0]
    val = read(written(tmp_path, "d.mp4 7\ne.mp4 2084071\n"), classes=train.classes)
    assert val.labels.tolist() == [0, 1]
    fifth = read(written(tmp_path, "a.mp4 5\nb.mp4 1\n"), classes=["1", "2", "3", "4", "5"])
    assert fifth.labels.tolist() == [4, 0]
    assert "not in the list of 3 classes" in refusal(
        written(tmp_path, "f.mp4 8\n"), classes=train.classes
    )


def test_given_kind_must_fit(tmp_path: Path) -> None:
    assert "one kind (image)" in refusal(written(tmp_path, "a.mp4 0\n"), kind="image")
    assert read(written(tmp_path, "frames/one 0\n"), kind="video").kind == "video"


def test_class_file_with_a_repeated_name_is_refused(tmp_path: Path) -> None:
    assert read_classes(written(tmp_path, '\ufeffrun\r\n"two words" \r\n')) == ["run", "two words"]
    with pytest.raises(DataError, match="lines 1 and 3"):
        read_classes(written(tmp_path, "run\nwalk\nrun\n"))


# ---------------------------------------------------------------------------------- class folders
def folder_of(tmp_path: Path, *files: str) -> Path:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_class_folders_are_read_in_name_order(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "b b/2.JPEG", "b b/10.jpg", "a/x y.png", "a/.hidden.png", "a/n.txt")
    manifest = read_folder(root, name="own", split="train")
    assert list(manifest.ids) == ["a/x y.png", "b b/10.jpg", "b b/2.JPEG"]
    assert manifest.labels.tolist() == [0, 1, 1]
    assert list(manifest.classes) == ["a", "b b"]
    assert manifest.kind == "image"
    assert manifest.media[0] == root / "a" / "x y.png"


def test_nested_folders_are_classes_unless_the_upper_one_holds_files(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "a/abbey/1.jpg", "a/flat/out/1.jpg", "run/1.jpg", "run/more/2.jpg")
    manifest = read_folder(root, name="own", split="train")
    assert list(manifest.classes) == ["a/abbey", "a/flat/out", "run"]
    assert manifest.labels.tolist() == [0, 1, 2, 2]


def test_folder_of_other_files_says_what_it_holds(tmp_path: Path) -> None:
    folder_of(tmp_path, "a/1.txt", "a/2.txt", "b/3.pdf", ".git/x.png")
    with pytest.raises(DataError, match=r"only other files \(2 .txt, 1 .pdf\)"):
        read_folder(tmp_path, name="own", split="train")


def test_files_outside_of_class_folders_are_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, "a/1.png", "2.png")
    with pytest.raises(DataError, match=r"1 media files \(such as '2.png'\) outside"):
        read_folder(tmp_path, name="own", split="train")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_folder(tmp_path / "nowhere", name="own", split="train")


def test_unknown_class_folder_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, "runing/1.png")
    with pytest.raises(DataError, match=r"'runing'.*Did you mean 'running'"):
        read_folder(tmp_path, name="own", split="val", classes=["running", "walking"])


def test_linked_class_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    folder_of(tmp_path, "store/run/1.png", "train/walk/2.png")
    (tmp_path / "train" / "run").symlink_to(tmp_path / "store" / "run")
    manifest = read_folder(tmp_path / "train", name="own", split="train")
    assert list(manifest.ids) == ["run/1.png", "walk/2.png"]
    (tmp_path / "train" / "walk" / "again").symlink_to(tmp_path / "train")
    manifest = read_folder(tmp_path / "train", name="own", split="train")
    assert list(manifest.ids) == ["run/1.png", "walk/2.png"]
    assert manifest.notes == ("1 not read (link to a folder that contains it): walk/again",)
