"""Evaluate every saved encoder of a pretraining run, as a curve over steps.

RUN/encoders/step_XXXXXXXXX/   evaluation folders, written by pretraining
RUN/track.csv                  step, task, probe, metric, value, chance, record
RUN/track.png                  the metric against step
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import Machine, RunConfig, expand
from bench.errors import UsageError
from bench.evaluate.evaluate import evaluate, prepared_runs
from bench.files import csv_cell, write_whole
from bench.records.metrics import SHORT_NAMES
from bench.records.record import Record
from bench.types import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENCODERS_FOLDER = "encoders"
CSV_FILE, PLOT_FILE = "track.csv", "track.png"
STEP = re.compile(r"step_(\d{9})")


@dataclass(frozen=True, kw_only=True)
class TrackRow:
    """One encoder of a run on one task with one probe; `value` and `chance` are fractions.

    `value` is the task's `metric`. A mean AP has no chance level.
    """

    step: int
    task: str
    probe: str
    metric: str
    value: float
    chance: float | None
    record: str


@dataclass(frozen=True, kw_only=True)
class Track:
    """The curve of a run: rows by step, task and probe, their records, and the files."""

    rows: Sequence[TrackRow]
    results: Sequence[Record]
    table: Path
    plot: Path


def track(
    run_folder: Path,
    values: Mapping[str, Any],
    machine: Machine,
    progress: Progress,
    *,
    settings: Sequence[str] = (),
    steps: Sequence[int] = (),
    every: int = 1,
) -> Track:
    """Evaluate the encoders of a run and write the table and the plot into its folder.

    `values` are keys of `RunConfig` without the encoder (`task` and `probe` may be lists),
    `settings` are `KEY=VALUE` overrides. `steps` selects the encoders; by default those at least
    `every` steps apart, and the last one. Records go to `machine.home` like those of any run; runs
    on record are not repeated. The table is rewritten after every encoder.

    Raises:
        UsageError: no encoders, a step that was not saved, an unknown name or option.
        BenchError: as an evaluation raises.
    """
    folders = thinned(saved_encoders(run_folder), steps, every)
    runs = {
        step: expand({**values, "encoder": f"vjepa:{folder}"}, settings)
        for step, folder in folders.items()
    }
    rows: list[TrackRow] = []
    results: list[Record] = []
    table = run_folder / CSV_FILE
    for step, configs in runs.items():
        # One task at a time: its configurations form one group, whose order `evaluate` keeps.
        for task in dict.fromkeys(config.task for config in configs):
            group = [config for config in configs if config.task == task]
            made = evaluate(prepared_runs(group, machine, progress))
            for config, outcome in zip(group, made, strict=True):
                rows.append(_row(step, config, outcome.record))
                results.append(outcome.record)
        write_whole(table, _csv(rows).encode())
    return Track(rows=rows, results=results, table=table, plot=_plotted(rows, run_folder))


def saved_encoders(run_folder: Path) -> dict[int, Path]:
    """Return the evaluation folders of a run by their step, ascending.

    Raises:
        UsageError: there are none.
    """
    folder = run_folder / ENCODERS_FOLDER
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    matched = [(STEP.fullmatch(path.name), path) for path in found if path.is_dir()]
    encoders = {int(match[1]): path for match, path in matched if match}
    if not encoders:
        raise UsageError(
            f"{folder} has no encoders (folders step_000000000 and on); give the folder of a"
            " pretraining run that has saved one."
        )
    return encoders


def thinned(encoders: Mapping[int, Path], steps: Sequence[int], every: int) -> dict[int, Path]:
    """Keep the encoders of `steps`, or those at least `every` steps apart and the last one.

    Raises:
        UsageError: a step without an encoder, both ways at once, or `every` below 1.
    """
    if steps and every != 1:
        raise UsageError("--steps and --every both select encoders: give one of the two.")
    if every < 1:
        raise UsageError(f"--every {every}: it must be at least 1 step.")
    if steps:
        for step in steps:
            if step not in encoders:
                near = min(encoders, key=lambda saved: abs(saved - step))
                raise UsageError(f"no encoder was saved at step {step}; the nearest is {near}.")
        return {step: encoders[step] for step in sorted(set(steps))}
    kept: dict[int, Path] = {}
    for step, folder in encoders.items():
        if not kept or step - max(kept) >= every or step == max(encoders):
            kept[step] = folder
    return kept


def _row(step: int, config: RunConfig, record: Record) -> TrackRow:
    return TrackRow(
        step=step,
        task=config.task,
        probe=config.probe,
        metric=record.task.metric,
        value=record.headline,
        chance=record.chance,
        record=record.id,
    )


def _csv(rows: Sequence[TrackRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(TrackRow))
    writer.writerows(map(csv_cell, astuple(row)) for row in rows)
    return text.getvalue()


def _plotted(rows: Sequence[TrackRow], run_folder: Path) -> Path:
    """Draw one panel per task with a curve per probe and a dotted chance line."""
    # Heavy import; own figures, so that no window system and no global state is touched.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    figure = Figure(figsize=(5 * len(tasks), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for task, axes in zip(tasks, panels, strict=True):
        _draw(axes, task, [row for row in rows if row.task == task])
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    path = run_folder / PLOT_FILE
    write_whole(path, image.getvalue())
    return path


def _draw(axes: Axes, task: str, rows: Sequence[TrackRow]) -> None:
    for probe in dict.fromkeys(row.probe for row in rows):
        curve = [row for row in rows if row.probe == probe]
        axes.plot(
            [row.step for row in curve], [100 * row.value for row in curve], marker="o", label=probe
        )
    if rows[0].chance is not None:
        axes.axhline(100 * rows[0].chance, linestyle=":", color="grey", label="chance")
    name = SHORT_NAMES[rows[0].metric]
    axes.set(title=task, xlabel="step", ylabel=f"{name} (%)", ylim=(0, None))
    axes.legend()
