"""Upgrade records of earlier schema versions to the current one.

1 -> 2: `unreadable` rows of a split are `missing` or `undecodable`.
2 -> 3: heads have scores, which need not be accuracies.
3 -> 4: records have a seal, and `score_split_fit`, the rows that the heads in
        `score_split_scores` were fitted on.
4 -> 5: the top-5 accuracy counts only classes of a probability above 0. That of an older kNN or
        logistic record also counted classes without a vote: it is left out, and marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_FILE = ("there is no such file", "the file is missing")  # reasons of missing media in version 1
WITHOUT_VOTES = ("knn", "logistic")  # probes that give some classes a probability of exactly 0
SCORES = {"holdout_accuracies": "holdout_scores", "score_accuracies": "score_split_scores"}


def upgraded(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record in the current schema; unknown versions are unchanged."""
    version, data, probe = (fields.get(name) for name in ("schema_version", "data", "probe"))
    if version not in (1, 2, 3, 4):
        return fields
    if version == 1 and isinstance(data, Mapping):
        fields = {**fields, "data": {name: _split_from_1(part) for name, part in data.items()}}
    if version < 4 and isinstance(probe, Mapping) and isinstance(probe.get("selection"), Mapping):
        selection = dict(probe["selection"])
        if version < 3:
            selection = {SCORES.get(key, key): value for key, value in selection.items()}
        if selection.get("score_split_scores"):  # until then only by V-JEPA 2's rule
            selection["score_split_fit"] = "all"
        fields = {**fields, "probe": {**probe, "selection": selection}}
    return {**_top5_from_4(fields), "schema_version": 5}


def _top5_from_4(fields: dict[str, Any]) -> dict[str, Any]:
    metrics, probe = fields.get("metrics"), fields.get("probe")
    if not isinstance(metrics, Mapping) or not isinstance(probe, Mapping):
        return fields
    if probe.get("name") not in WITHOUT_VOTES or metrics.get("top5") is None:
        return fields
    mark = (
        f"the top-5 of this older {probe['name']} record, {metrics['top5']}, may count classes"
        " without a vote and is left out; for the right one, run its config with --overwrite"
    )
    return {**fields, "metrics": {**metrics, "top5": None}, "marks": [mark]}


def _split_from_1(part: Any) -> Any:
    if not isinstance(part, Mapping) or not isinstance(part.get("unreadable"), Mapping):
        return part
    rest = dict(part)
    reasons = rest.pop("unreadable")
    missing = [name for name, reason in reasons.items() if any(no in reason for no in NO_FILE)]
    undecodable = {name: reasons[name] for name in reasons if name not in set(missing)}
    return {**rest, "missing": missing, "undecodable": undecodable}
