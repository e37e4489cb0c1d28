"""Local places in a record's fields: cut out before the record leaves the machine.

The id of a run does not depend on them (`bench/records/run_id.py`). `task_options.data` is dropped,
for a run is told where its data are; of every other path the last name stays: weights
`vjepa:/home/me/latest.pth.tar` become `vjepa:latest.pth.tar`. What the id depends on is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.records.record import seal_of
from bench.records.run_id import FILE_PLACES, PLACES

# From the root of a disk or a home folder, at least two names deep; never the tail of an address
# (https://a/b) or of a relative name (a/b/c).
_NAME = r"[^\s/\\'\"<>|:;,()\[\]{}]+"
_PATH = re.compile(rf"(?<![\w./\\])(?:[A-Za-z]:|~\w*)?(?:[/\\]{_NAME}){{2,}}[/\\]?")
# A text that is one path, which may hold blanks: no sentence, which has a reason after its colon.
_WHOLE = re.compile(r"(?:/|~|\\\\|[A-Za-z]:[/\\]|\.\.?[/\\])(?:(?!: )[^\n])*")
DROPPED = "data"
SPECS = ("config.encoder", "encoder.spec")  # NAME:PATH
IN_THE_ID = ("probe.settings", "probe.heads", "probe.head_order", "task.files")


def without_places(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record's file without local places, sealed anew if that cut any.

    The id stays right, so a path that it depends on stays too (`places` finds it). A record that
    has no seal gets none.
    """
    roots = _roots(fields)
    cut = {
        key: _config(fields) if key == "config" else _mapped(value, key, lambda t: _cut(t, roots))
        for key, value in fields.items()
    }
    if cut == fields:
        return cut
    return {**cut, "seal": seal_of(cut)} if fields.get("seal") is not None else cut


def places(fields: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted field, text) for every local path in JSON values, keys of mappings included."""
    if isinstance(fields, Mapping):
        for key, inner in fields.items():
            yield from places(str(key), where)
            yield from places(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(fields, list | tuple):
        for inner in fields:
            yield from places(inner, where)
    elif isinstance(fields, str):
        cut = cut_spec(fields) if where in SPECS else _cut(fields, [])
        if cut != fields:
            yield where, fields


def cut_spec(spec: str) -> str:
    """Return the name of an encoder with the path of its weights cut to the last name."""
    name, colon, weights = spec.partition(":")
    return f"{name}{colon}{_last(weights)}" if _WHOLE.fullmatch(weights) else _cut(spec, [])


def _config(fields: Mapping[str, Any]) -> Any:
    """Cut the configuration where the id leaves it out."""
    config, task = fields.get("config"), fields.get("task")
    if not isinstance(config, Mapping):
        return config
    cut = {**config}
    if isinstance(config.get("encoder"), str):
        cut["encoder"] = cut_spec(config["encoder"])
    options = config.get("task_options")
    if isinstance(options, Mapping):
        has_files = isinstance(task, Mapping) and bool(task.get("files"))
        free = (*PLACES, *FILE_PLACES) if has_files else PLACES
        cut["task_options"] = {
            key: _last(value) if key in free and isinstance(value, str) else value
            for key, value in options.items()
            if key != DROPPED
        }
    return cut


def _roots(fields: Mapping[str, Any]) -> list[str]:
    """Return the folders and files that the configuration names, the longest first.

    Names below them stay, and a path with blanks is found, which no pattern could tell from the
    sentence around it.
    """
    found: set[str] = set()
    for text in _texts(fields.get("config")):
        for path in (text, text.partition(":")[2]):
            if _WHOLE.fullmatch(path) and len(Path(path).parts) > 2:
                found.add(path.rstrip("/\\"))
    return sorted(found, key=lambda root: (-len(root), root))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _mapped(value: Any, where: str, change: Callable[[str], str]) -> Any:
    """Return JSON values with every text changed, keys of mappings too."""
    if where in IN_THE_ID:
        return value
    if isinstance(value, Mapping):
        return {
            change(str(key)): _mapped(inner, f"{where}.{key}", change)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_mapped(inner, where, change) for inner in value]
    if not isinstance(value, str):
        return value
    return cut_spec(value) if where in SPECS else change(value)


def _cut(text: str, roots: list[str]) -> str:
    """Return a text with every path cut to its last name, or to the names from a root on."""
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
