"""Whose a run folder is: recipe, lists and seed of the run that began in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UsageError
from bench.files import remove_leftovers, write_whole

RECIPE_FILE = "recipe.json"


def check_folder(folder: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
    """Make the folder of a run with these facts, or refuse one that is taken.

    Raises:
        UsageError: it holds another run, or the same one and `resume` is not set.
        BenchError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"cannot make the folder {folder}: {error.strerror}; name one that you may write to"
            " with --out."
        ) from error
    path = folder / RECIPE_FILE
    if not path.exists():
        return
    if not resume:
        raise taken(folder)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(
            f"{path} is damaged ({error}), so it is not known which run is there; name another"
            " folder with --out."
        ) from error
    refuse_another(folder, held, facts)


def claim_folder(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what the run is: from now on the folder is its own."""
    remove_leftovers(folder)
    if not (folder / RECIPE_FILE).exists():
        write_whole(folder / RECIPE_FILE, (json.dumps(facts, indent=2) + "\n").encode())


def taken(folder: Path) -> UsageError:
    """Return the error: the folder holds a run and `--resume` was not said."""
    return UsageError(
        f"{folder} holds a pretraining run already: go on with --resume, or name another folder"
        " with --out."
    )


def refuse_another(folder: Path, held: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise `UsageError` if a run with the facts `held` is not one with these `facts`."""
    recipe, here = held.get("recipe"), facts["recipe"]
    if isinstance(recipe, dict) and recipe.get("name") != here["name"]:
        other = f"{recipe.get('name')} there, {here['name']} here"
    else:
        other = _changes(recipe, here, "")
    lists = ""
    if held.get("lists") != facts["lists"]:
        lists = f"{_spelt(held.get('lists'))} there, {_spelt(facts['lists'])} here"
    elif held.get("lists_digest") != facts["lists_digest"]:
        lists = "other files or weights in the same lists"
    changes = {
        "recipe": other,
        "--data": lists,
        "--seed": _changes(held.get("seed"), facts["seed"], "seed"),
    }
    different = [f"another {what} ({change})" for what, change in changes.items() if change]
    if different:
        raise UsageError(
            f"{folder} was begun with {' and '.join(different)}; resume it with the same, or name"
            " another folder with --out."
        )


def _changes(held: Any, here: Any, name: str) -> str:
    """Spell every setting that differs, such as `encoder.depth 4 there, 6 here`."""
    if not isinstance(held, dict) or not isinstance(here, Mapping):
        return "" if held == here else f"{name} {held} there, {here} here"
    inner = (_changes(held.get(k), here.get(k), f"{name}.{k}" if name else k) for k in here)
    return "; ".join(filter(None, inner))


def _spelt(lists: Any) -> str:
    if not isinstance(lists, Mapping):
        return "no lists"
    return " and ".join(f"{name} with {size} files" for name, size in lists.items())
