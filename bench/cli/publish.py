"""The commands that export records: submit, card and push."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import echo
from bench.cli.options import Home, Json
from bench.errors import UsageError
from bench.records.find import record_file

if TYPE_CHECKING:
    from bench.publish.hub_card import Provenance
    from bench.records.record import Record

Records = Annotated[list[str], typer.Argument(help="Record files, or ids in the home folder.")]
Suspect = Annotated[
    bool, typer.Option("--include-suspect", help="Include suspect and unreportable records.")
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="TASK=ORG/NAME[:TASK_ID][@REVISION], a benchmark on the hub."),
]
Source = Annotated[
    str | None, typer.Option("--source", help="URL where readers find these records.")
]


def submit(
    records: Records,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results repository.")],
    include_suspect: Suspect = False,
    with_probe: Annotated[bool, typer.Option(help="Include the file of the probe.")] = False,
    keep_paths: Annotated[
        bool, typer.Option(help="Keep the paths of this machine in the records.")
    ] = False,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Verify records and bundle each with its predictions, manifest and config for a repository."""
    from bench.publish.submission import submit as bundle_all  # pyarrow: only where needed

    found = bundle_all(
        [record_file(name, home) for name in records],
        out,
        include_suspect=include_suspect,
        with_probe=with_probe,
        keep_paths=keep_paths,
    )
    if json_:
        facts = [{**vars(one), "folder": str(one.folder) if one.folder else None} for one in found]
        echo(json.dumps(facts, indent=1))
    for one in found:
        if one.folder is not None and not json_:
            echo(f"{one.folder}{'' if one.is_new else ' (already there)'}")
        word = "refused" if one.folder is None else "bundled anyway"
        for sentence in one.sentences:
            echo(f"{one.record} {word}: {sentence}", err=True)
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
    from bench.publish.hub_push import changes_of  # yaml and pyarrow: only where needed

    provenance = _provenance(dataset, source)
    found = _publishable(records, home, include_suspect=include_suspect)

    def read(name: str) -> str | None:
        path = out / name if out is not None else None
        return path.read_bytes().decode() if path is not None and path.is_file() else None

    changes, without_benchmark = changes_of(found, provenance, read)
    if json_:
        echo(json.dumps({one.name: one.new for one in changes}, indent=1))
    for change in changes:
        if out is not None:
            write_whole(out / change.name, change.new.encode())
        if not json_:
            shown = f"# {change.name}\n{change.new}"
            echo(str(out / change.name) if out is not None else shown)
    _print_without_benchmark(without_benchmark)


def push(
    records: Records,
    repo: Annotated[str, typer.Option("--repo", help="The model on the hub: ORG/NAME.")],
    yes: Annotated[bool, typer.Option("--yes", help="Commit; without it nothing is sent.")] = False,
    pr: Annotated[bool, typer.Option("--pr", help="Open a pull request instead.")] = False,
    dataset: Datasets = None,
    source: Source = None,
    include_suspect: Suspect = False,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Show what records change in a model card on the hub, and commit it with --yes."""
    from bench.publish.hub_push import plan_push  # yaml and the hub's client
    from bench.publish.hub_push import push as commit

    found = _publishable(records, home, include_suspect=include_suspect)
    plan = plan_push(found, _provenance(dataset, source), repo)
    url = commit(plan, as_pull_request=pr) if yes and plan.changes else None
    if json_:
        facts = {
            "repo": repo,
            "parent": plan.parent,
            "title": plan.title,
            "files": {one.name: one.new for one in plan.changes},
            "without_benchmark": plan.without_benchmark,
            "committed": url,
        }
        echo(json.dumps(facts, indent=1))
    else:
        for change in plan.changes:
            echo(change.diff, nl=False)
    _print_without_benchmark(plan.without_benchmark)
    if not plan.changes:
        echo(f"{repo} is up to date: nothing to commit.", err=True)
    elif url is None:
        what = "a pull request" if pr else "one commit"
        echo(f"Nothing was sent. --yes makes {what} to {repo}: {plan.title}", err=True)
    else:
        echo(f"committed: {url}", err=True)


def _publishable(
    names: Sequence[str], home: Path | None, *, include_suspect: bool
) -> list[tuple[Record, Path]]:
    """Return verified records, each with its folder; exit if one should not be published."""
    from bench.publish.submission import checked  # pyarrow: only where needed

    found = checked([record_file(name, home) for name in names])
    codes = []
    for one in found:
        for sentence in one.refusals:
            echo(f"{one.path.stem}: {sentence}", err=True)
        codes.append(0 if one.code == 3 and include_suspect else one.code)
    if any(codes):
        echo("nothing was written or sent; leave these records out", err=True)
    _leave(codes)
    return [(one.record, one.path.parent) for one in found if one.record is not None]


def _provenance(dataset: list[str] | None, source: str | None) -> Provenance:
    from bench.publish.hub_card import Provenance, benchmarks

    if source is not None and not source.startswith(("https://", "http://")):
        raise UsageError(f"--source {source!r}: give a URL that begins with https://.")
    return Provenance(benchmarks=benchmarks(dataset or []), source=source)


def _print_without_benchmark(tasks: Sequence[str]) -> None:
    for task in tasks:
        echo(
            f"no .eval_results for {task}: name its benchmark on the hub with --dataset"
            f" {task}=ORG/NAME:TASK_ID",
            err=True,
        )


def _leave(codes: Sequence[int]) -> None:
    if worst := max(codes, default=0):
        raise typer.Exit(worst)
