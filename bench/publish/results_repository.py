"""The records of a results repository: found in folders of any depth, each file accounted for."""

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

OWN = re.compile(rf"({ID.pattern})(\.json|\.parquet|-truth\.parquet)")
LET_THROUGH = re.compile(r"(README|LICENSE).*|.*\.md|\..*", re.IGNORECASE)


def verify_paths(paths: Sequence[Path], *, strict: bool = False) -> list[Verdict]:
    """Verify record files, and all records below folders, with each other as controls.

    A record named by its file is compared with the others of its folder. In folders an id may stand
    once, and every file must belong to a record.

    Raises:
        UsageError: a folder without records.
    """
    files = list(dict.fromkeys(path for path in paths if not path.is_dir()))
    verdicts = []
    for folder in dict.fromkeys(path.parent for path in files):
        verdicts += _verify_files(folder, [path for path in files if path.parent == folder], strict)
    for path in paths:
        if path.is_dir():
            verdicts += verify_tree(path, strict=strict)
    return verdicts


def _verify_files(folder: Path, files: Sequence[Path], strict: bool) -> list[Verdict]:
    """Verify records of a folder beside those others there that may concern one of them."""
    known = {folder / f"{record.id}.json": record for record in readable(folder)}
    named = [known[path] for path in files if path in known]
    near = [
        path
        for path, record in known.items()
        if path not in files and any(may_concern(own, record) for own in named)
    ]
    return verify_all([*files, *near], strict=strict)[: len(files)]


def verify_tree(root: Path, *, strict: bool = False) -> list[Verdict]:
    """Verify all records below a folder, and that no file there belongs to none of them.

    Raises:
        UsageError: there is no record.
    """
    files = sorted(_files(root))
    records = [path for path in files if path.suffix == ".json" and ID.fullmatch(path.stem)]
    if not records:
        raise UsageError(
            f"there is no record (<id>.json) below {root}; name a record, or a folder with some."
        )
    verdicts = []
    first: dict[str, Path] = {}
    for verdict in verify_all(records, strict=strict):
        found = [*verdict.findings]
        other = first.setdefault(verdict.path.stem, verdict.path)
        if other != verdict.path:
            where = other.relative_to(root)
            found.append(failed("twice", f"{verdict.path.stem} is there already, as {where}"))
        if is_bundle(verdict.path.parent):
            found += check_bundle(verdict.path.parent)
        verdicts.append(replace(verdict, findings=tuple(found)))
    return [*verdicts, *_strays(root, files, records)]


def readable(folder: Path) -> list[Record]:
    """Return the records of a folder that can be read, to find controls among."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(parse_record(path.read_text(encoding="utf-8"), path.name))
        except UNREADABLE:
            continue  # it has a verdict of its own, when it is asked for
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; hidden folders are no part of a repository's content.

    A link to a folder is one: followed, it may lead anywhere, or round and round.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if not path.name.startswith("."):
                yield from _files(path)
        else:
            yield path


def _strays(root: Path, files: Sequence[Path], records: Sequence[Path]) -> list[Verdict]:
    """Return a verdict on every file that belongs to no record.

    In folders with records, and on the way from the root to bundles, all files are looked at,
    elsewhere those that are named as a record's. A bundle accounts for its files itself.
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
        elif named := OWN.fullmatch(path.name):
            stray = (owner, named[1]) not in known
        elif path.is_dir():  # a link
            stray = True
        else:
            stray = owner in folders and not LET_THROUGH.fullmatch(path.name)
        if stray and owner not in bundles and owner.parent not in bundles:
            said = failed("stray", f"{path.name} belongs to no record in {owner.name}")
            found.append(Verdict(record="", path=path, findings=(said,)))
    return found
