"""What a record says twice: do the parts that tables show follow from the config it was run with?

The config is part of the id; what follows from it is not, and could be edited with the seal remade.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench import registry
from bench.errors import UsageError
from bench.records.record import Result
from bench.records.run_id import plain
from bench.types import ClipPlan
from bench.verify.findings import Finding, all_of

ARRAYS = "arrays"  # features from elsewhere, which no encoder of ours made
SHARE = ("fraction", "draw", "shots", "subset_sha256", "rule", "least", "most")
WHOLE: Mapping[str, Any] = {"fraction": 1.0, "draw": 0, "rule": ""}


def check_claims(result: Result) -> Finding:
    """Say whether encoder, labels, plan, features and probe are those that the config asks for."""
    from_elsewhere = result.encoder.spec == ARRAYS
    problems = [*_encoder(result), *_labels(result), *_probe(result)]
    if not from_elsewhere:
        problems += [*_task(result), *_plan(result), *_features(result)]
    return all_of("config", problems, "the record is of the run that its config asks for")


def _encoder(result: Result) -> list[str]:
    named, encoder = result.config.get("encoder"), result.encoder
    if encoder.spec != named and (encoder.spec, named) != (ARRAYS, "none"):
        return [f"the encoder is called {encoder.spec!r}, the config names {named!r}"]
    options = result.config.get("encoder_options")
    is_random = isinstance(options, Mapping) and options.get("random") is True
    if (is_random or str(named).partition(":")[0] == "random") and not encoder.is_floor:
        return [f"{named!r} has random weights, and is not called a floor"]
    return []


def _task(result: Result) -> list[str]:
    """Return whether the config names another task that is known here."""
    named, own = result.config.get("task", result.task.name), result.task.name
    if own == named or own not in registry.names("tasks"):
        return []
    return [f"the task is called {own!r}, the config names {named!r}"]


def _labels(result: Result) -> list[str]:
    """Compare the share of the training labels with the options of the task, and of the config."""
    told, options = result.train_labels, result.task.options
    problems = []
    if (result.task.fit_split is None) != (result.data.fit is None):
        problems.append(f"task.fit_split {result.task.fit_split!r} does not go with data.fit")
    if told is not None:
        for key in SHARE:
            own, wanted = getattr(told, key), options.get(key, WHOLE.get(key))
            if own != wanted and key in {*options, *WHOLE, "shots", "subset_sha256"}:
                problems.append(f"train_labels.{key} is {own!r}, that of the task is {wanted!r}")
    asked = result.config.get("task_options")
    for key in ("fraction", "draw", "shots"):
        if isinstance(asked, Mapping) and key in asked and asked[key] != options.get(key):
            problems.append(
                f"task.options.{key} is {options.get(key)!r}, the config has {asked[key]!r}"
            )
    return problems


def _plan(result: Result) -> list[str]:
    config, said, problems = result.config, result.protocol.deviations, []
    asked = config.get("plan")
    if isinstance(asked, str):
        try:
            plan = str(ClipPlan.parse(asked))
        except UsageError:
            plan = asked
        if result.plan.score != plan:
            problems.append(f"clips to score are {result.plan.score}, the config has {plan}")
        problems += _unsaid(said, f"plan {asked} ")
    layers = config.get("layers")
    if isinstance(layers, list) and layers:
        usual = _usual_layers(result)
        if layers != usual:
            numbers = ", ".join(map(str, layers))
            problems += _unsaid(said, f"layer{'s' * (len(layers) > 1)} {numbers} ")
    draws = config.get("draws")
    if draws is not None and draws != _protocol(result, "draws", draws):
        problems += _unsaid(said, f"draws {draws} ")
    return problems


def _features(result: Result) -> list[str]:
    config, features, problems = result.config, result.features, []
    dtype = config.get("dtype", features.dtype) if features.mode == "stored" else "float32"
    if features.dtype != dtype:
        problems.append(f"features are {features.dtype}, the config gives {dtype}")
    precision = config.get("precision", "auto")
    if precision not in ("auto", features.precision):
        problems.append(f"features were made in {features.precision}, the config has {precision}")
    return problems


def _probe(result: Result) -> list[str]:
    """Return the options of the probe in the config that its settings and heads do not have."""
    probe, options = result.probe, result.config.get("probe_options")
    if probe.released_sha256 is not None or not isinstance(options, Mapping):
        return []
    problems = []
    if (named := result.config.get("probe", probe.name)) != probe.name:
        problems.append(f"the probe is called {probe.name!r}, the config names {named!r}")
    for key, wanted in _settled(probe.name, options).items():
        if key in probe.settings:
            own: Any = probe.settings[key]
            is_kept = own == wanted
        elif all(key in head for head in probe.heads):
            own = [head[key] for head in probe.heads]
            is_kept = _texts(own) == _texts(wanted if isinstance(wanted, list) else [wanted])
        else:
            continue
        if not is_kept:
            problems.append(f"the config gives the probe {key} = {wanted}, it had {own}")
    return problems


def _settled(probe: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as values: `bench probe` keeps them as they were typed, such as `[1,5]`."""
    try:
        entry = registry.find("probes", probe)
        heads = {"num_heads": 1} if registry.needs(entry, "num_heads") else {}
        values = registry.checked(entry, {**heads, **options})
    except UsageError:  # a probe or an option of another version
        return dict(options)
    return {key: plain(values[key]) for key in options}


def _unsaid(said: Iterable[str], beginning: str) -> list[str]:
    if any(sentence.startswith(beginning) for sentence in said):
        return []
    return [f"the config departs from the protocol by {beginning.strip()}, which is not on record"]


def _usual_layers(result: Result) -> list[int] | None:
    layers = _protocol(result, "layers", {}).get(result.task.name, {})
    usual = layers.get(result.encoder.depth)
    return None if usual is None else list(usual)


def _protocol(result: Result, name: str, default: Any) -> Any:
    """Return a field of the record's protocol; the default where it is not known here."""
    try:
        return getattr(registry.build("protocols", result.protocol.name, {}), name)
    except UsageError:
        return default


def _texts(values: Iterable[Any]) -> set[str]:
    return {str(value) for value in values}
