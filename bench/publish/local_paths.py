"""Local paths in a record's fields: removed before the record leaves the machine.

The id of a run does not depend on them (`bench/records/run_id.py`). `task_options.data` is dropped,
because every machine has its own; other paths are cut to their last name, so that weights
`vjepa:/home/me/latest.pth.tar` become `vjepa:latest.pth.tar`. What the id depends on is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import without_secrets
from bench.records.record import seal_of
from bench.records.run_id import FILE_PLACES, PLACES

# From the root of a disk or a home folder, at least two names deep; never the tail of a URL
# (https://a/b) or of a relative path (a/b/c).
_NAME = r"[^\s/\\'\"<>|:;,()\[\]{}]+"
_PATH = re.compile(rf"(?<![\w./\\])(?:[A-Za-z]:|~\w*)?(?:[/\\]{_NAME}){{2,}}[/\\]?")
# A text that is one path, possibly with spaces; not a message, which has a reason after its colon.
_WHOLE = re.compile(r"(?:/|~|\\\\|[A-Za-z]:[/\\]|\.\.?[/\\])(?:(?!: )[^\n])*")
DROPPED = "config.task_options.data"
SPECS = ("config.encoder", "encoder.spec")  # NAME:PATH
IN_THE_ID = ("probe.settings", "probe.heads", "probe.head_order", "task.files")


def without_places(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record's file without local paths, sealed again if any was cut.

    The id stays valid, so a path that it depends on is kept (`places` finds it). A record without a
    seal gets none.
    """
    roots, task = _roots(fields), fields.get("task")
    has_files = isinstance(task, Mapping) and bool(task.get("files"))
    names = (*PLACES, *FILE_PLACES) if has_files else PLACES
    free = {f"config.task_options.{name}" for name in names}  # not part of the id

    def change(where: str, text: str) -> str:
        if where in SPECS:
            return cut_spec(text)
        if where.partition(".")[0] == "config":
            return _last(text) if where in free else text
        return _cut(text, roots)

    cut: dict[str, Any] = _mapped(fields, "", change)
    if cut == fields:
        return cut
    return {**cut, "seal": seal_of(cut)} if fields.get("seal") is not None else cut


def places(fields: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted field, text) for every local path in JSON values and keys."""
    for place, text in _texts(fields, where):
        if text != (cut_spec(text) if place in SPECS else _cut(text, [])):
            yield place, text


def _texts(fields: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted field, text) for every string in JSON values and keys."""
    if isinstance(fields, Mapping):
        for key, inner in fields.items():
            yield where, str(key)
            yield from _texts(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(fields, list | tuple):
        for inner in fields:
            yield from _texts(inner, where)
    elif isinstance(fields, str):
        yield where, fields


def cut_spec(spec: str) -> str:
    """Return the name of an encoder with the path of its weights cut to the last name."""
    name, colon, weights = spec.partition(":")
    weights = without_secrets(weights)
    return f"{name}{colon}{_last(weights)}" if _WHOLE.fullmatch(weights) else _cut(spec, [])


def _roots(fields: Mapping[str, Any]) -> list[str]:
    """Return the folders and files in the configuration, longest first.

    Names below them are kept. This also finds paths with spaces, which no pattern can separate from
    the sentence around them.
    """
    found: set[str] = set()
    for _, text in _texts(fields.get("config")):
        for path in (text, text.partition(":")[2]):
            if _WHOLE.fullmatch(path) and len(Path(path).parts) > 2:
                found.add(path.rstrip("/\\"))
    return sorted(found, key=lambda root: (-len(root), root))


def _mapped(value: Any, where: str, change: Callable[[str, str], str]) -> Any:
    """Return JSON values with `change` applied to every string, keys included."""
    if where in IN_THE_ID:
        return value
    if isinstance(value, Mapping):
        inside = {key: f"{where}.{key}".lstrip(".") for key in value}
        return {
            change(where, str(key)): _mapped(value[key], place, change)
            for key, place in inside.items()
            if place != DROPPED
        }
    if isinstance(value, list | tuple):
        return [_mapped(inner, f"{where}.", change) for inner in value]
    return change(where, value) if isinstance(value, str) else value


def _cut(text: str, roots: list[str]) -> str:
    """Return a text with every path cut to its last name, or to the names below a root.

    Addresses lose their secrets.
    """
    text = without_secrets(text)
    for root in roots:
        text = text.replace(root, _last(root))
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(f"{home}/", "").replace(home, "~")
    text = _PATH.sub(lambda found: _last(found[0]), text)
    return _last(text) if _WHOLE.fullmatch(text) else text


def _last(path: str) -> str:
    names = [name for name in re.split(r"[/\\]", path) if name]
    return names[-1] if names else path
