"""What a record says twice: do the parts that tables show follow from the config it was run with?

The config is part of the id; what follows from it is not, and could be edited with the seal remade.
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

ARRAYS = "arrays"  # features from elsewhere, which no encoder of ours made
SHARE = ("fraction", "draw", "shots", "subset_sha256", "rule", "least", "most")
WHOLE: Mapping[str, Any] = {"fraction": 1.0, "draw": 0, "rule": ""}


def check_claims(result: Record) -> Finding:
    """Say whether encoder, labels, plan, features and probe are those that the config asks for."""
    rules = [_encoder, _labels, _probe]
    if result.encoder.spec != ARRAYS:
        rules += [_task, _plan, _features]
    problems = [problem for rule in rules for problem in rule(result)]
    return all_of("config", problems, "the record is of the run that its config asks for")


def other_setting(probe: ProbePart, key: str, wanted: Any) -> str | None:
    """Return what a probe had for a setting that is not `wanted`; None where it is, or where the
    probe has no such setting. Of a list every head has one value.
    """
    if key in probe.settings:
        own = probe.settings[key]
        return None if own == wanted else str(own)
    if not all(key in head for head in probe.heads):
        return None
    found = [head[key] for head in probe.heads]
    every = wanted if isinstance(wanted, list) else [wanted]
    return None if {*map(str, found)} == {*map(str, every)} else str(found)


def _encoder(result: Record) -> Iterator[str]:
    named, encoder = result.config.get("encoder"), result.encoder
    options = result.config.get("encoder_options")
    is_random = isinstance(options, Mapping) and options.get("random") is True
    if encoder.spec != named and (encoder.spec, named) != (ARRAYS, "none"):
        yield f"the encoder is called {encoder.spec!r}, the config names {named!r}"
    elif (is_random or str(named).partition(":")[0] == "random") and not encoder.is_floor:
        yield f"{named!r} has random weights, and is not called a floor"


def _task(result: Record) -> Iterator[str]:
    named, own = result.config.get("task", result.task.name), result.task.name
    if own != named and own in registry.names("tasks"):
        yield f"the task is called {own!r}, the config names {named!r}"


def _labels(result: Record) -> Iterator[str]:
    """Compare the share of the training labels with the options of the task, and of the config."""
    told, options = result.train_labels, result.task.options
    if (result.task.fit_split is None) != (result.data.fit is None):
        yield f"task.fit_split {result.task.fit_split!r} does not go with data.fit"
    if told is not None:
        for key in SHARE:
            own, wanted = getattr(told, key), options.get(key, WHOLE.get(key))
            if own != wanted and key in {*options, *WHOLE, "shots", "subset_sha256"}:
                yield f"train_labels.{key} is {own!r}, that of the task is {wanted!r}"
    asked = result.config.get("task_options")
    for key in ("fraction", "draw", "shots"):
        if isinstance(asked, Mapping) and key in asked and asked[key] != options.get(key):
            yield f"task.options.{key} is {options.get(key)!r}, the config has {asked[key]!r}"


def _plan(result: Record) -> Iterator[str]:
    config, said = result.config, result.protocol.deviations
    asked, layers, draws = config.get("plan"), config.get("layers"), config.get("draws")
    departures = []
    if isinstance(asked, str):
        try:
            plan = str(ClipPlan.parse(asked))
        except UsageError:
            plan = asked
        if result.plan.score != plan:
            yield f"clips to score are {result.plan.score}, the config has {plan}"
        departures.append(f"plan {asked}")
    try:
        protocol = registry.build("protocols", result.protocol.name, {})
        usual, usual_draws = protocol.layers.get(result.task.name, {}), protocol.draws
    except UsageError:  # a protocol that is not known here
        usual, usual_draws = {}, draws
    if isinstance(layers, list) and layers and tuple(layers) != usual.get(result.encoder.depth):
        departures.append(f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}")
    if draws is not None and draws != usual_draws:
        departures.append(f"draws {draws}")
    for departure in departures:
        if not any(sentence.startswith(f"{departure} ") for sentence in said):
            what = departure.strip()
            yield f"the config departs from the protocol by {what}, which is not on record"


def _features(result: Record) -> Iterator[str]:
    config, features = result.config, result.features
    dtype = config.get("dtype", features.dtype) if features.mode == "stored" else "float32"
    if features.dtype != dtype:
        yield f"features are {features.dtype}, the config gives {dtype}"
    precision = config.get("precision", "auto")
    if precision not in ("auto", features.precision):
        yield f"features were made in {features.precision}, the config has {precision}"


def _probe(result: Record) -> Iterator[str]:
    """Name the options of the probe in the config that its settings and heads do not have."""
    probe, options = result.probe, result.config.get("probe_options")
    if probe.released_sha256 is not None or not isinstance(options, Mapping):
        return
    if (named := result.config.get("probe", probe.name)) != probe.name:
        yield f"the probe is called {probe.name!r}, the config names {named!r}"
    for key, wanted in _settled(probe.name, options).items():
        if (own := other_setting(probe, key, wanted)) is not None:
            yield f"the config gives the probe {key} = {wanted}, it had {own}"


def _settled(probe: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as values: `bench probe` keeps them as they were typed, such as `[1,5]`."""
    try:
        entry = registry.find("probes", probe)
        heads = {"num_heads": 1} if registry.needs(entry, "num_heads") else {}
        values = registry.checked(entry, {**heads, **options})
    except UsageError:  # a probe or an option of another version
        return dict(options)
    return {key: plain(values[key]) for key in options}
