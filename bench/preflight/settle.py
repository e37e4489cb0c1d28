"""Normalise the configuration of a run, so that the same run always has the same identity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import registry
from bench.config import Machine, RunConfig
from bench.data.few_labels import normalised_options
from bench.encoders.named import builder, name_and_weights
from bench.types import Settings


def settled(config: RunConfig, machine: Machine | None = None) -> RunConfig:
    """Check every name and option against the registries, and return the normalised run.

    Option texts are converted to their types and the encoder becomes `NAME:WEIGHTS` (a fixed step
    if a pretraining run is named). Data sets are looked up on `machine`.

    Raises:
        UsageError: an unknown name or option, or a value of the wrong type.
    """
    name, weights = name_and_weights(config.encoder)
    builds, named = builder(name, weights)
    encoder = registry.checked(builds, {**config.encoder_options, **named})
    entry = registry.find("tasks", config.task)
    task = registry.checked(entry, settled_task_options(config, machine))
    defaults = {key: option.default for key, option in entry.options.items()}
    probe = registry.find("probes", config.probe)
    given = dict(config.probe_options)
    if registry.needs(probe, "num_heads"):
        given.setdefault("num_heads", 1)
    options = registry.checked(probe, given)
    registry.find("protocols", config.protocol)
    return replace(
        config,
        encoder=f"{name}:{weights}" if weights else name,
        encoder_options={key: encoder[key] for key in config.encoder_options},
        task_options=normalised_options({key: task[key] for key in config.task_options}, defaults),
        probe_options={key: options[key] for key in config.probe_options},
    )


def settled_task_options(config: RunConfig, machine: Machine | None) -> dict[str, Any]:
    """Return the task's options, with `data` of the machine as the default if it takes `data`."""
    data = data_of(machine, config.task) if machine is not None else None
    return with_data(config.task, data, config.task_options)


def with_data(task: str, data: Path | None, options: Settings) -> dict[str, Any]:
    """Return the options of a task, with `data` as the default if it takes `data`."""
    takes_data = data is not None and "data" in registry.find("tasks", task).options
    return {**({"data": data} if takes_data else {}), **options}


def data_of(machine: Machine, task: str) -> Path | None:
    """Return the data folder of a task: `machine.data`, or what `bench data add` remembered."""
    added = machine.home / "data"
    names = (task, task.removesuffix("_low_shot"))
    remembered = any((added / name).is_dir() for name in names)
    return added if machine.data is None and remembered else machine.data
