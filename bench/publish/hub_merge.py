"""Merge our numbers into files of others, whose content stays (the front matter byte for byte).

In README.md only the key `model-index` of the front matter is rewritten. There, and in a file of
`.eval_results`, a number of the same measurement is replaced and everything else is kept.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import BenchError
from bench.publish.hub_card import parse_yaml, yaml_text

KEY = "model-index"
_FENCE = re.compile(r"---[ \t]*(\r\n|\r|\n)?")
_NEXT_KEY = re.compile(r"[^\s#\-]")
_OWN_KEY = re.compile(r"""(["']?)model-index\1[ \t]*:""")


def card_with(text: str | None, name: str, results: Sequence[Mapping[str, Any]]) -> str:
    """Return a README.md with these `results` in its `model-index`; `text` None makes a new one.

    Raises:
        BenchError: its front matter is not a YAML mapping, has a `model-index` of another layout,
            or is written so that the key cannot be replaced on its own.
    """
    if text is None:
        return f"---\n{yaml_text({KEY: merged([], name, results)})}---\n\n# {name}\n"
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix(mark).splitlines(keepends=True)
    end = _end_of_front(lines)
    front = "".join(lines[1:end]) if end else ""
    data = parse_yaml(front, "the front matter of README.md") or {}
    if not isinstance(data, dict):
        raise BenchError("the front matter of README.md is not a mapping of keys; fix it first.")
    index = merged(data.get(KEY) or [], name, results)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    block = yaml_text({KEY: index}).replace("\n", newline)
    if not end:
        return f"{mark}---{newline}{block}---{newline}{''.join(lines)}"
    new = _spliced(lines[1:end], block)
    try:
        is_replaced = parse_yaml(new, "") == {**data, KEY: index}
    except BenchError:
        is_replaced = False
    if not is_replaced:
        raise BenchError(
            f"{KEY} cannot be replaced on its own in the front matter of README.md; give the key"
            " separate lines, or paste what bench card prints."
        )
    return f"{mark}{lines[0]}{new}{''.join(lines[end:])}"


def merged(index: Any, name: str, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a `model-index` with these results in its first model, called `name` if there is none.

    Raises:
        BenchError: it is not a list of models with results.
    """
    models: list[dict[str, Any]] = copy.deepcopy(index)
    is_list = isinstance(models, list) and all(isinstance(m, dict) for m in models)
    if not is_list or not all(_are_results(m.get("results")) for m in models):
        raise BenchError(
            f"the {KEY} of README.md is not a list of models, each with a name and results; fix it"
            " first."
        )
    models = models or [{"name": name, "results": []}]
    for model in models:
        for one in model["results"]:
            for ours in results:
                # Drop metrics with the same names on the same data that have another source.
                is_same = model is models[0] and _identity(one) == _identity(ours)
                if not is_same and _identity(one)[:-1] == _identity(ours)[:-1]:
                    names = {_name(metric) for metric in ours["metrics"]}
                    one["metrics"] = [m for m in one["metrics"] if _name(m) not in names]
    for ours in results:
        _insert(models[0]["results"], ours)
    for model in models:
        model["results"] = [one for one in model["results"] if one["metrics"]]
    return [model for model in models if model["results"] or model is models[0]]


def entries_with(text: str | None, where: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return a file of `.eval_results` with these entries; `text` None makes a new one.

    Raises:
        BenchError: it is not a list of entries.
    """
    listed = parse_yaml(text or "", where)
    listed = [] if listed is None else listed
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise BenchError(f"{where} is not a list of evaluation results; fix it first.")
    old = list(listed)
    for ours in entries:
        twins = [i for i, one in enumerate(listed) if _measurement(one) == _measurement(ours)]
        if not twins:
            listed.append(dict(ours))
            continue
        listed[twins[0]] = dict(ours)
        listed = [one for i, one in enumerate(listed) if i not in twins[1:]]
    return text if text is not None and listed == old else yaml_text(listed)


# ------------------------------------------------------------------------------------------ results
def _insert(results: list[dict[str, Any]], ours: Mapping[str, Any]) -> None:
    """Replace metrics of the same name on the same data, else append them."""
    twin = next((one for one in results if _identity(one) == _identity(ours)), None)
    if twin is None:
        results.append(copy.deepcopy(dict(ours)))
        return
    for metric in ours["metrics"]:
        places = [i for i, one in enumerate(twin["metrics"]) if _name(one) == _name(metric)]
        if places:
            twin["metrics"][places[0]] = dict(metric)
        else:
            twin["metrics"].append(dict(metric))


def _name(metric: Mapping[str, Any]) -> str:
    """Return the name of a metric without the doubts about its number."""
    return str(metric.get("name")).partition(";")[0]


def _identity(result: Mapping[str, Any]) -> tuple[str, ...]:
    dataset = result["dataset"]
    keys = (result["task"].get("type"), *(dataset.get(k) for k in ("type", "split", "revision")))
    return (*map(str, keys), str((result.get("source") or {}).get("url")))


def _measurement(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the data set, its task and the measurement that `notes` begins with."""
    dataset = entry.get("dataset")
    facts = dataset if isinstance(dataset, Mapping) else {}
    notes = str(entry.get("notes", "")).partition(";")[0]
    return str(facts.get("id")), str(facts.get("task_id")), notes


def _are_results(results: Any) -> bool:
    return isinstance(results, list) and all(
        isinstance(one, dict)
        and all(isinstance(one.get(key), dict) for key in ("task", "dataset"))
        and isinstance(one.get("metrics"), list)
        and all(isinstance(metric, dict) for metric in one["metrics"])
        for one in results
    )


# ----------------------------------------------------------------------------------------- the text
def _end_of_front(lines: Sequence[str]) -> int:
    """Return the line that closes the front matter; 0 if there is none."""
    if not lines or not _FENCE.fullmatch(lines[0]):
        return 0
    for number, line in enumerate(lines[1:], start=1):
        if _FENCE.fullmatch(line):
            return number
    raise BenchError("the front matter of README.md is not closed by a line ---; fix it first.")


def _spliced(lines: Sequence[str], block: str) -> str:
    """Return the front matter with the lines of the key replaced, or the block appended."""
    begin = next((i for i, line in enumerate(lines) if _OWN_KEY.match(line)), len(lines))
    end = begin + 1
    while end < len(lines) and not _NEXT_KEY.match(lines[end]):
        end += 1
    while end > begin + 1 and (lines[end - 1].startswith("#") or not lines[end - 1].strip()):
        end -= 1  # comments and blank lines before the next key belong to that key
    return "".join(lines[:begin]) + block + "".join(lines[end:])
