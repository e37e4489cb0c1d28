"""What `bench data add` stores of a data set, so that its root is searched only once.

    dataset.json     name, root, and per split: layout, counts, classes, digest, excluded samples
    train.parquet    columns id, label, name, form, archive, offset, size
    val.parquet

Archives are read by position, so one that has changed since is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.data.manifest import Manifest
from bench.data.media.media import MediaColumn
from bench.errors import DataError
from bench.files import parse_json, write_whole

DESCRIPTION = "dataset.json"
VERSION = 1
COMPRESSION = "zstd"
_ARRAYS = ("form", "archive", "offset", "size")
_FACTS = ("classes", "expected", "copies", "excluded", "source", "layout")


def add(manifests: Mapping[str, Manifest], folder: Path, *, root: Path | None = None) -> Path:
    """Write the splits of a data set read from `root` (default: the folder of the media).

    Returns the path of its `dataset.json`, which is written last and so marks a complete folder.

    Raises:
        BenchError: the folder cannot be written.
    """
    assert manifests, "a data set has at least one split"
    first = next(iter(manifests.values()))
    facts: dict[str, Any] = {
        "version": VERSION,
        "name": first.name,
        "kind": first.kind,
        "root": str((root or _column(first).root).absolute()),
        "splits": {},
    }
    for split, manifest in manifests.items():
        file = f"{re.sub(r'[^A-Za-z0-9_-]', '_', split)}.parquet"
        column = _column(manifest)
        write_whole(folder / file, partial(_write, manifest, column))
        facts["splits"][split] = {
            "file": file,
            "rows": len(manifest),
            "digest": manifest.digest,
            "expected": manifest.expected,
            "copies": dict(manifest.copies),
            "layout": manifest.layout,
            "source": manifest.source,
            "media_root": str(column.root.absolute()),
            "archives": [_archive_facts(column.root, name) for name in column.archives],
            "classes": list(manifest.classes),
            "excluded": dict(manifest.excluded),
            "notes": list(manifest.notes),
        }
    path = folder / DESCRIPTION
    write_whole(path, json.dumps(facts, indent=1, ensure_ascii=False).encode())
    return path


def read_added(folder: Path) -> dict[str, Manifest]:
    """Read back every split that `add` wrote.

    Raises:
        DataError: files that are missing, of another version or modified; an archive that has
            changed since.
    """
    facts = read_facts(folder)
    try:
        return {split: _read(folder, facts, split) for split in facts["splits"]}
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{folder / DESCRIPTION} is damaged ({error!r}); {_add_again(folder)}"
        ) from error


def added_root(folder: Path) -> Path:
    """Return the root that was searched.

    Raises:
        DataError: see `read_added`.
    """
    return Path(read_facts(folder)["root"])


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the contents of `dataset.json`, without the rows.

    Raises:
        DataError: a file that is missing, damaged or of another version.
    """
    path = folder / DESCRIPTION
    try:
        facts = parse_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; {_add_again(folder)}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); {_add_again(folder)}") from error
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise DataError(
            f"{path} was written by another version of frozenbench; {_add_again(folder)}"
        )
    if not {"name", "kind", "root", "splits"} <= facts.keys():
        raise DataError(f"{path} is incomplete; {_add_again(folder)}")
    return facts


# ---------------------------------------------------------------------------------------- writing
def _column(manifest: Manifest) -> MediaColumn:
    column = manifest.media
    assert isinstance(column, MediaColumn), "read_split gives the media as a column"
    return column


def _write(manifest: Manifest, column: MediaColumn, file: BinaryIO) -> None:
    import pyarrow as pa  # heavy, and only stored data sets need it
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "id": pa.array(manifest.ids, pa.string()),
            "label": pa.array(manifest.labels.astype(np.int32)),
            "name": pa.array(column.names, pa.string()),
            **{name: pa.array(getattr(column, name)) for name in _ARRAYS},
        }
    )
    pq.write_table(table, file, compression=COMPRESSION)


def _archive_facts(root: Path, name: str) -> dict[str, Any]:
    found = (root / name).stat()
    return {"name": name, "size": found.st_size, "modified": found.st_mtime_ns}


# ---------------------------------------------------------------------------------------- reading
def _read(folder: Path, facts: Mapping[str, Any], split: str) -> Manifest:
    import pyarrow as pa
    import pyarrow.parquet as pq

    split_facts = facts["splits"][split]
    path = folder / split_facts["file"]
    try:
        table = pq.read_table(path)
        column = MediaColumn(
            root=Path(split_facts["media_root"]),
            names=table.column("name").to_pylist(),
            archives=[archive["name"] for archive in split_facts["archives"]],
            **{name: table.column(name).to_numpy() for name in _ARRAYS},
        )
        ids, labels = table.column("id").to_pylist(), table.column("label").to_numpy()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_add_again(folder)}") from error
    del table
    manifest = Manifest(
        name=facts["name"],
        split=split,
        kind=facts["kind"],
        ids=ids,
        media=column,
        labels=labels.astype(np.int64),
        notes=tuple(split_facts.get("notes", ())),  # absent in those of earlier versions
        **{fact: split_facts[fact] for fact in _FACTS},
    )
    if manifest.digest != split_facts["digest"]:
        raise DataError(f"{path} does not match {DESCRIPTION}; {_add_again(folder)}")
    _refuse_changed(folder, column.root, split_facts["archives"])
    return manifest


def _refuse_changed(folder: Path, root: Path, archives: Sequence[Mapping[str, Any]]) -> None:
    for archive in archives:
        try:
            now = _archive_facts(root, archive["name"])
        except OSError as error:
            raise DataError(
                f"cannot read {root / archive['name']}: {error.strerror}; {_add_again(folder)}"
            ) from error
        if now != archive:
            raise DataError(
                f"{root / archive['name']} has changed since it was added; {_add_again(folder)}"
            )


def _add_again(folder: Path) -> str:
    return f"run `bench data add {folder.name} DIR` again."
