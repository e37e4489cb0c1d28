"""Verify a results repository: records in folders of any depth, and no unaccounted files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import UsageError
from bench.publish.bundles import check_bundle, is_bundle
from bench.records.find import ID
from bench.records.record import Record
from bench.records.record_files import parse_record
from bench.verify.controls import may_concern
from bench.verify.findings import Verdict, failed
from bench.verify.own_words import UNREADABLE
from bench.verify.verify_records import verify_all

RECORD_FILE = re.compile(rf"({ID.pattern})(\.json|\.parquet|-truth\.parquet)")
ALLOWED = re.compile(r"(README|LICENSE).*|.*\.md|\..*", re.IGNORECASE)


def verify_paths(
    paths: Sequence[Path], *, strict: bool = False, cache: Path | None = None
) -> list[Verdict]:
    """Verify record files, and all records below folders, with each other as controls.

    A record file is compared with the others in its folder. Below a folder an id may occur once,
    and every file must belong to a record. With `cache`, findings on record files are remembered.

    Raises:
        UsageError: a folder without records.
    """
    files = list(dict.fromkeys(path for path in paths if not path.is_dir()))
    verdicts = []
    for folder in dict.fromkeys(path.parent for path in files):
        named = [path for path in files if path.parent == folder]
        verdicts += _verify_files(folder, named, strict, cache)
    for path in paths:
        if path.is_dir():
            verdicts += verify_tree(path, strict=strict)
    return verdicts


def _verify_files(
    folder: Path, files: Sequence[Path], strict: bool, cache: Path | None
) -> list[Verdict]:
    """Verify records of a folder together with the others there that can serve as controls."""
    known = {folder / f"{record.id}.json": record for record in readable(folder)}
    named = [known[path] for path in files if path in known]
    controls = [
        path
        for path, record in known.items()
        if path not in files and any(may_concern(one, record) for one in named)
    ]
    return verify_all([*files, *controls], strict=strict, cache=cache)[: len(files)]


def verify_tree(root: Path, *, strict: bool = False) -> list[Verdict]:
    """Verify all records below a folder, and that every file there belongs to a record.

    Raises:
        UsageError: there is no record.
    """
    files = sorted(_files(root))
    records = [path for path in files if path.suffix == ".json" and ID.fullmatch(path.stem)]
    if not records:
        raise UsageError(
            f"there is no record (<id>.json) below {root}; give a record, or a folder with some."
        )
    verdicts = []
    first: dict[str, Path] = {}
    for verdict in verify_all(records, strict=strict):
        found = [*verdict.findings]
        other = first.setdefault(verdict.path.stem, verdict.path)
        if other != verdict.path:
            where = other.relative_to(root)
            found.append(failed("twice", f"{verdict.path.stem} is already there, as {where}"))
        if is_bundle(verdict.path.parent):
            found += check_bundle(verdict.path.parent)
        verdicts.append(replace(verdict, findings=tuple(found)))
    return [*verdicts, *_strays(root, files, records)]


def readable(folder: Path) -> list[Record]:
    """Return the readable records of a folder, as candidates for controls."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(parse_record(path.read_text(encoding="utf-8"), path.name))
        except UNREADABLE:
            continue  # it gets its own verdict when it is verified
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, without hidden folders.

    Symlinks to folders count as files: following them could lead anywhere, or in circles.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if not path.name.startswith("."):
                yield from _files(path)
        else:
            yield path


def _strays(root: Path, files: Sequence[Path], records: Sequence[Path]) -> list[Verdict]:
    """Return a verdict on every file that belongs to no record.

    In folders with records, and between the root and bundles, all files are checked, elsewhere only
    those named like a record's. The files of bundles are checked by `check_bundle`.
    """
    known = {(path.parent, path.stem) for path in records}
    folders = {path.parent for path in records}
    bundles = {folder for folder in folders if is_bundle(folder)}
    for bundle in bundles:
        folders |= {above for above in bundle.parents if root in above.parents}
    found = []
    for path in files:
        owner = path.parent
        if owner.name.endswith("-probe") and ID.fullmatch(owner.name.removesuffix("-probe")):
            stray = (owner.parent, owner.name.removesuffix("-probe")) not in known
        elif named := RECORD_FILE.fullmatch(path.name):
            stray = (owner, named[1]) not in known
        elif path.is_dir():  # a symlink
            stray = True
        else:
            stray = owner in folders and not ALLOWED.fullmatch(path.name)
        if stray and owner not in bundles and owner.parent not in bundles:
            finding = failed("stray", f"{path.name} belongs to no record in {owner.name}")
            found.append(Verdict(record_id="", path=path, findings=(finding,)))
    return found
