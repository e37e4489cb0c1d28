"""The command that tests whether two encoders differ: `bench compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from bench.cli.console import echo, open_console
from bench.cli.options import All, Home, Json
from bench.config import home_folder
from bench.errors import UsageError
from bench.records.find import ID, record_file

if TYPE_CHECKING:
    from bench.compare.compare_records import Comparison
    from bench.compare.paired_rows import StoredRecord


def compare(
    a: Annotated[str, typer.Argument(help="A record (its file or id), or an encoder.")],
    b: Annotated[str, typer.Argument(help="Another one of the same kind.")],
    metric: Annotated[
        str | None, typer.Option(help="top1, top5 or mean_ap [the task's metric].")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse records that were not scored on the same rows.")
    ] = False,
    all_: All = False,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Compare two records, or two encoders on every measurement that both have on record.

    Prints A minus B on the same rows with its 95 % interval, McNemar's test with Holm's correction
    for the number of comparisons, and the difference detectable with 80 % power. Frame mAP is
    tested by a jackknife over videos. Inputs that differ are listed.
    """
    from bench.compare.compare_records import (  # pydantic and pyarrow
        compare_encoders,
        compare_records,
    )
    from bench.records.record_files import read_records

    root = home_folder(home)
    cache = root / "cache"
    alone: list[str] = []
    are_records = [
        Path(name).suffix == ".json"
        or bool(ID.fullmatch(name))
        or (root / "records" / f"{name}.json").is_file()
        for name in (a, b)
    ]
    if any(are_records) and not all(are_records):
        raise UsageError(
            f"{a} and {b} are a record and an encoder; give two records or two encoders."
        )
    if all(are_records):
        one, other = placed(a, home), placed(b, home)
        found = [compare_records(one, other, metric=metric, strict=strict, cache=cache)]
    else:
        found, alone = compare_encoders(
            a,
            b,
            read_records(root / "records"),
            root / "records",
            metric=metric,
            strict=strict,
            include_unreportable=all_,
            cache=cache,
        )
    if json_:
        facts = {"a": a, "b": b, "comparisons": [_facts(one) for one in found], "alone": alone}
        echo(json.dumps(facts, indent=1))
        return
    names = _names(found[0])
    _print(found, names)
    for line in alone:
        echo(f"not compared: {line}", err=True)


def placed(name: str, home: Path | None) -> StoredRecord:
    """Read the record with this file or id, and note its folder."""
    from bench.compare.paired_rows import StoredRecord  # pydantic and pyarrow
    from bench.records.record_files import read_record

    path = record_file(name, home)
    return StoredRecord(record=read_record(path), folder=path.parent)


def _names(one: Comparison) -> tuple[str, str]:
    """Return distinct names of the two encoders: name, spec, or name with record id."""
    a, b = one.pairs[0]
    if a.encoder.name != b.encoder.name:
        return a.encoder.name, b.encoder.name
    if a.encoder.spec != b.encoder.spec:
        return a.encoder.spec, b.encoder.spec
    return f"{a.encoder.name} {a.id}", f"{b.encoder.name} {b.id}"


# ----------------------------------------------------------------------------------------- printing
def _print(found: list[Comparison], names: tuple[str, str]) -> None:
    from bench.compare.compare_records import measurement_text, verdict

    console = open_console()
    console.print(f"A: {names[0]}\nB: {names[1]}", highlight=False)
    table = Table(box=None)
    table.add_column("", overflow="fold")
    for title in ("A", "B", "A - B", "95 %", "n", "A alone", "B alone", "p", "Holm p", "mde"):
        table.add_column(title, justify="right")
    for one in found:
        table.add_row(measurement_text(one.measurement), *_cells(one))
    console.print(table)
    for one in found:
        head = f"{measurement_text(one.measurement)}: " if len(found) > 1 else ""
        echo(f"{head}{verdict(one, *names)}")
        methods = dict.fromkeys((one.paired.method, one.paired.interval.method))
        echo(f"  {'; interval: '.join(methods)}")
        for line in (*_spreads(one), *one.remarks):
            echo(f"  {line}")
        for line in one.differing:
            echo(f"  not the same: {line}")
    echo("mde: the smallest difference that this test detects with 80 % power.", err=True)


def _cells(one: Comparison) -> list[str]:
    paired = one.paired
    low, high = (f"{100 * end:+.1f}" for end in (paired.interval.low, paired.interval.high))
    alone = ["-" if count is None else f"{count:,}" for count in (paired.only_a, paired.only_b)]
    return [
        f"{100 * one.value_a:.1f}",
        f"{100 * one.value_b:.1f}",
        f"{100 * paired.difference:+.1f}",
        f"{low} to {high}",
        f"{paired.n:,} {one.unit}",
        *alone,
        f"{paired.p:.2g}",
        f"{one.holm:.2g}",
        "-" if paired.mde is None else f"{100 * paired.mde:.1f}",
    ]


def _spreads(one: Comparison) -> list[str]:
    """Describe the spread over seeds and draws, which no interval over rows includes."""
    if not (one.spread and one.spread_a and one.spread_b):
        return []
    spreads = " | ".join(
        f"{name} {100 * spread.mean:.1f} ± {100 * spread.std:.1f}"
        for name, spread in (("A", one.spread_a), ("B", one.spread_b), ("A - B", one.spread))
    )
    return [f"over {one.spread.count} seeds or draws (mean ± standard deviation): {spreads}"]


def _facts(one: Comparison) -> dict[str, Any]:
    from bench.metrics.paired import as_json

    names = ("task", "metric", "protocol", "probe", "labels")
    return {
        **dict(zip(names, one.measurement, strict=True)),
        "value_a": one.value_a,
        "value_b": one.value_b,
        "unit": one.unit,
        **as_json(one.paired),
        "holm_p": one.holm,
        **{
            name: vars(spread) if (spread := getattr(one, name)) else None
            for name in ("spread_a", "spread_b", "spread")
        },
        "differing": list(one.differing),
        "remarks": list(one.remarks),
        "records": [[a.id, b.id] for a, b in one.pairs],
    }
