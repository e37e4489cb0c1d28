"""Texts of others: damaged or hostile files are one sentence, and no text commands a terminal."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from bench.cli.console import open_console
from bench.config import expand, read_config
from bench.errors import BenchError, visible
from bench.files import csv_cell, parse_json
from bench.publish.bundles import check_bundle, read_manifest
from bench.publish.hub_card import parse_yaml
from bench.records.record_files import parse_record, read_record
from bench.verify.own_words import open_record
from tests.commands import Bench
from tests.sound_record import sound_fields

DEEP = 100_000
TOML = """encoder = ["vjepa:vitl16.pth.tar", "random:vit_digits"]
task = "folder"
probe = "attentive,linear"
plan = "16x8x3@4"
layers = [17, 19]
seed = 3
[probe_options]
epochs = 10
lr = [1e-3, 0.01]
[probe_options.linear]
batch_norm = true
[task_options]
data = "videos"
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * DEEP, "nested too deeply"),
        ('{"a":' * DEEP, "nested too deeply"),
        (f"[{'9' * 5000}]", "beyond 64 bits"),
        (f"[-{'9' * 19}]", "beyond 64 bits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' twice"),
        (b'{"a": "\xff"}', "0xff"),
        (b"\xff\xfe", "Expecting value"),
        ("", "Expecting value"),
        ("nul", "Expecting value"),
    ],
)
def test_json_that_cannot_be_read_has_one_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        parse_json(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


@pytest.mark.parametrize("text", [b'\xef\xbb\xbf{"a": [1, -2.5e3]}', '\ufeff{"a": [1, -2.5e3]}'])
def test_byte_order_mark_is_left_out(text: str | bytes) -> None:
    assert parse_json(text) == {"a": [1, -2500.0]}
    assert parse_json('{"a": [1, -2.5e3]}'.encode("utf-16")) == {"a": [1, -2500.0]}
    assert parse_json(f"[{(1 << 63) - 1}, {-(1 << 63)}]") == [(1 << 63) - 1, -(1 << 63)]


BAD_FILES = (
    b"[" * DEEP, b'{"config":' * DEEP, b'{"config": {"seed": ' + b"9" * 5000 + b"}}",
    b"\xff\xfe\x00", b'{"config": 3}', b"", b"\xef\xbb\xbf{}", b"[]", b"null",
)  # fmt: skip


@pytest.mark.parametrize("content", BAD_FILES, ids=range(len(BAD_FILES)))
@pytest.mark.parametrize("command", ["run", "replay", "explain", "compare", "submit", "card"])
def test_damaged_record_is_one_sentence_of_every_command(
    command: str, content: bytes, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "0123456789abcdef.json"
    path.write_bytes(content)
    words = {"explain": [path, path], "compare": [path, path], "submit": [path, "--out", tmp_path]}
    code, out, err = bench(command, *words.get(command, [path]), home=False)
    lines = err.strip().splitlines()
    assert code != 0 and not out.strip()
    assert [line for line in lines if path.name in line or path.stem in line], err
    assert "Traceback" not in err and max(map(len, lines)) < 2000


@pytest.mark.parametrize("content", ["a = " + "[" * DEEP, "seed = " + "9" * 5000, "seed = -1"])
def test_damaged_toml_is_one_sentence(content: str, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(content)
    code, _, err = bench("run", tmp_path / "x.toml", "-m", "random:vit_digits", "-t", "folder",
                         "-p", "knn")  # fmt: skip
    assert code == 2 and len(err.splitlines()) == 1 and err.startswith("bench: ")


def mutated(text: bytes, dice: random.Random) -> bytes:
    """Return a text with a few random changes: bytes, cuts, repetitions and values of JSON."""
    odd = (
        b'"', b"{", b"[", b"null", b"-1", b"1e999", b"NaN", b"9" * 40, b"\xff", b"\0", b"\\",
        b"true", b"{}", b"[]", b'""', b"2000-01-01", b"'", b"\n", b"=", b"\xed\xa0\x80",
    )  # fmt: skip
    for _ in range(dice.randint(1, 4)):
        at, size = dice.randrange(len(text) + 1), dice.choice((0, 1, 1, 4, 30))
        put = dice.choice(
            (dice.choice(odd), dice.choice(odd), b"", dice.randbytes(2), text[at - 9 : at])
        )
        text = text[:at] + put + text[at + size :]
    return text


def with_odd_values(fields: dict[str, Any], dice: random.Random) -> bytes:
    """Return the JSON of a record with a few values replaced or removed, at any depth."""
    fields = json.loads(json.dumps(fields))
    odd = (None, -1, 0, 1e999, 2**62, "", "x", "\ud800", "../x", True, [], {}, [None], {"a": 1})
    for _ in range(dice.randint(1, 3)):
        place: dict[str, Any] = fields
        key = dice.choice(list(place))
        while isinstance(place[key], dict) and place[key] and dice.random() < 0.8:
            place = place[key]
            key = dice.choice(list(place))
        if dice.random() < 0.2:
            place.pop(key)
        else:
            place[key] = dice.choice(odd)
    return json.dumps(fields).encode()


def config_of(path: Path) -> object:
    return expand(read_config(path), [])


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "toml": ("x.toml", config_of),
    "config": ("x.json", config_of),
    "record": ("{id}.json", read_record),
    "text": ("x.json", lambda path: parse_record(path.read_bytes(), "x")),
    "manifest": ("manifest.csv", read_manifest),
    "verify": ("{id}.json", open_record),
    "bundle": ("{id}/{id}.json", lambda path: check_bundle(path.parent)),
    "card": ("README.md", lambda path: parse_yaml(path.read_bytes().decode("latin-1"), "x")),
}


@pytest.mark.parametrize("kind", READERS)
def test_mutated_texts_are_read_or_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    name, read = READERS[kind]
    fields = sound_fields()
    manifest = 'row,id,label\n0,a,1\n1,"b,c",2\n'
    texts = {"toml": TOML, "manifest": manifest, "card": "a: [1, {b: c}]\nd: 1e5\n"}
    text = texts.get(kind, json.dumps(fields, indent=1)).encode()
    path, dice = tmp_path / name.format(id=fields["id"]), random.Random(kind)
    path.parent.mkdir(exist_ok=True)
    for number in range(400):
        is_odd = kind not in texts and number % 2
        content = with_odd_values(fields, dice) if is_odd else mutated(text, dice)
        path.write_bytes(content)
        try:
            read(path)
        except BenchError as error:
            assert len(str(error)) < 3000, (number, content)
        except Exception as error:
            raise AssertionError((number, content)) from error


# --------------------------------------------------------------------------------------- terminal
HOSTILE = "a\x1b[2J\x1b]0;t\x07b\r\x9bc\u202edc\u2028\udcff\x7f[red]e[/]:smile:"
SHOWN = r"a\x1b[2J\x1b]0;t\x07b\r\x9bc\u202edc\u2028\udcff\x7f[red]e[/]:smile:"


def test_control_characters_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("Zürich 東京 🎬 ±3\tx\n") == "Zürich 東京 🎬 ±3\tx\n"
    table = Table(box=None)
    table.add_column(HOSTILE, no_wrap=True)
    table.add_row(HOSTILE)
    open_console().print(table)
    open_console().print(HOSTILE, highlight=False)
    said = capsys.readouterr().out
    assert said.count(SHOWN) == 3 and not set("\x1b\r\x9b\u202e\u2028\x7f") & {*said}


def test_names_in_messages_are_shown_and_not_obeyed(bench: Bench, tmp_path: Path) -> None:
    name = "x\x1b[31m\u202e\nbench: all is well.json"
    (tmp_path / name).write_text("[")
    for words in (("run", tmp_path / name), ("verify", tmp_path / name), ("show", name)):
        code, out, err = bench(*words, home=False)
        assert code != 0 and not set("\x1b\u202e") & {*out, *err}
        assert not [line for line in err.splitlines() if line.startswith("bench: all")]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"), ("\tx", "'\tx"), ("\rx", "'\\rx"), (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"), ("\ufeff=1", "'\ufeff=1"), ("=\u202e1", "'=\\u202e1"),
        ("a\x1b[31m", "a\\x1b[31m"), ("-1e-7", "-1e-7"), ("+0.4", "+0.4"),
        ("-", "-"), ("vit-b=16", "vit-b=16"), ("", ""), (-1e-7, -1e-7), (None, None),
    ],
)  # fmt: skip
def test_formulas_are_quoted_in_csv_and_numbers_are_not(value: object, cell: object) -> None:
    assert csv_cell(value) == cell


def test_there_is_one_reader_of_json_and_one_writer_to_the_terminal() -> None:
    root = Path(__file__).parents[2]
    ways = {"json.loads(": {"bench/files.py", "bench/verify/own_words.py"},
            "json.load(": set(), "typer.echo(": {"bench/cli/console.py"},
            "Console(": {"bench/cli/console.py", "bench/pretrain/display.py"}}  # fmt: skip
    for way, allowed in ways.items():
        found = set()
        for package in ("bench", "tasks", "probes", "leaderboards"):
            for path in (root / package).rglob("*.py"):
                text = path.read_text().replace("json.loads(json.dumps", "")
                text = text.replace(
                    "json.loads(\n        json.dumps", ""
                )  # of values, not of files
                found |= {str(path.relative_to(root))} if way in text else set()
        assert found <= allowed, (way, found - allowed)
