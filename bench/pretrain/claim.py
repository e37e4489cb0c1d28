"""Which run owns a run folder (recipe, lists and seed), and which process is writing it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UsageError
from bench.files import parse_json, remove_leftovers, write_whole
from bench.launch.work_claims import Claims

RECIPE_FILE = "recipe.json"
LOCK_FILE = "in_use.lock"  # only while a run is alive, or was killed


def check_folder(folder: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
    """Create the folder of a run with these facts, or refuse one that is in use.

    Raises:
        UsageError: it holds another run, or the same one and `resume` is not set.
        BenchError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"cannot create the folder {folder}: {error.strerror}; choose a writable --out."
        ) from error
    path = folder / RECIPE_FILE
    if not path.exists():
        return
    if not resume:
        raise folder_in_use(folder)
    try:
        saved = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(
            f"{path} is damaged ({error}), so its run cannot be identified; choose another folder"
            " with --out."
        ) from error
    require_same_run(folder, saved, facts)


@contextmanager
def holding(folder: Path) -> Iterator[Callable[[], None]]:
    """Give a function that keeps other runs out of an existing folder until the block ends.

    It is called before the folder is read, and again once it surely exists.

    Raises:
        UsageError: a living run holds the folder.
    """
    claims = Claims(folder / LOCK_FILE)

    def hold() -> None:
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            return
        if not claims.take():
            raise UsageError(
                f"{folder} is in use by {claims.holder()}; wait for it or stop it, or choose"
                " another folder with --out."
            )
        claims.sign()

    try:
        yield hold
    finally:
        claims.close()


def claim_folder(folder: Path, facts: Mapping[str, Any]) -> None:
    """Record the facts of the run, which owns the folder from then on."""
    remove_leftovers(folder)
    if not (folder / RECIPE_FILE).exists():
        write_whole(folder / RECIPE_FILE, (json.dumps(facts, indent=2) + "\n").encode())


def folder_in_use(folder: Path) -> UsageError:
    """Return the error for a folder that holds a run when `--resume` is not set."""
    return UsageError(
        f"{folder} already holds a pretraining run: continue it with --resume, or choose another"
        " folder with --out."
    )


def require_same_run(folder: Path, saved: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise `UsageError` if the `saved` facts of a folder are not those of this run."""
    recipe, new = saved.get("recipe"), facts["recipe"]
    if isinstance(recipe, dict) and recipe.get("name") != new["name"]:
        recipes = f"{recipe.get('name')} there, {new['name']} here"
    else:
        recipes = _changes(recipe, new, "")
    lists = ""
    if saved.get("lists") != facts["lists"]:
        lists = f"{_describe(saved.get('lists'))} there, {_describe(facts['lists'])} here"
    elif saved.get("lists_digest") != facts["lists_digest"]:
        lists = "other files or weights in the same lists"
    changes = {
        "recipe": recipes,
        "--data": lists,
        "--seed": _changes(saved.get("seed"), facts["seed"], "seed"),
    }
    different = [f"another {what} ({change})" for what, change in changes.items() if change]
    if different:
        raise UsageError(
            f"{folder} was started with {' and '.join(different)}; resume it unchanged, or choose"
            " another folder with --out."
        )


def _changes(saved: Any, new: Any, name: str) -> str:
    """List the settings that differ, such as `encoder.depth 4 there, 6 here`."""
    if not isinstance(saved, dict) or not isinstance(new, Mapping):
        return "" if saved == new else f"{name} {saved} there, {new} here"
    inner = (_changes(saved.get(k), new.get(k), f"{name}.{k}" if name else k) for k in new)
    return "; ".join(filter(None, inner))


def _describe(lists: Any) -> str:
    if not isinstance(lists, Mapping):
        return "no lists"
    return " and ".join(f"{name} with {size} files" for name, size in lists.items())
