"""A record's numbers in the hub's formats: `model-index` of a model card, and `.eval_results`.

`model-index` is in the front matter of README.md
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md). `.eval_results/NAME.yaml` is newer
(https://huggingface.co/docs/hub/eval-results) and names a benchmark: a data set on the hub and a
task in its `eval.yaml`. Only the user knows that, so it is written for tasks with a `Benchmark`.
Values are percent. Top-1 is the hub's metric `accuracy`; the hub has no name for top-5 and frame
mAP, here `top_5_accuracy` and `mean_average_precision`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError, UsageError
from bench.records.metrics import MetricsPart
from bench.records.record import Record
from bench.records.score_intervals import interval_of

EVAL_RESULTS = ".eval_results"
METRICS = {
    "top1": ("accuracy", "Top-1 accuracy"),
    "top5": ("top_5_accuracy", "Top-5 accuracy"),
    "mean_ap": ("mean_average_precision", "Frame mAP at IoU 0.5"),
}
KINDS = {"video": "video-classification", "image": "image-classification"}
BOXES = "object-detection"
_BENCHMARK = re.compile(r"(?P<task>[^=]+)=(?P<id>[\w.-]+/[\w.-]+)(:(?P<of>[^@]+))?(@(?P<at>\w+))?")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A data set on the hub that a task is measured on, and the task in its `eval.yaml`."""

    id: str
    task_id: str = "default"
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the user states about records: `benchmarks` by task, and the `source` URL where readers
    find the evaluation, such as a repository of results.
    """

    benchmarks: Mapping[str, Benchmark]
    source: str | None = None

    def source_entry(self) -> dict[str, Any]:
        """Return the source in the syntax of both formats."""
        return {"source": {"url": self.source, "name": "frozenbench"}} if self.source else {}


def benchmarks(texts: Sequence[str]) -> dict[str, Benchmark]:
    """Parse `TASK=ORG/NAME[:TASK_ID][@REVISION]`.

    Raises:
        UsageError: another syntax.
    """
    found = {}
    for text in texts:
        match = _BENCHMARK.fullmatch(text)
        if match is None:
            raise UsageError(
                f"--dataset {text!r}: write TASK=ORG/NAME, TASK=ORG/NAME:TASK_ID or"
                " TASK=ORG/NAME:TASK_ID@REVISION."
            )
        found[match["task"]] = Benchmark(
            id=match["id"], task_id=match["of"] or "default", revision=match["at"]
        )
    return found


def one_model(records: Sequence[Record], provenance: Provenance) -> str:
    """Return the name of the encoder of all records.

    Raises:
        UsageError: several encoders or weights, two records of the same measurement, or a benchmark
            for a task without a record.
    """
    models = {(record.encoder.weights_sha256, record.encoder.name) for record in records}
    if len(models) != 1:
        names = ", ".join(sorted(name for _, name in models))
        raise UsageError(
            f"a model card describes one model; these records are of {names or 'none'}, or of"
            " several weights with one name: give the records of one model."
        )
    seen: dict[tuple[str, ...], Record] = {}
    for record in records:
        key = (record.task.name, record.task.score_split, measurement(record))
        if key in seen:
            raise UsageError(
                f"records {seen[key].id} and {record.id} measure the same: {key[2]} on {key[0]};"
                " give one of them."
            )
        seen[key] = record
    tasks = {record.task.name for record in records}
    for name in provenance.benchmarks:
        if name not in tasks:
            raise UsageError(
                f"--dataset {name}=...: the records are of {', '.join(sorted(tasks))}."
            )
    return records[0].encoder.name


def measurement(record: Record) -> str:
    """Describe what distinguishes a number on the same data: probe, views, protocol, labels."""
    parts = [
        f"{record.probe.name} probe on frozen features",
        record.plan.score,
        f"protocol {record.protocol.name}",
    ]
    labels = record.train_labels
    if labels is not None and not labels.are_all:
        parts.append(f"{labels.title} of the training labels, draw {labels.draw}")
    if record.config.get("seed"):
        parts.append(f"seed {record.config['seed']}")
    return ", ".join(parts)


# -------------------------------------------------------------------------------------- model-index
def results_of(record: Record, folder: Path, provenance: Provenance) -> dict[str, Any]:
    """Return one element of `results` in a `model-index`; `folder` is that of the record."""
    benchmark = provenance.benchmarks.get(record.task.name)
    kind = BOXES if record.task.unit == "box" else KINDS[record.task.kind]
    has_five = isinstance(record.metrics, MetricsPart) and record.metrics.top5 is not None
    names = [record.task.metric, *(["top5"] if has_five and record.task.num_classes > 5 else [])]
    return {
        "task": {"type": kind, "name": kind.replace("-", " ").capitalize()},
        "dataset": {
            "name": record.task.title,
            "type": benchmark.id if benchmark else record.task.name,
            "split": record.task.score_split,
            **({"revision": benchmark.revision} if benchmark and benchmark.revision else {}),
        },
        "metrics": [_metric(record, name, folder) for name in names],
        **provenance.source_entry(),
    }


def _metric(record: Record, name: str, folder: Path) -> dict[str, Any]:
    kind, title = METRICS[name]
    args: dict[str, Any] = {
        "record": record.id,
        "probe": record.probe.name,
        "protocol": record.protocol.name,
        "views": record.plan.score,
        "n": record.num_counted,
        "manifest_sha256": record.data.score.digest,
    }
    interval = interval_of(record, folder, folder.parent / "cache", metric=name)
    if interval is not None:
        args["interval_95"] = [_percent(interval.low), _percent(interval.high)]
        args["interval_method"] = interval.method
    if isinstance(record.metrics, MetricsPart) and name == "top1":
        args["correct"] = record.metrics.correct
    if record.data.score.lost:
        args["unreadable"] = _lost(record)
    if record.protocol.deviations:
        args["deviations"] = list(record.protocol.deviations)
    caveat = f"; {record.caveat}" if record.caveat else ""
    return {
        "type": kind,
        "value": _percent(record.value(name)),
        "name": f"{title} in percent ({measurement(record)}){caveat}",
        "args": args,
    }


# ------------------------------------------------------------------------------------- eval_results
def entry_of(record: Record, folder: Path, provenance: Provenance) -> dict[str, Any] | None:
    """Return the record's entry in `.eval_results`; None if its benchmark is not given."""
    benchmark = provenance.benchmarks.get(record.task.name)
    if benchmark is None:
        return None
    return {
        "dataset": {
            "id": benchmark.id,
            "task_id": benchmark.task_id,
            **({"revision": benchmark.revision} if benchmark.revision else {}),
        },
        "value": _percent(record.headline),
        "date": record.created,
        "notes": _notes(record, folder),
        **provenance.source_entry(),
    }


