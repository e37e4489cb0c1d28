"""What to run and where: a `RunConfig` from a TOML file or a record, overridden by `--set`.

A TOML file has the keys of `RunConfig` at the top level and the options of the registered functions
in the tables `[encoder_options]`, `[task_options]` and `[probe_options]`:

    encoder = "vjepa:vitl16.pth.tar"
    task = "folder"
    probe = "attentive"

    [probe_options]
    epochs = 10
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench import registry
from bench.errors import UsageError, closest, shown_address
from bench.files import parse_json
from bench.types import ClipPlan, Settings

# Encoders that run the code which their name leads to, and the option that consents to it.
RUN_CODE, CONSENT = ("py", "torchhub"), "trust_remote_code"
TABLES = {"encoder": "encoder_options", "task": "task_options", "probe": "probe_options"}


_WHOLE_ADDRESSES: dict[str, str] = {}  # what is shown of an address -> the address


def set_secrets_aside(value: Any) -> Any:
    """Return a setting (text, list or table) without the secrets of the addresses in it.

    `whole_address` has them, in this process alone.

    Raises:
        UsageError: an address that differs from an earlier one only in its secrets.
    """
    if isinstance(value, Mapping):
        return {key: set_secrets_aside(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(set_secrets_aside, value))
    if not isinstance(value, str) or "://" not in value:
        return value
    scheme = re.search(r"[a-z][a-z0-9+.-]*://", value, re.IGNORECASE)
    start = scheme.start() if scheme else 0  # after NAME: or KEY=
    shown = value[:start] + shown_address(value[start:])
    if (
        shown != value
        and _WHOLE_ADDRESSES.setdefault(shown[start:], value[start:]) != value[start:]
    ):
        raise UsageError(
            f"{shown} names two addresses that differ only in user, password, query or fragment,"
            " which are never recorded; use one of them, or download the files."
        )
    return shown


def whole_address(shown: str) -> str:
    """Return an address with the secrets that were set aside.

    Raises:
        UsageError: they are not known to this process.
    """
    if "?..." in shown or "://...@" in shown or shown.endswith("#..."):
        if shown not in _WHOLE_ADDRESSES:
            raise UsageError(
                f"{shown} was recorded without its user, password, query or fragment; give the"
                " whole address again: --encoder NAME:ADDRESS."
            )
        return _WHOLE_ADDRESSES[shown]
    return shown


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: an encoder, a task, a probe and a protocol, with their options.

    `plan` replaces the task's clip plan. `score_clips`: where the scored clips of V-JEPA's released
    protocols are if a segment is longer than a clip: as the protocol has them, drawn with the seed
    as in the released code, or centred. `layers` are encoder blocks, counted from 0: their tokens
    are concatenated along the sequence, their vectors along the width (None: the protocol's blocks,
    usually the last). `draws` is the number of augmented draws stored per training sample (None:
    the protocol's). `features`: stored, or computed live in every epoch. `limit` truncates each
    split and makes the run not reportable. Labels that look permuted stop the run, or are kept and
    make it suspect. Addresses are kept without their secrets (`set_secrets_aside`).
    """

    encoder: str
    task: str
    probe: str
    protocol: str = "honest@1"
    plan: str | None = None
    score_clips: Literal["protocol", "drawn", "centred"] = "protocol"
    layers: tuple[int, ...] | None = None
    seed: int = 0
    draws: int | None = None
    features: Literal["auto", "stored", "live"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    dtype: Literal["float16", "float32"] = "float16"
    decoder: Literal["auto", "decord", "pyav", "torchcodec"] = "auto"
    on_unreadable: Literal["stop", "wrong", "skip"] = "stop"
    on_permuted_labels: Literal["stop", "keep"] = "stop"
    limit: int | None = None
    encoder_options: Settings = field(default_factory=dict)
    task_options: Settings = field(default_factory=dict)
    probe_options: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("encoder", *TABLES.values()):
            object.__setattr__(self, key, set_secrets_aside(getattr(self, key)))
        if self.plan is not None:
            ClipPlan.parse(self.plan)
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if not self.layers or [*self.layers] != sorted({*self.layers}) or self.layers[0] < 0:
                raise UsageError(
                    f"layers = {list(self.layers)}: give block indices, counted from 0 and"
                    " ascending, such as --set layers=[17,19,21,23]."
                )
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"seed = {self.seed}: it must be from 0 to {(1 << 63) - 1}.")
        for key in ("draws", "limit"):
            value = getattr(self, key)
            if value is not None and value < (1 if key == "limit" else 0):
                raise UsageError(
                    f"{key} = {value}: it must be at least {1 if key == 'limit' else 0}."
                )


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run happens; nothing here may change a result.

    `home` holds features, records and downloaded weights; `data` holds the data sets.
    """

    home: Path
    data: Path | None = None
    device: str = "auto"
    workers: int = 0
    batch_size: int = 8
    overwrite: bool = False


def home_folder(given: Path | None = None) -> Path:
    """Return `given`, `$BENCH_HOME`, or `frozenbench` in the user's cache folder."""
    if given is not None:
        return given
    if os.environ.get("BENCH_HOME"):
        return Path(os.environ["BENCH_HOME"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frozenbench"


def data_folder(given: Path | None = None) -> Path | None:
    """Return `given` or `$BENCH_DATA`, if either is set."""
    return given or (Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None)


def read_config(
    path: Path, *, allow_code: bool = False, replaced: Sequence[str] = ()
) -> dict[str, Any]:
    """Read the keys of `RunConfig` from a TOML file or from the config in a record (JSON).

    No file consents to running code: encoders that do are refused unless `allow_code`, except for
    the `replaced` keys, which are given elsewhere; `trust_remote_code` in a record only says what
    was typed then, and is left out.

    Raises:
        UsageError: no such file, not TOML or JSON, an unknown key, or code without consent.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = parse_json(text) if path.suffix == ".json" else tomllib.loads(text)
        values = values["config"] if path.suffix == ".json" else values
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path} is neither a TOML configuration nor a record with a config ({error})."
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} has no configuration; give a TOML file or a record.")
    keys = [f.name for f in dataclasses.fields(RunConfig)]
    for key in values:
        if key not in keys:
            raise UsageError(f"{path}: unknown key {key!r}.{closest(key, keys)}")
    if CONSENT in _option_names(values):
        if path.suffix != ".json" or not allow_code:
            raise UsageError(
                f"{path} has {CONSENT}, but only the command line can consent to running code: if"
                " you trust it, remove that option and add --allow-code --trust-remote-code."
            )
        values = _without_consent(values)
    named = values.get("encoder") if "encoder" not in replaced else None
    for name in named if isinstance(named, list) else [named]:
        if not allow_code and str(name).partition(":")[0].strip() in RUN_CODE:
            raise UsageError(
                f"{path} names the encoder {name!r}, which would run code on this machine; if you"
                " trust it, add --allow-code."
            )
    return dict(values)


def _option_names(values: Any) -> set[str]:
    """Return the last part of every key at any depth."""
    if not isinstance(values, Mapping):
        return set()
    below = (_option_names(inner) for inner in values.values())
    return {key.rpartition(".")[2] for key in values}.union(*below)


def _without_consent(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    kept = (key for key in values if key.rpartition(".")[2] != CONSENT)
    return {key: _without_consent(values[key]) for key in kept}


def expand(values: Mapping[str, Any], settings: Sequence[str]) -> list[RunConfig]:
    """Return one `RunConfig` per encoder x task x probe; `--set` pairs override `values`.

    `values["encoder"]`, `["task"]` and `["probe"]` may be lists. A setting is `key=value`;
    `encoder.option=value`, `task.option=value` or `probe.option=value` for all of them; or
    `probe.NAME.option=value` for the one named NAME.

    Raises:
        UsageError: a missing name, a malformed setting or an unknown key.
    """
    merged = dict(values)
    tables = {kind: _table(table, merged.pop(table, {})) for kind, table in TABLES.items()}
    hints = typing.get_type_hints(RunConfig)
    for setting in settings:
        key, value = registry.split_setting(setting, "--set KEY=VALUE")
        kind, _, option = key.partition(".")
        if option:
            if kind not in tables:
                raise UsageError(f"--set {key}: {kind!r} takes no options.{closest(kind, tables)}")
            tables[kind][option] = value
        elif kind in hints and kind not in TABLES.values():
            merged[kind] = registry.convert(value, hints[kind], f"--set {kind}")
        else:
            raise UsageError(f"--set {key}: unknown key.{closest(kind, hints)}")
    names = {kind: _names(kind, merged.pop(kind, None)) for kind in TABLES}
    for key, value in merged.items():
        merged[key] = registry.convert(value, hints[key], key)
    return [
        RunConfig(
            encoder=encoder,
            task=task,
            probe=probe,
            encoder_options=_options(tables["encoder"], encoder, names["encoder"]),
            task_options=_options(tables["task"], task, names["task"]),
            probe_options=_options(tables["probe"], probe, names["probe"]),
            **merged,
        )
        for encoder, task, probe in itertools.product(*names.values())
    ]


def _names(kind: str, given: str | Sequence[str] | None) -> list[str]:
    items = [given] if isinstance(given, str) else given or []
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise UsageError(f"{kind} = {given!r}: it must be a name or a list of names.")
    if kind != "encoder":  # the path in an encoder may contain a comma
        items = [part.strip() for item in items for part in item.split(",") if part.strip()]
    if not items:
        raise UsageError(f"no {kind} is named; give --{kind} NAME (see: bench ls {kind}s).")
    return list(dict.fromkeys(items))


def _table(name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise UsageError(f"{name} = {given!r}: it must be a table of options, [{name}].")
    return dict(given)


def _options(table: Mapping[str, Any], name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the options for all names, and those for this one (`NAME.option`, nested table)."""
    chosen: dict[str, Any] = {}
    for key, value in table.items():
        owner, dot, option = key.partition(".")
        if dot:
            if owner not in names:
                raise UsageError(
                    f"--set {key}: {owner!r} is not in this run.{closest(owner, names)}"
                )
            if owner == name:
                chosen[option] = value
        elif isinstance(value, Mapping):
            if key not in names:
                raise UsageError(f"[{key}]: {key!r} is not in this run.{closest(key, names)}")
            chosen.update(value if key == name else {})
        else:
            chosen.setdefault(key, value)
    return chosen
