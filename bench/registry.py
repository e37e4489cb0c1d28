"""Find what is registered and build it: one decorator, one folder walk, one `build`.

An extension is one decorated, keyword-only function in a package named by an entry point of the
group `frozenbench` (as this distribution does for its own), or in a module given with `--with`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import UsageError, closest

ENTRY_POINT_GROUP = "frozenbench"
DISTRIBUTION = "frozenbench"
KINDS = ("encoders", "tasks", "probes", "protocols", "boards", "recipes", "papers")

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registered function, the kind of thing it builds and the name it is registered under."""

    kind: str
    name: str
    function: Callable[..., Any]

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").split("\n")[0]

    @property
    def options(self) -> Mapping[str, inspect.Parameter]:
        """Keyword-only options with their defaults."""
        return inspect.signature(self.function).parameters

    @property
    def facts(self) -> dict[str, Any]:
        """What `bench show` prints: kind, name, module, both docstrings, and options."""
        hints = typing.get_type_hints(self.function)
        options = {
            key: _type_name(hints.get(key, Any))
            + (" (required)" if p.default is inspect.Parameter.empty else f" = {p.default!r}")
            for key, p in self.options.items()
        }
        return {
            "kind": self.kind,
            "name": self.name,
            "module": self.function.__module__,
            "doc": inspect.getdoc(self.function) or "",
            "about": inspect.getdoc(inspect.getmodule(self.function)) or "",
            "options": options,
        }


_ENTRIES: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}


def register(kind: str, name: str | None = None) -> Callable[[F], F]:
    """Register a keyword-only function under its own name (or `name`) as one of `KINDS`.

    Raises:
        ValueError: the function takes positional or catch-all arguments, or the name is taken.
    """

    def decorate(function: F) -> F:
        """Check the function's options and name, register it, and return it unchanged."""
        title = name or function.__name__
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                raise ValueError(
                    f"{kind} {title!r}: option {parameter.name!r} must be keyword-only"
                )
        taken = _ENTRIES[kind].get(title)
        if taken and taken.function.__module__ != function.__module__:
            raise ValueError(f"{kind} {title!r} already exists in {taken.function.__module__}")
        _ENTRIES[kind][title] = Entry(kind=kind, name=title, function=function)
        return function

    return decorate


def grouped(
    function: Callable[..., T], own: Callable[..., object] | None = None
) -> Callable[..., T]:
    """Return a function that takes the fields of its dataclass parameters as separate options.

    A parameter annotated with a frozen dataclass bundles options that several functions share; its
    fields give their names, types and defaults. The result also takes the options of `own`, if
    given, and has its name and docstring; `function` receives those values as `**options`.
    """
    options = {**(_flat(own) if own else {}), **_flat(function)}

    @functools.wraps(own or function)
    def ungrouped(**values: Any) -> T:
        made: T = _call(function, values)
        return made

    hints = {name: option.annotation for name, option in options.items()}
    ungrouped.__annotations__ = {**hints, "return": typing.get_type_hints(function)["return"]}
    signature = inspect.Signature(list(options.values()))
    ungrouped.__signature__ = signature  # type: ignore[attr-defined]
    return ungrouped


def _flat(source: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Return the options of a function or dataclass, with nested dataclasses expanded in place."""
    hints = typing.get_type_hints(source)
    found: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(source).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            found |= _flat(hints[name])
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            found[name] = parameter.replace(annotation=hints[name])
    return found


def _call(source: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Call a function or dataclass with the values of its flat options."""
    hints = typing.get_type_hints(source)
    for name in inspect.signature(source).parameters:
        if dataclasses.is_dataclass(hints[name]):
            options = _flat(hints[name])
            inner = {option: values.pop(option) for option in options if option in values}
            values[name] = _call(hints[name], inner)
    return source(**values)


def encoder(function: F) -> F:
    """Register an encoder family: `function(*, weights=..., ...) -> Encoder`."""
    return register("encoders")(function)


def task(function: F) -> F:
    """Register a task: `function(*, data=None, ...) -> Task`."""
    return register("tasks")(function)


def probe(function: F) -> F:
    """Register a probe: `function(*, ...) -> Probe`."""
    return register("probes")(function)


def recipe(function: F) -> F:
    """Register a pretraining recipe: `function() -> PretrainRecipe`."""
    return register("recipes")(function)


def board(function: F) -> F:
    """Register a table: `function() -> Leaderboard`."""
    return register("boards")(function)


def paper(function: F) -> F:
    """Register published numbers: `function() -> Paper`."""
    return register("papers")(function)


@cache
def discover() -> None:
    """Import every module of every package named by an entry point of `frozenbench`.

    Raises:
        UsageError: another package shadows one of this distribution.
    """
    for package in own_packages():
        _refuse_shadowing(package)
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        load_module(point.value)


@cache
def own_packages() -> tuple[str, ...]:
    """Return the names of the packages of this distribution."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    own = [point.value for point in points if point.dist and point.dist.name == DISTRIBUTION]
    return tuple(sorted({name.partition(".")[0] for name in [__name__, *own]}))


def is_ours(module: str) -> bool:
    """Whether a module is part of this distribution."""
    return module.partition(".")[0] in own_packages()


def load_extension(name: str) -> None:
    """Import a module that the user named, with all submodules if it is a package.

    Raises:
        UsageError: it is not installed, or one in the working directory is shadowed by another.
    """
    # Only for a module that the user named, and last: a folder may share a name with our packages.
    if "" not in sys.path:
        sys.path.append("")
    path = Path.cwd().joinpath(*name.split("."))
    here = [file for file in (path / "__init__.py", Path(f"{path}.py")) if file.is_file()]
    top = name.partition(".")[0]
    found = _location(top)
    if here and name not in sys.modules and found and found.parent != Path.cwd().resolve():
        raise UsageError(
            f"{here[0]} is hidden, because Python finds {top!r} in {found}: rename yours."
        )
    load_module(name)


def load_module(name: str) -> None:
    """Import a module, with all submodules if it is a package.

    Raises:
        UsageError: the module, or something it imports, is not installed.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"cannot import {name!r}: there is no module {error.name!r}; install it, or run from"
            " the folder that contains it."
        ) from error
    for item in pkgutil.iter_modules(getattr(module, "__path__", [])):
        importlib.import_module(f"{name}.{item.name}")