def _notes(record: Record, folder: Path) -> str:
    """Describe the value in one line; the part before the first semicolon is the measurement."""
    interval = interval_of(record, folder, folder.parent / "cache")
    parts = [
        f"{METRICS[record.task.metric][1]} in percent ({measurement(record)})",
        f"split {record.task.score_split}, n = {record.num_counted:,}",
    ]
    if record.caveat:
        parts.insert(1, record.caveat)
    if interval is not None:
        low, high = _percent(interval.low), _percent(interval.high)
        parts.append(f"95 % interval {low} to {high} ({interval.method})")
    if record.data.score.lost:
        parts.append(_lost(record))
    parts += record.protocol.deviations
    parts.append(f"frozenbench record {record.id}")
    return "; ".join(parts)


# Quotes ids such as 12345678e1234567, which are numbers in the hub's YAML 1.2.
_Dumper: Any = type("_Dumper", (yaml.SafeDumper,), {})
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[0-9]+[eE][0-9]+"), list("0123456789")
)


def yaml_text(value: Any) -> str:
    """Return YAML with keys in the given order and without folded lines."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return text


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML; `where` names the file.

    Raises:
        BenchError: it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BenchError(
            f"{where} is not YAML ({' '.join(str(error).split())}); fix it first."
        ) from error


# ------------------------------------------------------------------------------------------- values
def _lost(record: Record) -> str:
    treatment = "counted as wrong" if record.counts_lost else "left out"
    return f"{record.data.score.lost} of {record.data.score.listed} rows unreadable, {treatment}"


def _percent(fraction: float | None) -> float:
    assert fraction is not None
    return round(100 * fraction, 2)
