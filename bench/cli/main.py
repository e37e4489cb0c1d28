"""The command `bench`: parse, call one function, print. Data goes to stdout, the rest to stderr."""

from __future__ import annotations

import json
import logging
import multiprocessing
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from types import FrameType
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

import bench
from bench import registry
from bench.cli import (
    board,
    compare,
    data,
    demo,
    export_detections,
    home_store,
    lowshot,
    pretrain,
    publish,
    published,
    run,
    score,
    speed,
    track,
    verify,
)
from bench.cli.console import VisibleFormatter, echo, open_console
from bench.cli.options import Home, Json
from bench.config import home_folder, set_secrets_aside
from bench.errors import BenchError, UsageError, closest
from bench.launch.here_or_torchrun import safe_path

STOPPING = (signal.SIGINT, signal.SIGTERM)

app = typer.Typer(
    name="bench",
    help="Evaluate frozen video and image encoders: features, probes, records, tables.\n\n"
    "`--with MODULE` anywhere on the line loads your own encoders, tasks, probes or boards.\n\n"
    "`--trust-remote-code` lets a `torchhub:` encoder run the code of its repository;"
    " `--allow-code` lets a file name an encoder that runs code.",
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
app.command("speed")(speed.speed)
app.command("probe")(run.probe)
app.command("pretrain")(pretrain.pretrain)
app.command("track")(track.track)
app.command("demo")(demo.demo)
app.add_typer(score.app, name="score")
app.add_typer(home_store.app, name="store")
app.command("detections")(export_detections.detections)
app.command("compare")(compare.compare)
app.command("verify")(verify.verify)
app.command("replay")(verify.replay)
app.command("explain")(verify.explain)
app.command("submit")(publish.submit)
app.command("card")(publish.card)
app.command("push")(publish.push)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        echo(f"frozenbench {bench.__version__}")
        with suppress(PackageNotFoundError):
            echo(f"torch {version('torch')}")  # from its metadata: torch is not imported
        raise typer.Exit


@app.callback()
def _before_a_command(
    version_: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Parse the options in front of a command."""


@app.command()
def ls(
    kind: Annotated[str, typer.Argument(help=", ".join(registry.KINDS))], json_: Json = False
) -> None:
    """List registered encoders, tasks, probes, protocols, boards, recipes or papers."""
    summaries = {entry.name: entry.summary for entry in registry.entries(kind)}
    if json_:
        echo(json.dumps(summaries, indent=1))
    else:
        _print(summaries.items())


@app.command()
def show(name: str, json_: Json = False) -> None:
    """Describe a registered name and its options with their defaults."""
    every = [entry for kind in registry.KINDS for entry in registry.entries(kind)]
    facts = [entry.facts for entry in every if entry.name == name]
    if not facts:
        raise UsageError(f"nothing is called {name!r}.{closest(name, [e.name for e in every])}")
    if json_:
        echo(json.dumps(facts, indent=1, default=str))
        return
    for fact in facts:
        echo(f"{fact['kind'][:-1]} {fact['name']} ({fact['module']})\n\n{fact['doc']}\n")
        for option, text in fact["options"].items():
            echo(f"  {option}: {text}")
        echo(f"\n{fact['about']}")


@app.command()
def doctor(home: Home = None, json_: Json = False) -> None:
    """Report versions, GPU and decoders of this machine, and how to install what is missing."""
    from bench.cli.doctor import examine  # asks torch and the decoders for their versions

    findings = examine(home_folder(home))
    if json_:
        echo(json.dumps([vars(finding) for finding in findings], indent=1, default=str))
    else:
        marks = (Text("--", style="yellow"), Text("ok", style="green"))
        _print((marks[found.ok], found.name, found.value, found.fix) for found in findings)


def _print(rows: Iterable[tuple[str | Text, ...]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    open_console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; problems are reported in one sentence on stderr and an exit code."""
    before = {number: signal.signal(number, _stopped) for number in STOPPING}
    searched = sys.path.copy()
    lines = logging.StreamHandler()
    lines.setFormatter(VisibleFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    try:
        with safe_path():
            app(_prepared(list(sys.argv[1:] if arguments is None else arguments)))
    except BenchError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _fail(
            f"cannot use{where}: {error.strerror or error}; choose a writable place with --home,"
            " --data or --out.",
            1,
        )
    finally:
        sys.path[:] = searched
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepared(arguments: list[str]) -> list[str]:
    """Load the modules named by `--with` and read `--some_option` as `--some-option`.

    `--trust-remote-code` becomes the option of encoders that run code from elsewhere. Secrets of
    addresses are set aside, so that no message about a word shows them.
    """
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--with" or word.startswith("--with="):
            module = word.partition("=")[2] or next(rest, "")
            if not module:
                raise UsageError("--with needs a module name.")
            registry.load_extension(module)
        elif word in ("--trust-remote-code", "--trust_remote_code"):
            kept += ["--set", "encoder.trust_remote_code=true"]
        elif word.startswith("--"):
            option, equals, value = word.partition("=")
            kept.append(option.replace("_", "-") + equals + value)
        else:
            kept.append(word)
    # A source is a link to publish, whose query is a part of it.
    return [
        word if "--source" in (before, word.partition("=")[0]) else set_secrets_aside(word)
        for before, word in pairwise(["", *kept])
    ]


def _stopped(number: int, frame: FrameType | None) -> None:
    """Exit with 128 + the signal, immediately at a second one; only the main process prints."""
    signal.signal(number, signal.SIG_DFL)
    if multiprocessing.parent_process() is None:
        sys.stderr.write(
            "\nbench: interrupted; finished work is saved; run the same command to resume.\n"
        )
    raise SystemExit(128 + number)


def _fail(sentence: str, code: int) -> None:
    line = sentence.replace("\n", "\\n")  # of a name; our sentences are one line
    echo(f"bench: {line}", err=True)
    raise SystemExit(code)
