"""The index of an archive that is read in place: uncompressed tar (WebDataset) and parquet.

A WebDataset sample is `key.mp4` (or another medium) next to `key.cls`, `key.json` or `key.txt`.
Hugging Face writes parquet with a column struct{bytes, path} and a column `label`, and the class
names in the schema metadata.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.data.discover.annotations import LABEL_COLUMNS, extension
from bench.data.discover.not_read import OTHER_KIND, PEEK_BYTES, judged
from bench.errors import DataError
from bench.files import parse_json
from bench.types import IntArray, Kind

# Keys of a JSON object next to a medium that may hold its label, the best first.
LABEL_KEYS = (*LABEL_COLUMNS, "class_name", "cls", "class_id", "label_id")
# Extensions of label files in a WebDataset, the best first.
LABEL_FILES = ("cls", "json", "txt")
# A larger file is not a label, and reading a million of them takes time.
LONGEST_LABEL_FILE = 1 << 16
PIECE = 1 << 20
LONGEST_CHAIN = 8  # of links that lead to links


@dataclass(frozen=True, kw_only=True, eq=False)
class ArchivePart:
    """The media of one archive.

    `names` are those of a `MediaColumn`, `paths` what a list may call them: the path inside the
    archive (cells: the path in the struct, else the row). `labels`, `offset` and `size` as in
    `Tree` and `MediaColumn`; `holds_archives` marks an archive of archives. `left_out` are members
    that are neither media nor annotations, and why.
    """

    names: Sequence[str]
    paths: Sequence[str]
    labels: Sequence[str | None]
    offset: IntArray
    size: IntArray
    class_names: Sequence[str] | None = None
    holds_archives: bool = False
    left_out: Sequence[tuple[str, str]] = ()


# ------------------------------------------------------------------------------------------- tar
def read_tar(path: Path, kind: Kind) -> ArchivePart:
    """Index the media of a kind in a tar archive and read the labels next to them.

    Links are resolved.

    Raises:
        DataError: a file that is not a tar archive, or one that is truncated, damaged or
            concatenated; a name that occurs twice; a link to a missing member.
    """
    names: list[str] = []
    places: list[tuple[int, int]] = []
    links: dict[str, str] = {}
    holds_archives = False
    left_out: list[tuple[str, str]] = []
    found: dict[str, dict[str, str]] = {tail: {} for tail in LABEL_FILES}
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as content:
            total = path.stat().st_size
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps a million
                name = entry.name.removeprefix("./")
                tail = extension(name)
                holds_archives |= tail == "tar"
                is_link = entry.islnk() or entry.issym()
                if posixpath.basename(name).startswith(".") or not (is_link or entry.isreg()):
                    continue
                if not is_link and entry.offset_data + entry.size > total:
                    raise tarfile.ReadError(f"{name} extends beyond its end")
                medium, reason = judged(name, partial(_first_bytes, content, entry))
                if medium == kind:
                    name.encode()
                    if is_link:
                        links[name] = _target(entry)
                    else:
                        names.append(name)
                        places.append((entry.offset_data, entry.size))
                elif not is_link and tail in found and entry.size <= LONGEST_LABEL_FILE:
                    content.seek(entry.offset_data)
                    label = _label_in(tail, content.read(entry.size))
                    if label is not None:
                        found[tail][name[: -len(tail) - 1]] = label
                elif reason or medium:
                    left_out.append((name, reason or OTHER_KIND[kind]))
            _refuse_early_end(content, archive.offset)
            _follow(links, names, places)
    except UnicodeError as error:
        raise DataError(
            f"{path}: the name {name!r} is not UTF-8; repack it under another name."
        ) from error
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as an uncompressed tar archive ({error}); fetch or pack it"
            " again, or move it out of the folder."
        ) from error
    rows = np.array(places, dtype=np.int64).reshape(-1, 2)
    return ArchivePart(
        names=names,
        paths=names,
        labels=_labels_of(names, found),
        offset=rows[:, 0],
        size=rows[:, 1],
        holds_archives=holds_archives,
        left_out=left_out,
    )


def _first_bytes(content: BinaryIO, entry: tarfile.TarInfo) -> bytes:
    if not entry.isreg():
        raise OSError  # a link: it is followed by the name of a medium alone
    content.seek(entry.offset_data)
    return content.read(min(entry.size, PEEK_BYTES))


def _target(entry: tarfile.TarInfo) -> str:
    if entry.issym():
        return posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), entry.linkname))
    return entry.linkname.removeprefix("./")


def _refuse_early_end(content: BinaryIO, offset: int) -> None:
    """Refuse a false end of archive: a cut between members, damage, another archive appended."""
    content.seek(offset)
    if not content.read(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it lacks the zero blocks that end an archive")
    content.seek(offset)
    while piece := content.read(PIECE):
        if piece.strip(b"\0"):
            raise tarfile.ReadError(f"after byte {offset:,} it is damaged or has another appended")


def _follow(links: Mapping[str, str], names: list[str], places: list[tuple[int, int]]) -> None:
    """Add the links to media by their own names."""
    if len(set(names).union(links)) < len(names) + len(links):
        twice = next(name for name, times in Counter([*names, *links]).items() if times > 1)
        raise tarfile.ReadError(f"it contains {twice} twice")
    where = dict(zip(names, places, strict=True)) if links else {}
    for name, target in links.items():
        for _ in range(LONGEST_CHAIN):
            target = links.get(target, target)
        if target not in where:
            raise tarfile.ReadError(f"{name} is a link to {target}, which is not in it")
        names.append(name)
        places.append(where[target])


def _labels_of(names: Sequence[str], found: Mapping[str, Mapping[str, str]]) -> list[str | None]:
    """Return the label of every medium: of the same name up to the last dot, or to the first."""
    labels: list[str | None] = [None] * len(names)
    for row, name in enumerate(names if any(found.values()) else ()):
        folder, base = posixpath.split(name)
        keys = (posixpath.splitext(name)[0], posixpath.join(folder, base.split(".")[0]))
        fits = (found[tail][key] for tail in LABEL_FILES for key in keys if key in found[tail])
        labels[row] = next(fits, None)
    return labels


def _label_in(tail: str, content: bytes) -> str | None:
    """Return the label in a file next to a medium, None if it holds something else."""
    try:
        text = content.decode("utf-8-sig").strip()
        facts = parse_json(text) if tail == "json" else None
    except ValueError:  # not UTF-8, or not JSON
        return None
    if tail != "json":
        return text if text and "\n" not in text else None
    if isinstance(facts, dict):
        lower = {str(key).lower(): value for key, value in facts.items()}
        facts = next((lower[key] for key in LABEL_KEYS if key in lower), None)
    return _spelled(facts)


def _spelled(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


# --------------------------------------------------------------------------------------- parquet
def read_parquet(path: Path, kind: Kind) -> ArchivePart | None:
    """Index the cells of a parquet file; None if no column holds media of the kind.

    The media themselves are not read.

    Raises:
        DataError: an unreadable file, or two candidate columns.
    """
    import pyarrow as pa  # heavy, and only parquet needs it
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            features = _features(file.schema_arrow.metadata)
            column = _media_column(path, file.schema_arrow, features, kind)
            if column is None:
                return None
            fields = [field.name for field in file.schema_arrow.field(column).type]
            label = _label_column(file.schema_arrow)
            wanted = [f"{column}.path"] * ("path" in fields) + [label] * (label is not None)
            table = file.read(columns=wanted)
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable parquet file ({error}); fetch it again, or move it out of"
            " the folder."
        ) from error
    paths: Sequence[str | None] = [None] * rows
    if "path" in fields:
        paths = pc.struct_field(table.column(column), "path").to_pylist()
    paths = [(path or "").replace("\\", "/").strip("/").removeprefix("./") for path in paths]
    labels: Sequence[str | None] = [None] * rows
    if label is not None:
        labels = [_spelled(value) for value in table.column(label).to_pylist()]
    return ArchivePart(
        names=[column] * rows,
        paths=[path or f"{row:08d}" for row, path in enumerate(paths)],
        labels=labels,
        offset=np.arange(rows, dtype=np.int64),
        size=np.zeros(rows, dtype=np.int64),
        class_names=_class_names(features, label),
    )


def _features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, Any]:
    """Return Hugging Face's description of each column in the schema metadata."""
    try:
        facts = parse_json((metadata or {}).get(b"huggingface", b"{}"))
        features = facts["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _media_column(path: Path, schema: Any, features: Mapping[str, Any], kind: Kind) -> str | None:
    import pyarrow as pa

    other = {"video": "image", "image": "video"}[kind]
    fitting = []
    for column in schema:
        if not pa.types.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
            continue
        feature = features.get(column.name)
        stated = str(feature.get("_type", "")).lower() if isinstance(feature, dict) else ""
        if other not in (stated or column.name.lower()):
            fitting.append(column.name)
    named = [name for name in fitting if kind in name.lower()]
    if len(named or fitting) > 1:
        raise DataError(
            f"{path}: any of the columns {', '.join(named or fitting)} may hold the {kind}s; rename"
            f" one of them to {kind!r} and drop the others."
        )
    return next(iter(named or fitting), None)


def _label_column(schema: Any) -> str | None:
    import pyarrow as pa

    fits = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    usable = {c.name.lower(): c.name for c in schema if any(fit(c.type) for fit in fits)}
    return next((usable[name] for name in LABEL_COLUMNS if name in usable), None)


def _class_names(features: Mapping[str, Any], label: str | None) -> Sequence[str] | None:
    feature = features.get(label or "")
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    return None
