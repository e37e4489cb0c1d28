"""Check that the parts of a record that tables show follow from the config it was run with.

The config is part of the id; the other parts are not, and could be edited and the seal recomputed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench import registry
from bench.errors import UsageError
from bench.records.record import ProbePart, Record
from bench.records.run_id import plain
from bench.types import ClipPlan
from bench.verify.findings import Finding, all_of

ARRAYS = "arrays"  # features from elsewhere
SHARE = ("fraction", "draw", "shots", "subset_sha256", "rule", "least", "most")
WHOLE: Mapping[str, Any] = {"fraction": 1.0, "draw": 0, "rule": ""}


def check_claims(record: Record) -> Finding:
    """Check whether encoder, labels, plan, features and probe match the config."""
    rules = [_encoder, _labels, _probe]
    if record.encoder.spec != ARRAYS:
        rules += [_task, _plan, _features]
    problems = [problem for rule in rules for problem in rule(record)]
    return all_of("config", problems, "the record matches its config")


def other_setting(probe: ProbePart, key: str, wanted: Any) -> str | None:
    """Return the value of a probe setting if it is not `wanted`; None if it is or does not exist.

    A list holds one value per head.
    """
    if key in probe.settings:
        value = probe.settings[key]
        return None if value == wanted else str(value)
    if not all(key in head for head in probe.heads):
        return None
    found = [head[key] for head in probe.heads]
    every = wanted if isinstance(wanted, list) else [wanted]
    return None if {*map(str, found)} == {*map(str, every)} else str(found)


def _encoder(record: Record) -> Iterator[str]:
    named, encoder = record.config.get("encoder"), record.encoder
    options = record.config.get("encoder_options")
    is_random = isinstance(options, Mapping) and options.get("random") is True
    if encoder.spec != named and (encoder.spec, named) != (ARRAYS, "none"):
        yield f"the encoder is {encoder.spec!r}, but the config has {named!r}"
    elif (is_random or str(named).partition(":")[0] == "random") and not encoder.is_floor:
        yield f"{named!r} has random weights, but is not marked as a floor"


def _task(record: Record) -> Iterator[str]:
    named, name = record.config.get("task", record.task.name), record.task.name
    own = {named, str(named).removesuffix("_low_shot")}  # k400_low_shot is k400 on fewer labels
    if name not in own and name in registry.names("tasks"):
        yield f"the task is {name!r}, but the config has {named!r}"


def _labels(record: Record) -> Iterator[str]:
    """Compare the share of the training labels with the options of the task and the config."""
    labels, options = record.train_labels, record.task.options
    if (record.task.fit_split is None) != (record.data.fit is None):
        yield f"task.fit_split {record.task.fit_split!r} contradicts data.fit"
    if labels is not None:
        for key in SHARE:
            value, expected = getattr(labels, key), options.get(key, WHOLE.get(key))
            if value != expected and key in {*options, *WHOLE, "shots", "subset_sha256"}:
                yield f"train_labels.{key} is {value!r}, but that of the task is {expected!r}"
    given = record.config.get("task_options")
    for key in ("fraction", "draw", "shots"):
        if isinstance(given, Mapping) and key in given and given[key] != options.get(key):
            yield f"task.options.{key} is {options.get(key)!r}, but the config has {given[key]!r}"


def _plan(record: Record) -> Iterator[str]:
    config = record.config
    given, layers, draws = config.get("plan"), config.get("layers"), config.get("draws")
    departures = []
    if isinstance(given, str):
        try:
            plan = str(ClipPlan.parse(given))
        except UsageError:
            plan = given
        if record.plan.score != plan:
            yield f"the scored clips are {record.plan.score}, but the config has {plan}"
        departures.append(f"plan {given}")
    try:
        protocol = registry.build("protocols", record.protocol.name, {})
        usual, usual_draws = protocol.layers.get(record.task.name, {}), protocol.draws
    except UsageError:  # a protocol that is unknown here
        usual, usual_draws = {}, draws
    if isinstance(layers, list) and layers and tuple(layers) != usual.get(record.encoder.depth):
        departures.append(f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}")
    if draws is not None and draws != usual_draws:
        departures.append(f"draws {draws}")
    if (clips := config.get("score_clips", "protocol")) != "protocol":
        departures.append(f"scored clips {clips}")
    for departure in departures:
        if not any(text.startswith(f"{departure} ") for text in record.protocol.deviations):
            yield (
                f"the config deviates from the protocol by {departure.strip()}, which is not"
                " recorded"
            )


def _features(record: Record) -> Iterator[str]:
    config, features = record.config, record.features
    dtype = config.get("dtype", features.dtype) if features.mode == "stored" else "float32"
    if features.dtype != dtype:
        yield f"features are {features.dtype}, but the config has {dtype}"
    precision = config.get("precision", "auto")
    if precision not in ("auto", features.precision):
        yield f"features were computed in {features.precision}, but the config has {precision}"


def _probe(record: Record) -> Iterator[str]:
    """Yield the probe options of the config that its settings and heads do not have."""
    probe, options = record.probe, record.config.get("probe_options")
    if probe.released_sha256 is not None or not isinstance(options, Mapping):
        return
    if (named := record.config.get("probe", probe.name)) != probe.name:
        yield f"the probe is {probe.name!r}, but the config has {named!r}"
    for key, wanted in _settled(probe.name, options).items():
        if (value := other_setting(probe, key, wanted)) is not None:
            yield f"the config has {key} = {wanted} for the probe, which had {value}"


def _settled(probe: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as values: `bench probe` records them as typed, such as `[1,5]`."""
    try:
        entry = registry.find("probes", probe)
        heads = {"num_heads": 1} if registry.needs(entry, "num_heads") else {}
        values = registry.checked(entry, {**heads, **options})
    except UsageError:  # a probe or an option of another version
        return dict(options)
    return {key: plain(values[key]) for key in options}
