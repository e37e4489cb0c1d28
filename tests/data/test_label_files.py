"""Label maps in the formats that data sets and tools write."""

from pathlib import Path

import pytest

from bench.data.discover.label_files import read_label_map
from bench.errors import DataError


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("a.txt", "air drumming\r\nbee keeping\r\n", ["air drumming", "bee keeping"]),
        ("a.txt", '"air drumming"\nzumba', ["air drumming", "zumba"]),
        ("a.txt", "/b/bar 1\n/a/airfield 0", ["/a/airfield", "/b/bar"]),
        ("a.txt", "1 ApplyEyeMakeup\r\n2 ApplyLipstick\r\n", ["ApplyEyeMakeup", "ApplyLipstick"]),
        ("a.csv", "0,a b\n1,c", ["a b", "c"]),
        ("a.txt", "n02119789 fox, kit fox\nn01751748 snake", ["n02119789", "n01751748"]),
        ("a.json", '{"\\"b c\\"": 1, "a": "0"}', ["a", "b c"]),
        ("a.json", '["b", "a"]', ["b", "a"]),
        ("a.txt", "route 66\nno number", ["route 66", "no number"]),
    ],
)
def test_formats(tmp_path: Path, name: str, content: str, names: list[str]) -> None:
    (tmp_path / name).write_text(content, newline="")
    labels = read_label_map(tmp_path / name)
    assert list(labels.names) == names
    assert labels.source == str(tmp_path / name)


def test_words_beside_wordnet_ids_name_the_class_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("n02119789 fox, kit fox\nn01751748 snake\n")
    assert read_label_map(tmp_path / "a.txt").index("fox, kit fox") == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "a 0\nb 2\n", "run from 0 .* but 2 is out of sequence"),
        ("a.txt", "a 2\nb 3\n", "but 2 is out of sequence"),
        ("a.txt", "a 0\nb 0\n", "but 0 is out of sequence"),
        ("a.txt", "a\nb\na\n", "class 'a' is listed twice .lines 1 and 3"),
        ("a.txt", "a 0\na 1\n", "class 'a' is listed twice"),
        ("a.txt", "", "is empty"),
        ("a.json", "{", "is not a label map"),
        ("a.json", '{"a": "x"}', "is not a label map"),
        ("a.json", "3", "is not a label map"),
        ("a.json", "[]", "is empty"),
    ],
)
def test_what_is_no_label_map_is_refused(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_label_map(tmp_path / name)
