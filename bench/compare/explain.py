"""Why two records have different numbers: every differing input, by its possible effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.files import parse_json
from bench.records.differences import Difference, differences
from bench.records.record import Record
from bench.records.run_id import FILE_PLACES, PLACES

# Outputs of a run, and fields that only repeat others.
OUTCOMES = (
    "schema_version", "id", "seal", "marks", "status", "reasons", "metrics", "artifacts",
    "probe.log", "probe.selected", "probe.selection", "encoder.check", "encoder.notes",
    "encoder.spec", "protocol.deviations", "features.repeated_frames", "features.boxes_outside",
)  # fmt: skip
HARMLESS = (
    "created", "timing", "encoder.source", "encoder.card", "features.decoded", "task.title",
    "features.encoder_calls", "features.rows_from_store", "data.score.layout", "data.fit.layout",
    "config.on_permuted_labels",
)  # fmt: skip
ROUNDING = (
    "environment", "features.precision", "features.dtype", "features.mode", "features.decoders",
    "config.precision", "config.dtype", "config.decoder", "config.features",
    "encoder.clips_per_call",
)  # fmt: skip
FACTS_THAT_ROUND = ("precision", "dtype", "recipe.decoder")
RULE = ".rule"  # of what is read of a film or picture: it decides for some of them
KEYS = {"features.fit_key": "fit features", "features.score_key": "scored features"}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Differing inputs of two records: those that `decide` the number, those that may change it by
    `rounding` (another commit may do more), and `harmless` ones.

    `features` are the decisive facts behind differing feature keys, `unknown` the keys whose store
    is not available. A key that differs only by precision, type or decoder counts as rounding.
    """

    decide: tuple[Difference, ...]
    rounding: tuple[Difference, ...]
    harmless: tuple[Difference, ...]
    features: tuple[Difference, ...]
    unknown: tuple[str, ...]


def explain(a: Record, b: Record, home: Path | None = None) -> Explanation:
    """Classify every differing input of two records; feature stores are looked up in `home`."""
    names = ("decide", "rounding", "harmless", "features")
    groups: dict[str, list[Difference]] = {name: [] for name in names}
    for one in differences(a.model_dump(mode="json"), b.model_dump(mode="json")):
        for name, part in _sorted(one):
            groups[name].append(part)
    unknown: list[str] = []
    for one in [one for one in groups["decide"] if one.field in KEYS]:
        title = KEYS[one.field]
        here, there = _store_facts(home, one.a), _store_facts(home, one.b)
        if here is None or there is None:
            unknown.append(title)
            continue
        facts = differences(here, there)
        rounding = [
            p for p in facts if _is_in(p.field, FACTS_THAT_ROUND) and not p.field.endswith(RULE)
        ]
        for part in facts:
            group = "rounding" if part in rounding else "features"
            groups[group].append(replace(part, field=f"{title}: {part.field}"))
        if rounding and len(rounding) == len(facts):  # the key differs by nothing else
            groups["decide"].remove(one)
            groups["rounding"].append(one)
    lists = {name: tuple(group) for name, group in groups.items()}
    return Explanation(**lists, unknown=tuple(unknown))


def _sorted(one: Difference) -> list[tuple[str, Difference]]:
    """Return the group of a difference; an encoder is split into its name and its weights."""
    if one.field == "config.encoder":
        (name_a, _, place_a), (name_b, _, place_b) = (str(x).partition(":") for x in (one.a, one.b))
        parts = [
            ("decide", Difference(field="config.encoder", a=name_a, b=name_b)),
            ("harmless", Difference(field="config.encoder (weights)", a=place_a, b=place_b)),
        ]
        return [(group, part) for group, part in parts if part.a != part.b]
    if _is_in(one.field, OUTCOMES):
        return []
    places = tuple(f"config.task_options.{name}" for name in (*PLACES, *FILE_PLACES))
    if _is_in(one.field, (*HARMLESS, *places)):
        return [("harmless", one)]
    return [("rounding" if _is_in(one.field, ROUNDING) else "decide", one)]


def _is_in(field: str, names: tuple[str, ...]) -> bool:
    return any(field == name or field.startswith(f"{name}.") for name in names)


def _store_facts(home: Path | None, key: Any) -> Mapping[str, Any] | None:
    """Return the facts behind a feature key, if the store is under `home`."""
    if home is None or not isinstance(key, str):
        return None
    try:
        facts = parse_json((home / "features" / key[:2] / key / "facts.json").read_text())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
