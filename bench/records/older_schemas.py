"""Records of earlier schema versions, told in the words of the present one.

1 -> 2: `unreadable` rows of a split are `missing` or `undecodable`.
2 -> 3: heads have scores, which need not be accuracies.
3 -> 4: records have a seal, and say on which rows the heads scored on the score split were fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NO_FILE = ("there is no such file", "the file is missing")  # as version 1 said of missing media
SCORES = {"holdout_accuracies": "holdout_scores", "score_accuracies": "score_split_scores"}


def upgraded(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record in the present schema; those of an unknown one as they are."""
    while fields.get("schema_version") in _STEPS:
        fields = _STEPS[fields["schema_version"]](fields)
    return fields


def _from_1(fields: dict[str, Any]) -> dict[str, Any]:
    data = fields.get("data")
    if isinstance(data, Mapping):
        fields = {**fields, "data": {name: _split_from_1(part) for name, part in data.items()}}
    return {**fields, "schema_version": 2}


def _split_from_1(part: Any) -> Any:
    if not isinstance(part, Mapping) or not isinstance(part.get("unreadable"), Mapping):
        return part
    reasons = part["unreadable"]
    missing = [name for name, reason in reasons.items() if any(no in reason for no in NO_FILE)]
    rest = {key: value for key, value in part.items() if key != "unreadable"}
    undecodable = {name: reasons[name] for name in reasons if name not in set(missing)}
    return {**rest, "missing": missing, "undecodable": undecodable}


def _from_2(fields: dict[str, Any]) -> dict[str, Any]:
    probe = fields.get("probe")
    if isinstance(probe, Mapping) and isinstance(probe.get("selection"), Mapping):
        selection = {SCORES.get(key, key): value for key, value in probe["selection"].items()}
        fields = {**fields, "probe": {**probe, "selection": selection}}
    return {**fields, "schema_version": 3}


def _from_3(fields: dict[str, Any]) -> dict[str, Any]:
    probe = fields.get("probe")
    if isinstance(probe, Mapping) and isinstance(probe.get("selection"), Mapping):
        selection = dict(probe["selection"])
        if selection.get("score_split_scores"):  # by the rule of V-JEPA 2 alone, until then
            selection["score_split_fit"] = "all"
        fields = {**fields, "probe": {**probe, "selection": selection}}
    return {**fields, "schema_version": 4}


_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
}
