"""The command that writes tables, `bench board`, and what prints them elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.config import home_folder
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.publish.write_board import Published

VERIFICATION_FAILED = 5

Home = Annotated[Path | None, typer.Option("--home", help="Features and records [BENCH_HOME].")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def board(
    name: Annotated[str, typer.Argument(help="Which table (see: bench ls boards).")] = "runs",
    home: Home = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also records that are not reportable.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="OPTION=VALUE, such as targets=[0.5,0.8].")
    ] = None,
) -> None:
    """Verify the records and join them into a table: Markdown, CSV, LaTeX, JSON and an HTML page.

    Ends in code 5 where a record does not prove itself; the table is written without it.
    """
    options = options_of(set_ or [])
    leave(print_board(name, home_folder(home), out, include_all=all_, options=options))


def options_of(settings: Sequence[str], prefix: str = "") -> dict[str, str]:
    """Read `OPTION=VALUE`, each with that prefix, as options of a table.

    Raises:
        UsageError: a setting without a `=`; it is named.
    """
    found = {}
    for setting in settings:
        key, equals, value = setting.removeprefix(prefix).partition("=")
        if not equals:
            raise UsageError(f"--set {setting!r} has no '='; write --set {prefix}OPTION=VALUE.")
        found[key.strip()] = value.strip()
    return found


def print_board(
    name: str,
    home: Path,
    out: Path | None = None,
    *,
    include_all: bool,
    options: Mapping[str, object] | None = None,
) -> Published:
    """Write a table, its Markdown to stdout, and where its files are to stderr."""
    from bench.publish.write_board import (
        write_board,  # pydantic and pyarrow: only where they are needed
    )

    made = write_board(name, home, out, include_all=include_all, options=dict(options or {}))
    print_files(made)
    return made


def print_files(made: Published) -> None:
    """Print the Markdown of a table to stdout, and where its files are to stderr."""
    for path in made.paths:
        if path.suffix == ".md":
            typer.echo(path.read_text(encoding="utf-8"))
    tell_files(made)


def tell_files(made: Published) -> None:
    """Say on stderr where the files are, and which records are not in them."""
    for path in made.paths:
        typer.echo(str(path), err=True)
    for sentence in made.refused:
        typer.echo(f"left out: {sentence}", err=True)


def leave(made: Published) -> None:
    """End in code 5 where a record was left out."""
    if made.refused:
        raise typer.Exit(VERIFICATION_FAILED)
