"""Annotation files -> rows of (media file, label text): lists, CSV, TSV, JSON lines, parquet.

Layouts seen in practice: `path label` lists without a header (blank, comma or tab, often called
`.csv`), tables with a header, one JSON object per line, and parquet with the same columns.
Text is UTF-8 with or without BOM; CRLF, trailing blanks, empty lines at the end and a missing last
newline are accepted.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from bench.data.discover.unicode_names import composed
from bench.errors import DataError
from bench.files import parse_json
from bench.types import Kind

FILE_COLUMNS = ("path", "file", "file_name", "filename", "video", "video_id", "id", "image")
LABEL_COLUMNS = ("label", "class", "target", "category", "label_name")
VIDEO_EXTENSIONS = (
    *("mp4", "webm", "mkv", "avi", "mov", "m4v", "mpg", "mpeg", "ts"),
    *("3g2", "3gp", "asf", "divx", "dv", "f4v", "flv", "h264", "hevc", "ivf", "m1v", "m2t", "m2ts"),
    *("m2v", "mjpeg", "mjpg", "mpe", "mts", "mxf", "ogv", "qt", "rm", "rmvb", "vob", "wmv", "y4m"),
)
IMAGE_EXTENSIONS = (
    *("jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "tiff"),
    *("apng", "avif", "j2k", "jfif", "jp2", "jpe", "pbm", "pgm", "pnm", "ppm"),
)
EXTENSIONS: Mapping[str, Kind] = {
    **dict.fromkeys(VIDEO_EXTENSIONS, "video"),
    **dict.fromkeys(IMAGE_EXTENSIONS, "image"),
}

_INTEGER = re.compile(r"-?[0-9]+")
_MEDIA_NAME = rf"(.*\.(?:{'|'.join(EXTENSIONS)})\"?)"
_MEDIA_AND_NAME = {
    sign: re.compile(_MEDIA_NAME + rf" *{sign} *(\S.*)", re.IGNORECASE) for sign in "\t, "
}
_NUMBERS = re.compile(r"-?[0-9]+(?:[\s,]+-?[0-9]+)+")

FileLabel = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Rows as written: file names, label texts and the line (parquet: row) each came from.

    Label texts are in Unicode's composed form, file names as written.
    """

    path: Path
    files: Sequence[str]
    labels: Sequence[str]
    lines: Sequence[int]

    @cached_property
    def numbered(self) -> bool:
        """Whether every label is an integer."""
        return all(map(is_integer, self.labels))


def read_annotations(path: Path, *, where: Mapping[str, str] | None = None) -> Annotations:
    """Read the rows of an annotation file; its layout is detected from its content.

    `where` keeps the rows of a table whose columns have these values, such as `{"split": "val"}`.

    Raises:
        DataError: missing, empty or undecodable file, missing column, a line without a label.
    """
    raw = _read_bytes(path)
    if raw[:4] == b"PAR1" or path.suffix == ".parquet":
        return _from_parquet(path, where or {})
    lines = _lines(path, raw)
    if not lines:
        raise DataError(f"{path} is empty: there is no row to evaluate; check the file.")
    if path.suffix in (".jsonl", ".ndjson") or _is_object(lines[0]):
        return _from_objects(path, lines, where or {})
    dialect = _header(lines[0])
    if dialect is not None:
        return _from_table(path, _decode(path, raw), *dialect, where or {})
    if where:
        raise DataError(f"{path} has no header, so rows cannot be filtered by {_spell(where)}.")
    return _from_list(path, lines)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without BOM, trailing blanks and empty lines at the end."""
    return _lines(path, _read_bytes(path))


def is_integer(text: str) -> bool:
    """Whether a label text is a (possibly negative) decimal integer."""
    return _INTEGER.fullmatch(text) is not None


def extension(name: str) -> str:
    """Return what follows the last dot of the file name, in lower case, or an empty string."""
    tail = name[name.rfind("/") + 1 :]
    return tail[tail.rfind(".") + 1 :].lower() if "." in tail else ""


def unquote(text: str) -> str:
    """Remove the double quotes around a text and undouble those inside."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


