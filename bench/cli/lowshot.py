"""The command for studies with few labels: `bench lowshot`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from bench.cli.board import leave, print_paths
from bench.cli.console import echo
from bench.cli.options import (
    AllowCode,
    BatchSize,
    Config,
    Data,
    Device,
    Encoder,
    Home,
    Json,
    OnUnreadable,
    Overwrite,
    Plan,
    Probes,
    Protocol,
    Seed,
    Sets,
    TableFolder,
    Tasks,
    Workers,
    configs_of,
    machine_of,
)
from bench.cli.outcomes import any_unreportable, exit_as_verified, print_reasons
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.config import Machine
    from bench.evaluate.evaluate import Outcome
    from bench.records.record import TrainLabelsPart

BOARD = "low_shot"
DEFAULT_PERCENTS = "5,10,50,100"  # V-JEPA's table 7, and all labels

N = TypeVar("N", int, float)


def lowshot(
    config: Config = None,
    encoder: Encoder = None,
    task: Tasks = None,
    probe: Probes = None,
    fractions: Annotated[
        str | None, typer.Option(help=f"Percentages of the training labels [{DEFAULT_PERCENTS}].")
    ] = None,
    shots: Annotated[str | None, typer.Option(help="Training labels per class: 1,5,10.")] = None,
    draws: Annotated[int, typer.Option(help="Random draws per share of the labels.")] = 3,
    target: Annotated[
        str | None, typer.Option(help="Accuracies in percent: how many labels reach them?")
    ] = None,
    protocol: Protocol = None,
    plan: Plan = None,
    seed: Seed = None,
    on_unreadable: OnUnreadable = None,
    set_: Sets = None,
    write_splits: Annotated[
        Path | None, typer.Option(help="Folder for lists of the training rows of every draw.")
    ] = None,
    allow_code: AllowCode = False,
    home: Home = None,
    data: Data = None,
    out: TableFolder = None,
    device: Device = "auto",
    workers: Workers = 2,
    batch_size: BatchSize = 8,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Evaluate with few labels: fractions or shots, draws and probes from one pass of features."""
    from bench.cli.console import TerminalProgress
    from bench.studies.low_shot_study import study  # torch: only where needed

    given = {
        "encoder": encoder, "task": task, "probe": probe, "protocol": protocol, "plan": plan,
        "seed": seed, "on_unreadable": on_unreadable,
    }  # fmt: skip
    if fractions is None and shots is None:
        fractions = DEFAULT_PERCENTS
    targets = _fractions(target, "--target")
    machine = machine_of(home, data, device, workers, batch_size, overwrite=overwrite)
    made = study(
        configs_of(config, given, set_, allow_code=allow_code),
        machine,
        TerminalProgress(),
        fractions=_fractions(fractions, "--fractions"),
        shots=_numbers(shots, "--shots", int),
        draws=draws,
        splits=write_splits,
    )
    outcomes: list[Outcome] = []
    refusal = None
    try:
        for outcome in made:
            outcomes.append(outcome)
            if json_:
                echo(json.dumps(outcome.record.model_dump(mode="json")))
    except UsageError as error:  # some runs failed
        if not outcomes:
            raise
        refusal = error
    finally:  # runs that finished before a failure are on record, and are shown
        if not json_:
            _print(outcomes)
    _publish(outcomes, machine, out, targets)
    if refusal is not None:
        raise refusal
    exit_as_verified(outcomes, json_=json_)


def _print(outcomes: Sequence[Outcome]) -> None:
    """Print one line per encoder, task and probe, with mean and deviation for each share."""
    from bench.cli.console import open_console
    from bench.metrics.label_efficiency import spread
    from bench.records.metrics import SHORT_NAMES  # pydantic: only where needed

    if not outcomes:
        return
    rows = _by_row_and_share(outcomes)
    shares = _titles(outcomes)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("encoder", "task", "probe"):
        table.add_column(title)
    for share in shares:
        table.add_column(share, justify="right")
    for row, found in rows.items():
        cells = []
        for share in shares:
            values = found.get(share, [])
            deviation = spread(values)
            mean = f"{sum(values) / len(values):.1f}" if values else ""
            cells.append(mean if deviation is None else f"{mean} ± {deviation:.1f}")
        table.add_row(*row, *cells)
    open_console().print(table)
    names = sorted({SHORT_NAMES[outcome.record.task.metric] for outcome in outcomes})
    number = " or ".join(names)
    echo(f"{number} in %, mean ± standard deviation over the draws (ddof = 1)", err=True)
    print_reasons(outcomes)
    kept = sum(outcome.kept for outcome in outcomes)
    echo(f"records: {len(outcomes)} in {outcomes[0].path.parent}, {kept} of them kept", err=True)


def _titles(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the titles of the shares: shots, then fractions, each ascending."""
    ranks: dict[str, tuple[bool, float]] = {}
    for outcome in outcomes:
        labels = _labels(outcome)
        ranks[labels.title] = (labels.shots is None, labels.shots or labels.fraction)
    return sorted(ranks, key=ranks.__getitem__)


def _by_row_and_share(
    outcomes: Sequence[Outcome],
) -> dict[tuple[str, ...], dict[str, list[float]]]:
    """Return the metric of every draw in percent by (encoder, task, probe), then by share."""
    encoders = {(o.record.encoder.name, o.record.encoder.weights_sha256 or "") for o in outcomes}
    times = Counter(name for name, _ in encoders)
    rows: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for outcome in outcomes:
        record = outcome.record
        name = record.encoder.name
        if times[name] > 1:
            name += f" ({(record.encoder.weights_sha256 or 'no weights')[:10]})"
        found = rows.setdefault((name, record.task.name, record.probe.name), {})
        found.setdefault(_labels(outcome).title, []).append(100 * record.headline)
    return rows


def _labels(outcome: Outcome) -> TrainLabelsPart:
    labels = outcome.record.train_labels
    assert labels
    return labels


def _publish(
    outcomes: Sequence[Outcome], machine: Machine, out: Path | None, targets: Sequence[float]
) -> None:
    """Write the table of all low-shot records; it shows unreportable ones if any of ours is one."""
    from bench.publish.write_board import write_board  # pydantic and pyarrow: only where needed

    include_all = any_unreportable(outcomes)
    options = {"targets": tuple(targets)}
    made = write_board(BOARD, machine.home, out, include_all=include_all, options=options)
    print_paths(made)
    leave(made)


def _numbers(text: str | None, option: str, kind: Callable[[str], N]) -> list[N]:
    """Parse comma-separated numbers; percent signs are allowed."""
    parts = [part.strip(" %") for part in text.split(",")] if text else []
    try:
        return [kind(part) for part in parts if part]
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: write numbers, such as 1,5,10.") from error


def _fractions(text: str | None, option: str) -> list[float]:
    """Parse percentages as fractions."""
    from bench.data.few_labels import fraction_of  # numpy: only where needed

    return [fraction_of(percent, option) for percent in _numbers(text, option, float)]
