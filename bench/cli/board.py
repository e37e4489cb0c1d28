"""The command that writes tables, `bench board`, and the printing that other commands reuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import echo
from bench.cli.options import All, Home
from bench.config import home_folder
from bench.registry import split_setting

if TYPE_CHECKING:
    from bench.publish.write_board import Published

VERIFICATION_FAILED = 5


def board(
    name: Annotated[str, typer.Argument(help="Which table (see: bench ls boards).")] = "runs",
    home: Home = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files.")] = None,
    all_: All = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="OPTION=VALUE, such as targets=[0.5,0.8].")
    ] = None,
) -> None:
    """Verify the records and join them into a table: Markdown, CSV, LaTeX, JSON and an HTML page.

    Exits with code 5 if a record fails verification; the table is written without it.
    """
    options = options_of(set_ or [])
    leave(print_board(name, home_folder(home), out, include_all=all_, options=options))


def options_of(settings: Sequence[str], prefix: str = "") -> dict[str, str]:
    """Parse `OPTION=VALUE` settings, after removing `prefix`, as options of a table.

    Raises:
        UsageError: a setting without `=`.
    """
    pairs = (split_setting(setting, f"--set {prefix}OPTION=VALUE") for setting in settings)
    return {key.removeprefix(prefix): value for key, value in pairs}


def print_board(
    name: str,
    home: Path,
    out: Path | None = None,
    *,
    include_all: bool,
    options: Mapping[str, object] | None = None,
) -> Published:
    """Write a table; print its Markdown to stdout and the paths of its files to stderr."""
    from bench.publish.write_board import write_board  # pydantic and pyarrow: only where needed

    made = write_board(name, home, out, include_all=include_all, options=dict(options or {}))
    print_files(made)
    return made


def print_files(made: Published) -> None:
    """Print the Markdown of a table to stdout and the paths of its files to stderr."""
    for path in made.paths:
        if path.suffix == ".md":
            echo(path.read_text(encoding="utf-8"))
    print_paths(made)


def print_paths(made: Published) -> None:
    """Print to stderr the paths of the files, and which records were left out."""
    for path in made.paths:
        echo(str(path), err=True)
    for sentence in made.refused:
        echo(f"left out: {sentence}", err=True)


def leave(made: Published) -> None:
    """Exit with code 5 if a record was left out."""
    if made.refused:
        raise typer.Exit(VERIFICATION_FAILED)