# ------------------------------------------------------------------------------ path label lists
def _from_list(path: Path, lines: list[str]) -> Annotations:
    rows = _split_all(lines)
    if None in rows:
        number = rows.index(None)
        raise DataError(
            f"{path}, line {number + 1}: no label found in {lines[number]!r}; every line should be"
            " a media file and its label, with the same separator (blank, comma or tab) throughout."
        )
    found = [row for row in rows if row is not None]
    files, labels = [file for file, _ in found], [composed(label) for _, label in found]
    return Annotations(path=path, files=files, labels=labels, lines=range(1, len(lines) + 1))


def _split_all(lines: list[str]) -> Sequence[FileLabel | None]:
    """Split every line by the pattern that fits all lines, or else most; None where it fails.

    Tab is tried before comma before blank, so that names may contain the other separators. The last
    resort, any last field as the label, is used only if no line has a media name or an integer.
    """
    kinds = (_media_and_integer, _media_and_name, _name_and_integer)
    ways = [partial(kind, separator) for kind in kinds for separator in "\t, "]
    for split in ways:
        rows = list(takewhile(bool, map(split, lines)))
        if len(rows) == len(lines):
            return rows
    fits = [sum(split(line) is not None for line in lines) for split in ways]
    if max(fits) == 0:
        ways = [partial(_any_two_fields, separator) for separator in "\t, "]
        fits = [sum(split(line) is not None for line in lines) for split in ways]
    return [ways[fits.index(max(fits))](line) for line in lines]


def _media_and_integer(separator: str, line: str) -> FileLabel | None:
    row = _name_and_integer(separator, line)
    return row if row and extension(row[0]) in EXTENSIONS else None


def _media_and_name(separator: str, line: str) -> FileLabel | None:
    """Cut after the last media name, because class names may contain blanks and commas too."""
    match = _MEDIA_AND_NAME[separator].fullmatch(line)
    if not match or _NUMBERS.fullmatch(match[2]):
        return None  # several numbers are frame counts or times, not a class name
    return unquote(match[1]), unquote(match[2])


def _name_and_integer(separator: str, line: str) -> FileLabel | None:
    row = _any_two_fields(separator, line)
    return row if row and is_integer(row[1]) else None


def _any_two_fields(separator: str, line: str) -> FileLabel | None:
    name, _, label = line.rpartition(separator)
    name, label = name.rstrip(), unquote(label.strip())
    return (unquote(name), label) if name and label else None


# ----------------------------------------------------------------------------------------- tables
def _header(line: str) -> tuple[str, list[str]] | None:
    """Return (delimiter, column names) if the first line names columns instead of a file."""
    for delimiter in "\t,; ":
        names = [unquote(name.strip()).lower() for name in line.split(delimiter)]
        if len(names) < 2 or any(is_integer(n) or extension(n) in EXTENSIONS for n in names):
            continue
        if not {*FILE_COLUMNS, *LABEL_COLUMNS}.isdisjoint(names):
            return delimiter, names
    return None


def _from_table(
    path: Path, text: str, delimiter: str, names: list[str], where: Mapping[str, str]
) -> Annotations:
    # A quote that is never closed would swallow the rest of the file unless the reader is strict.
    stripped = (line.rstrip(" \r") + "\n" for line in text.split("\n"))
    reader = csv.reader(stripped, delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        next(reader)
        for row in reader:
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}; check the double quotes."
        ) from error
    while rows and not "".join(rows[-1]).strip():
        rows.pop()
        lines.pop()
    for row, number in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, line {number}: {len(row)} fields where the header has {len(names)};"
                f" put names that contain {delimiter!r} in double quotes."
            )
    places = {name: names.index(name) for name in names}
    columns = {name: [row[place] for row in rows] for name, place in places.items()}
    return _from_columns(path, columns, lines, where)


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False


