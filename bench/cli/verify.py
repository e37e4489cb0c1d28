"""The commands that check records: `bench verify`, `bench replay` and `bench explain`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.cli.compare import placed
from bench.cli.console import TerminalProgress, echo, open_console
from bench.cli.options import AllowCode, Data, Device, Home, Json, Workers
from bench.cli.outcomes import FAILED, exit_by
from bench.config import Machine, data_folder, home_folder
from bench.errors import BenchError
from bench.records.differences import Difference, as_json, short_text
from bench.records.find import record_file

if TYPE_CHECKING:
    from bench.compare.compare_records import Comparison
    from bench.compare.explain import Explanation
    from bench.records.record import Record
    from bench.studies.replay import Replayed
    from bench.verify.findings import Verdict

STYLES = {"ok": "green", "unchecked": "dim", "suspect": "yellow", "failed": "red"}


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECORD|FOLDER]...", help="Files, ids or folders [HOME/records]."),
    ] = None,
    home: Home = None,
    strict: Annotated[bool, typer.Option(help="Treat what cannot be checked as suspect.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print checks that passed.")
    ] = False,
    json_: Json = False,
) -> None:
    """Recompute the numbers of records from the files next to them, and report what is wrong.

    In a folder every record below it is checked, with the others as controls: the checker of a
    results repository. For a record that is named, its features are verified too, if HOME has them
    (all features: bench store verify). Exit code 5: a record contradicts itself or its files; 3:
    one is suspect (not above chance or untrained weights, predictions of another model) or not
    reportable; 0 otherwise.
    """
    from bench.publish.results_repository import verify_paths  # pyarrow

    folder = home_folder(home) / "records"
    paths = [
        Path(name) if Path(name).is_dir() else record_file(name, home)
        for name in names or [str(folder)]
    ]
    verdicts = verify_paths(paths, strict=strict)
    if names and not any(path.is_dir() for path in paths):
        verdicts = [_with_features(verdict, home_folder(home)) for verdict in verdicts]
    if json_:
        for verdict in verdicts:
            echo(json.dumps(_verdict_facts(verdict)))
    else:
        _print_verdicts(verdicts, verbose=verbose)
    exit_by(verdicts)


def replay(
    record: Annotated[str, typer.Argument(help="The file of a record, or its id.")],
    home: Home = None,
    data: Data = None,
    device: Device = "auto",
    workers: Workers = 2,
    reuse_features: Annotated[
        bool, typer.Option(help="Read stored features of HOME instead of extracting them again.")
    ] = False,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Allowed change of the number, such as 0.001.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-m", help="NAME:WEIGHTS on this machine.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for paths that differ here.")
    ] = None,
    probe_weights: Annotated[
        Path | None, typer.Option(help="The released probe file that was scored.")
    ] = None,
    head_classes: Annotated[
        str | None, typer.Option(help="As given to bench run with that file.")
    ] = None,
    allow_code: AllowCode = False,
    json_: Json = False,
) -> None:
    """Run a record again in a scratch folder, and show every field that comes out differently.

    Exit code 0: the outcome is equal or within --tolerance; 5: it is not.
    """
    from bench.studies.replay import replay as run_again  # torch

    given = (*([f"encoder={encoder}"] if encoder else []), *(set_ or []))
    machine = Machine(
        home=home_folder(home), data=data_folder(data), device=device, workers=workers
    )
    found = run_again(
        record_file(record, home),
        machine,
        TerminalProgress(),
        reuse_features=reuse_features,
        settings=given,
        probe_weights=probe_weights,
        head_classes=head_classes,
        allow_code=allow_code,
    )
    if json_:
        echo(json.dumps(_replay_facts(found)))
    else:
        _print_replay(found)
    if not found.agrees(tolerance):
        raise typer.Exit(FAILED)


def explain(
    a: Annotated[str, typer.Argument(help="The file of a record, or its id.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    home: Home = None,
    json_: Json = False,
) -> None:
    """Show every input in which two records differ, and whether it can change the number."""
    from bench.compare.compare_records import compare_records
    from bench.compare.explain import explain as sort_inputs

    here, there = placed(a, home), placed(b, home)
    one, other = here.record, there.record
    found = sort_inputs(one, other, home_folder(home))
    compared, why = None, ""
    try:
        compared = compare_records(here, there, cache=home_folder(home) / "cache")
    except BenchError as error:  # that the numbers do not compare is part of the answer
        why = str(error)
    if json_:
        facts = _explanation_facts(found, one, other, compared)
        echo(json.dumps({**facts, "not_compared": why}))
    else:
        _print_explanation(found, one, other, compared)
        if why:
            echo(f"not compared: {why}")


# ------------------------------------------------------------------------------------------- verify
def _print_verdicts(verdicts: Sequence[Verdict], *, verbose: bool) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("record", "check", "outcome"):
        table.add_column(title, no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for verdict in verdicts:
        for finding in verdict.findings:
            if verbose or finding.outcome != "ok":
                mark = Text(finding.outcome, style=STYLES[finding.outcome])
                name = verdict.record_id or verdict.path.name
                table.add_row(name, finding.check, mark, finding.sentence)
    if table.row_count:
        open_console().print(table)
    number = Counter(str(verdict.status) for verdict in verdicts)
    parts = [f"{number[name]:,} {name}" for name in reversed(STYLES) if number[name]]
    echo(f"{len(verdicts):,} verified: {', '.join(parts)}", err=True)
    recorded = [verdict.record.status for verdict in verdicts if verdict.record is not None]
    if recorded.count("not_reportable"):
        echo(f"{recorded.count('not_reportable'):,} not reportable", err=True)


def _with_features(verdict: Verdict, home: Path) -> Verdict:
    """Verify the stored features of a record, if there are any."""
    from bench.features.verify_blocks import verify_features  # torch
    from bench.verify.findings import failed, ok

    if verdict.record is None:
        return verdict
    part = verdict.record.features
    keys = {key for key in (part.fit_key, part.score_key) if key is not None}
    stored = verify_features(home, TerminalProgress(), keys=keys)
    finding = ok("features", f"{stored.files} stored files are as they were written")
    if stored.damaged:
        finding = failed("features", "; ".join(stored.damaged.values()))
    return replace(verdict, findings=(*verdict.findings, finding)) if stored.files else verdict


def _verdict_facts(verdict: Verdict) -> dict[str, Any]:
    return {
        "record": verdict.record_id,
        "path": str(verdict.path),
        "status": verdict.status,
        "recorded_status": verdict.record.status if verdict.record is not None else None,
        "findings": [vars(finding) for finding in verdict.findings],
    }


# ------------------------------------------------------------------------------------------- replay
def _print_replay(found: Replayed) -> None:
    old, new = found.old.headline, found.new.headline
    echo(f"{found.old.task.metric} {old!r} on record, {new!r} now ({new - old:+.6f})")
    if found.changes is None:
        echo("predictions cannot be compared: their file is missing or has other rows")
    else:
        moved = found.changes
        text = (
            f"{moved.moved:,} of {moved.rows:,} predictions moved, by at most {moved.largest:.3g}"
        )
        if moved.other_class is not None:
            text += f"; {moved.other_class:,} changed class"
        echo(text)
    _print_differences("differs from the record", found.differing)
    echo("equal to the record" if found.is_equal else "not equal to the record", err=True)


def _replay_facts(found: Replayed) -> dict[str, Any]:
    return {
        "record": found.old.id,
        "equal": found.is_equal,
        "number": {"old": found.old.headline, "new": found.new.headline},
        "predictions": vars(found.changes) if found.changes is not None else None,
        "differing": [as_json(one) for one in found.differing],
    }


# ------------------------------------------------------------------------------------------ explain
def _print_explanation(
    found: Explanation, a: Record, b: Record, compared: Comparison | None
) -> None:
    _print_differences("decides the number", [*found.decide, *found.features])
    for title in found.unknown:
        echo(f"  {title}: unknown, because the feature store is not in HOME")
    _print_differences("may move it by rounding", found.rounding)
    _print_differences("cannot move it", found.harmless)
    for name, record in (("A", a), ("B", b)):
        metric = record.task.metric
        echo(f"{name} {record.id} {record.encoder.name}: {metric} {record.headline!r}")
    if compared is None:
        return
    paired = compared.paired
    low, high = paired.interval.low, paired.interval.high
    echo(
        f"A - B {100 * paired.difference:+.2f} points, 95 % interval {100 * low:+.2f} to"
        f" {100 * high:+.2f}, p {paired.p:.3g} ({paired.method}), over {paired.n:,}"
        f" {compared.unit} in both"
    )


def _explanation_facts(
    found: Explanation, a: Record, b: Record, compared: Comparison | None
) -> dict[str, Any]:
    from bench.metrics.paired import as_json as paired_facts

    groups = ("decide", "features", "rounding", "harmless")
    return {
        **{name: [as_json(one) for one in getattr(found, name)] for name in groups},
        "unknown": list(found.unknown),
        "numbers": {"a": a.headline, "b": b.headline},
        "paired": paired_facts(compared.paired) if compared is not None else None,
    }


def _print_differences(title: str, found: Sequence[Difference]) -> None:
    echo(f"{title}: {'nothing' if not found else ''}".rstrip())
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for one in found:
        table.add_row(one.field, short_text(one.a), short_text(one.b))
    if found:
        open_console().print(table)