def _refuse_shadowing(package: str) -> None:
    """Refuse a package with the name of one of ours, such as the user's own folder `tasks`."""
    ours, found = Path(__file__).resolve().parents[1] / package, _location(package)
    if found and found != ours:
        raise UsageError(
            f"{found} hides the package {package!r} of {DISTRIBUTION}, which is {ours}: rename"
            " yours, remove its folder from PYTHONPATH, or run from another folder."
        )


def _location(top: str) -> Path | None:
    """Return the folder or file that Python would import a module from, without importing it."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return Path(spec.origin or top).resolve()
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def names(kind: str) -> list[str]:
    """Return the registered names of a kind, sorted."""
    return [entry.name for entry in entries(kind)]


def entries(kind: str) -> list[Entry]:
    """Return what is registered as `kind` (one of `KINDS`), sorted by name."""
    discover()
    if kind not in _ENTRIES:
        raise UsageError(f"there are no {kind!r}.{closest(kind, KINDS)}")
    return sorted(_ENTRIES[kind].values(), key=lambda entry: entry.name)


def find(kind: str, name: str) -> Entry:
    """Return the entry called `name`.

    Raises:
        UsageError: nothing has that name; the message has the closest match.
    """
    for entry in entries(kind):
        if entry.name == name:
            return entry
    raise UsageError(f"there is no {kind[:-1]} {name!r}.{closest(name, names(kind))}")


def build(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """Call the function registered as `name` with `options`, checked against its signature.

    String values (from `--set`) are converted to the annotated type.

    Raises:
        UsageError: an unknown option, a missing one, or a value of the wrong type.
    """
    entry = find(kind, name)
    return entry.function(**checked(entry, options))


def checked(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with values converted to their annotated types, or raise `UsageError`."""
    what = f"{entry.kind[:-1]} {entry.name!r}"
    hints = typing.get_type_hints(entry.function)
    for key in options:
        if key not in entry.options:
            raise UsageError(f"{what} has no option {key!r}.{closest(key, entry.options)}")
    for key, parameter in entry.options.items():
        if parameter.default is inspect.Parameter.empty and key not in options:
            raise UsageError(f"{what} needs the option {key!r}: {entry.summary}")
    return {k: convert(v, hints.get(k, Any), f"{what}: option {k!r}") for k, v in options.items()}


def needs(entry: Entry, option: str) -> bool:
    """Whether a registered function has this option without a default."""
    parameter = entry.options.get(option)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def split_setting(setting: str, form: str) -> tuple[str, str]:
    """Return key and value of `KEY=VALUE`, or raise `UsageError` with `form`, how to write it."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise UsageError(f"{form.partition(' ')[0]} {setting!r} has no '='; write {form}.")
    return key.strip(), value.strip()


def convert(value: Any, hint: Any, what: str) -> Any:
    """Convert a string or TOML value to the annotated type `hint`.

    Raises:
        UsageError: the value cannot be read as that type.
    """
    failure = UsageError(f"{what} should be {_type_name(hint)}, not {value!r}.")
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or value is None:
        return value
    if origin in (types.UnionType, typing.Union):
        if isinstance(value, str) and value.lower() in ("none", "null") and type(None) in inner:
            return None
        for option in (i for i in inner if i is not type(None)):
            try:
                return convert(value, option, what)
            except UsageError:
                continue
        raise failure
    if origin is typing.Literal:
        if value in inner:
            return value
        raise UsageError(f"{what}: {value!r} is not one of {', '.join(map(str, inner))}.")
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Iterable)):
        items = value
        if isinstance(value, str):
            items = [part for part in value.strip("[]() ").split(",") if part.strip()]
        elif not isinstance(value, (list, tuple)):
            items = [value]
        made = (convert(i.strip() if isinstance(i, str) else i, inner[0], what) for i in items)
        return tuple(made)
    return _scalar(value, hint, failure)


def _scalar(value: Any, hint: Any, failure: UsageError) -> Any:
    if hint is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise failure
    if hint in (int, float, str, Path):
        if isinstance(value, bool) or (hint is int and isinstance(value, float)):
            raise failure
        try:
            return hint(value)
        except (TypeError, ValueError):
            raise failure from None
    return value


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint)  # type: ignore[return-value]