def _from_objects(path: Path, lines: list[str], where: Mapping[str, str]) -> Annotations:
    objects = []
    for number, line in enumerate(lines, start=1):
        try:
            item = parse_json(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not a JSON object ({error}).") from error
        if not isinstance(item, dict):
            raise DataError(f"{path}, line {number}: not a JSON object but {line[:40]!r}.")
        objects.append({str(key).lower(): value for key, value in item.items()})
    columns = {key: [item.get(key) for item in objects] for key in objects[0]}
    return _from_columns(path, columns, range(1, len(lines) + 1), where)


def _from_parquet(path: Path, where: Mapping[str, str]) -> Annotations:
    import pyarrow as pa  # heavy, and only parquet needs it
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file: {error}") from error
    wanted = {*FILE_COLUMNS, *LABEL_COLUMNS, *where}
    names = [name for name in file.schema_arrow.names if name.lower() in wanted]
    for name in names:
        kind = file.schema_arrow.field(name).type
        if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise DataError(
                f"{path}: column {name!r} holds the images themselves (bytes), but file paths are"
                " needed; unpack the images into class folders (task `folder`) or write a list of"
                " paths (task `listing`)."
            )
    table = file.read(columns=names)
    columns = {name.lower(): table.column(name).to_pylist() for name in names}
    return _from_columns(path, columns, range(1, table.num_rows + 1), where)


def _from_columns(
    path: Path, columns: Mapping[str, list[Any]], lines: Sequence[int], where: Mapping[str, str]
) -> Annotations:
    files = columns[_find(path, columns, FILE_COLUMNS, "media file")]
    labels = columns[_find(path, columns, LABEL_COLUMNS, "label")]
    for name, value in where.items():
        if name.lower() not in columns:
            raise DataError(f"{path} has no column {name!r}; it has {', '.join(columns)}.")
        found = [str(cell).strip() for cell in columns[name.lower()]]
        if value not in found:
            values = sorted(set(found))[:10]
            raise DataError(f"{path}: no row has {name} {value!r}; found {', '.join(values)}.")
    keep: Iterable[int] = range(len(files))
    for name, value in where.items():
        keep = [i for i in keep if str(columns[name.lower()][i]).strip() == value]
    rows = [
        (_cell(path, lines[i], files[i], "media file"), _cell(path, lines[i], labels[i], "label"))
        for i in keep
    ]
    if not rows:
        raise DataError(f"{path} has no row under its header{_spell(where)}; check the file.")
    return Annotations(
        path=path,
        files=[file.rstrip() for file, _ in rows],
        labels=[composed(label.strip()) for _, label in rows],
        lines=[lines[i] for i in keep],
    )


def _find(path: Path, columns: Iterable[str], wanted: Sequence[str], what: str) -> str:
    for name in wanted:
        if name in columns:
            return name
    raise DataError(
        f"{path} has no {what} column; its columns are {', '.join(columns)}. Rename one of them to"
        f" {', '.join(wanted[:-1])} or {wanted[-1]}."
    )


def _cell(path: Path, line: int, value: Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(
            f"{path}, line {line}: {repr(value)[:80]} is not a usable {what}; write text or an int."
        )
    return str(value)


def _spell(where: Mapping[str, str]) -> str:
    return "".join(f" {name}={value!r}" for name, value in where.items())


# ------------------------------------------------------------------------------------------- text
def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no annotation file {path}; check the path.") from None
    except OSError as error:
        raise DataError(f"cannot read the annotation file {path}: {error.strerror}.") from error


def _decode(path: Path, raw: bytes) -> str:
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 text ({error.reason}); save the file as UTF-8."
        ) from error


def _lines(path: Path, raw: bytes) -> list[str]:
    # str.splitlines would also cut at form feeds and U+2028, which file names may contain.
    lines = [line.rstrip(" \t\r") for line in _decode(path, raw).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
