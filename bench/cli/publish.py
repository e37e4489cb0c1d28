"""The commands that let records out: submit, card and push."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.board import Home, Json
from bench.errors import UsageError
from bench.records.find import record_file

if TYPE_CHECKING:
    from bench.publish.hub_card import Told
    from bench.records.record import Record

Records = Annotated[list[str], typer.Argument(help="Record files, or ids in the home folder.")]
Suspect = Annotated[
    bool, typer.Option("--include-suspect", help="Also what is suspect or not reportable.")
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="TASK=ORG/NAME[:TASK_ID][@REVISION], a benchmark of the hub."),
]
Source = Annotated[
    str | None, typer.Option("--source", help="Address of these records, for readers.")
]


def submit(
    records: Records,
    out: Annotated[Path, typer.Option("--out", help="The repository of results.")],
    include_suspect: Suspect = False,
    with_probe: Annotated[bool, typer.Option(help="Also the file of the probe.")] = False,
    keep_paths: Annotated[
        bool, typer.Option(help="Let paths of this machine out: nothing is cut.")
    ] = False,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Verify records and bundle each with its predictions, manifest and config for a repository."""
    from bench.publish.submission import submit as bundle_all  # pyarrow: only where it is needed

    found = bundle_all(
        [record_file(name, home) for name in records],
        out,
        include_suspect=include_suspect,
        with_probe=with_probe,
        keep_paths=keep_paths,
    )
    if json_:
        told = [{**vars(one), "folder": str(one.folder) if one.folder else None} for one in found]
        typer.echo(json.dumps(told, indent=1))
    for one in found:
        if one.folder is not None and not json_:
            typer.echo(f"{one.folder}{'' if one.is_new else ' (there already)'}")
        word = "refused" if one.folder is None else "bundled all the same"
        for sentence in one.sentences:
            typer.echo(f"{one.record} {word}: {sentence}", err=True)
    _leave([one.code for one in found])


def card(
    records: Records,
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder with a model card, or for a new one.")
    ] = None,
    dataset: Datasets = None,
    source: Source = None,
    include_suspect: Suspect = False,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Print what records add to a model card, or write it into the card of a folder."""
    from bench.files import write_whole
    from bench.publish.hub_push import changes_of  # yaml and pyarrow: only where they are needed

    told = _told(dataset, source)
    found = _sound(records, home, include_suspect=include_suspect)

    def read(name: str) -> str | None:
        path = out / name if out is not None else None
        return path.read_bytes().decode() if path is not None and path.is_file() else None

    changes, untold = changes_of(found, told, read)
    if json_:
        typer.echo(json.dumps({one.name: one.new for one in changes}, indent=1))
    for change in changes:
        if out is not None:
            write_whole(out / change.name, change.new.encode())
        if not json_:
            shown = f"# {change.name}\n{change.new}"
            typer.echo(str(out / change.name) if out is not None else shown)
    _tell_untold(untold)


def push(
    records: Records,
    repo: Annotated[str, typer.Option("--repo", help="The model at the hub: ORG/NAME.")],
    yes: Annotated[bool, typer.Option("--yes", help="Commit; without it nothing is sent.")] = False,
    pr: Annotated[bool, typer.Option("--pr", help="As a pull request.")] = False,
    dataset: Datasets = None,
    source: Source = None,
    include_suspect: Suspect = False,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Show what records change in the card of a model at the hub, and with --yes commit it."""
    from bench.publish.hub_push import plan_push  # yaml and the hub's client
    from bench.publish.hub_push import push as commit

    told = _told(dataset, source)
    found = _sound(records, home, include_suspect=include_suspect)
    plan = plan_push(found, told, repo)
    place = commit(plan, as_pull_request=pr) if yes and plan.changes else None
    if json_:
        facts = {
            "repo": repo,
            "parent": plan.parent,
            "title": plan.title,
            "files": {one.name: one.new for one in plan.changes},
            "without_benchmark": plan.untold,
            "committed": place,
        }
        typer.echo(json.dumps(facts, indent=1))
    else:
        for change in plan.changes:
            typer.echo(change.diff, nl=False)
    _tell_untold(plan.untold)
    if not plan.changes:
        typer.echo(f"{repo} says all of this already: nothing to commit.", err=True)
    elif place is None:
        what = "a pull request" if pr else "one commit"
        typer.echo(f"Nothing was sent. With --yes this is {what} to {repo}: {plan.title}", err=True)
    else:
        typer.echo(f"committed: {place}", err=True)


def _sound(
    names: Sequence[str], home: Path | None, *, include_suspect: bool
) -> list[tuple[Record, Path]]:
    """Return verified records, each with its folder; end where one should not be published."""
    from bench.publish.submission import checked  # pyarrow: only where it is needed

    found = checked([record_file(name, home) for name in names])
    codes = []
    for one in found:
        for sentence in one.refusals:
            typer.echo(f"{one.path.stem}: {sentence}", err=True)
        codes.append(0 if one.code == 3 and include_suspect else one.code)
    if any(codes):
        typer.echo("nothing was written or sent: leave these records out", err=True)
    _leave(codes)
    return [(one.result, one.path.parent) for one in found if one.result is not None]


def _told(dataset: list[str] | None, source: str | None) -> Told:
    from bench.publish.hub_card import Told, benchmarks

    if source is not None and not source.startswith(("https://", "http://")):
        raise UsageError(f"--source {source!r}: give an address that begins with https://.")
    return Told(benchmarks=benchmarks(dataset or []), source=source)


def _tell_untold(tasks: Sequence[str]) -> None:
    for task in tasks:
        typer.echo(
            f"no .eval_results for {task}: the hub wants the benchmark that it is of, --dataset"
            f" {task}=ORG/NAME:TASK_ID",
            err=True,
        )


def _leave(codes: Sequence[int]) -> None:
    if worst := max(codes, default=0):
        raise typer.Exit(worst)
