"""Large JSON files are read piece by piece, wherever a piece happens to end."""

import json
import tracemalloc
from pathlib import Path

import pytest

from bench.errors import DataError
from tasks.formats import json_arrays
from tasks.formats.json_arrays import elements

# Numbers that are a prefix of themselves, brackets in texts, escapes, nested and empty values.
FACTS = {
    "info": {"year": 2021, "note": 'brackets ]}{[ "quoted" \\ and, commas'},
    "images": [{"id": 10, "file_name": "ä/😀.jpg", "latitude": None}, {"id": 1, "in": [[], {}]}],
    "skipped": [1, 12.5, -3e10, "a", True, None, [1, [2]], {"images": [0]}],
    "empty": [],
    "version": 12,
    "annotations": [1, 12, 1.25, -10, 2e3, 1.5e-7, "]", [], {}, False],
}
KEYS = ("images", "annotations", "empty", "absent")
EXPECTED = [(key, element) for key in ("images", "annotations") for element in FACTS[key]]


@pytest.mark.parametrize("spacing", [{}, {"indent": 2}, {"separators": (",", ":")}])
def test_every_place_at_which_a_piece_can_end(
    tmp_path: Path, spacing: dict[str, int | tuple[str, str]]
) -> None:
    path = tmp_path / "facts.json"
    text = json.dumps(FACTS, ensure_ascii=False, **spacing)
    path.write_text(text, encoding="utf-8")
    for chunk in range(1, len(text) + 2):
        assert list(elements(path, KEYS, chunk=chunk)) == EXPECTED, chunk


def test_byte_order_mark_and_escapes(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(b"\xef\xbb\xbf \r\n" + json.dumps(FACTS).encode() + b"\n")
    assert list(elements(path, KEYS)) == EXPECTED
    path.write_text("{ }")
    assert list(elements(path, KEYS)) == []


def test_every_cut_off_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    text = json.dumps(FACTS)
    for end in range(len(text)):
        path.write_text(text[:end])
        with pytest.raises(DataError, match="cut off"):
            list(elements(path, KEYS, chunk=7))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "expected {"),
        ('{"images": {"a": 1}}', "'images' is not an array"),
        ('{"images": [1 2]}', "expected , or ]"),
        ('{"images": [1,]}', "Expecting value"),
        ('{"info": 1 "images": []}', "expected , or }"),
        ("{7: 1}", "expected a key"),
        ('{"images" [1]}', "expected :"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"facts.json, near character \d+: .*{reason}"):
        list(elements(path, KEYS, chunk=3))


def test_text_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "LARGEST", 1000)
    path = tmp_path / "facts.json"
    path.write_text('{"images": ["' + "x" * 100_000 + '"]}')
    with pytest.raises(DataError, match="near character 12"):
        list(elements(path, KEYS, chunk=100))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text('{"images": [' + ",".join(['{"a": "%s"}' % ("x" * 90)] * 20_000) + "]}")
    tracemalloc.start()
    try:
        num_read = sum(1 for _ in elements(path, KEYS, chunk=4096))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_read == 20_000
    assert peak < 300_000 < path.stat().st_size
