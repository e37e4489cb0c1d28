"""The command `bench`: parse, call one function, print. Data go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import logging
import multiprocessing
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import registry
from bench.cli import (
    board,
    compare,
    data,
    demo,
    export_detections,
    lowshot,
    pretrain,
    publish,
    published,
    run,
    score,
    track,
    verify,
)
from bench.config import home_folder
from bench.errors import BenchError, UsageError, closest

STOPPING = (signal.SIGINT, signal.SIGTERM)

app = typer.Typer(
    name="bench",
    help="Evaluate frozen video and image encoders: features, probes, records, tables.\n\n"
    "`--with MODULE` anywhere on the line loads encoders, tasks, probes or boards of your own.\n\n"
    "`--trust-remote-code` lets an encoder of `torchhub:` run the code of its repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(data.app, name="data")
app.command("check")(data.check)
app.command("board")(board.board)
app.command("published")(published.published)
app.command("fill")(published.fill)
app.command("run")(run.run)
app.command("features")(run.features)
app.command("lowshot")(lowshot.lowshot)
app.command("encode")(run.encode)
app.command("probe")(run.probe)
app.command("pretrain")(pretrain.pretrain)
app.command("track")(track.track)
app.command("demo")(demo.demo)
app.add_typer(score.app, name="score")
app.command("detections")(export_detections.detections)
app.command("compare")(compare.compare)
app.command("verify")(verify.verify)
app.command("replay")(verify.replay)
app.command("explain")(verify.explain)
app.command("submit")(publish.submit)
app.command("card")(publish.card)
app.command("push")(publish.push)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Home = Annotated[Path | None, typer.Option("--home", help="Features and records [BENCH_HOME].")]


@app.command()
def ls(
    kind: Annotated[str, typer.Argument(help=", ".join(registry.KINDS))], json_: Json = False
) -> None:
    """List what is registered: encoders, tasks, probes, protocols, boards or recipes."""
    entries = registry.entries(kind)
    if json_:
        typer.echo(json.dumps({entry.name: entry.summary for entry in entries}, indent=1))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for entry in entries:
        table.add_row(entry.name, entry.summary)
    Console().print(table)


@app.command()
def show(name: str, json_: Json = False) -> None:
    """Show what a registered name is and which options it takes, with their defaults."""
    found = [e for kind in registry.KINDS for e in registry.entries(kind) if e.name == name]
    if not found:
        every = [e.name for kind in registry.KINDS for e in registry.entries(kind)]
        raise UsageError(f"nothing is called {name!r}.{closest(name, every)}")
    facts = [entry.facts for entry in found]
    if json_:
        typer.echo(json.dumps(facts, indent=1, default=str))
        return
    for fact in facts:
        typer.echo(f"{fact['kind'][:-1]} {fact['name']} ({fact['module']})\n\n{fact['doc']}\n")
        for option, text in fact["options"].items():
            typer.echo(f"  {option}: {text}")
        typer.echo(f"\n{fact['about']}")


@app.command()
def doctor(home: Home = None, json_: Json = False) -> None:
    """Say which versions, GPU and decoders are here, what is missing and how to install it."""
    from bench.cli.doctor import examine  # imports torch and the decoders to ask their versions

    findings = examine(home_folder(home))
    if json_:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=1, default=str))
    else:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for finding in findings:
            mark = "[green]ok[/]" if finding.ok else "[yellow]--[/]"
            table.add_row(mark, finding.name, finding.value, finding.fix)
        Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; problems end in one sentence on stderr and an exit code."""
    before = {number: signal.signal(number, _stopped) for number in STOPPING}
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app(_prepared(list(sys.argv[1:] if arguments is None else arguments)))
    except BenchError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _fail(
            f"cannot use{where}: {error.strerror or error}; choose a place you may write to with"
            " --home, --data or --out.",
            1,
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepared(arguments: list[str]) -> list[str]:
    """Load the modules named by `--with` and read `--some_option` as `--some-option`.

    `--trust-remote-code` is the option of encoders that run code from elsewhere.
    """
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--with" or word.startswith("--with="):
            module = word.partition("=")[2] or next(rest, "")
            if not module:
                raise UsageError("--with needs the name of a module.")
            sys.path.insert(0, str(Path.cwd()))
            registry.load_module(module)
        elif word in ("--trust-remote-code", "--trust_remote_code"):
            kept += ["--set", "encoder.trust_remote_code=true"]
        elif word.startswith("--"):
            option, equals, value = word.partition("=")
            kept.append(option.replace("_", "-") + equals + value)
        else:
            kept.append(word)
    return kept


def _stopped(number: int, frame: FrameType | None) -> None:
    """End with 128 + the signal, and at once at a second one; only the command itself says so."""
    signal.signal(number, signal.SIG_DFL)
    if multiprocessing.parent_process() is None:
        sys.stderr.write("\nbench: interrupted; what is done is kept, the same command goes on.\n")
    raise SystemExit(128 + number)


def _fail(sentence: str, code: int) -> None:
    typer.echo(f"bench: {sentence}", err=True)
    raise SystemExit(code)
