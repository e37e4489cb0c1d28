"""Records from small real runs, and what a forger does to them."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import registry
from bench.config import Machine, RunConfig
from bench.evaluate.evaluate import evaluate, prepared_runs
from bench.files import file_sha256
from bench.records.box_predictions import FACTS
from bench.records.record import seal_of
from bench.types import Silent
from tests.evaluate.test_box_run import MODULE
from tests.media import write_video
from tests.sound_record import id_of

CLASSES = ("climb", "jump", "lift", "run", "sit", "swim")
SETTINGS = {"epochs": 2, "lr": (1e-3, 1e-2)}


def write_clips(root: Path) -> None:
    """Write 6 classes of real videos with lists: 4 to train and 3 to score each, one of these
    broken and one not there.
    """
    for split, count in (("train", 4), ("val", 3)):
        lines = []
        for number, label in enumerate(CLASSES):
            for item in range(count):
                path = root / split / label / f"{item}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                fps = 12 if split == "train" else 13  # no film is in both splits
                write_video(path, 14 + 3 * number + item, size=(64, 48), fps=fps)
                lines.append(f"{split}/{label}/{item}.mp4 {label}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    (root / "val/run/1.mp4").write_bytes(b"no video")
    (root / "val/sit/2.mp4").unlink()


def clip_config(root: Path, **changes: Any) -> RunConfig:
    lists = {"train": str(root / "train.txt"), "val": str(root / "val.txt")}
    facts = {"encoder": "random:vit_digits", "probe": "linear", "probe_options": SETTINGS}
    facts |= {"task": "listing", "task_options": lists, "on_unreadable": "wrong"}
    return RunConfig(**{**facts, **changes})


def box_config(root: Path, **changes: Any) -> RunConfig:
    """Return a run on boxes: three videos to train, two to score of which one is not there."""
    (root / "tiny_box_task.py").write_text(MODULE)
    for number, name in enumerate("abcd"):
        write_video(root / f"{name}.mp4", 36 + number, size=(96, 64), fps=12)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    registry.load_module("tiny_box_task")
    facts = {"encoder": "random:vit_digits", "probe": "linear", "probe_options": SETTINGS}
    return RunConfig(**{**facts, "task": "tiny_boxes", **changes})


def run(config: RunConfig, home: Path, data: Path | None = None) -> Path:
    """Run one config and return the file of its record."""
    [outcome] = evaluate(prepared_runs([config], Machine(home=home, data=data), Silent()))
    return outcome.path


@dataclass(frozen=True)
class Forger:
    """A copy of a record's folder that may be changed, and mended to hide the change."""

    path: Path

    @classmethod
    def copy(cls, path: Path, folder: Path) -> Forger:
        shutil.copytree(path.parent, folder, dirs_exist_ok=True)
        return cls(folder / path.name)

    @property
    def fields(self) -> dict[str, Any]:
        return json.loads(self.path.read_text(encoding="utf-8"))

    def write(self, fields: dict[str, Any], *, seal: bool = False) -> None:
        if seal and "seal" in fields:
            fields["seal"] = seal_of(fields)
        self.path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

    def file(self, name: str = "predictions") -> Path:
        return self.path.parent / self.fields["artifacts"][name]["path"]

    def table(self, name: str = "predictions") -> pa.Table:
        return pq.read_table(self.file(name))

    def frame(self, name: str = "predictions") -> dict[str, list[Any]]:
        """Return the columns of a file as lists that may be changed."""
        return self.table(name).to_pydict()

    def write_frame(self, columns: dict[str, list[Any]], name: str = "predictions") -> None:
        schema = self.table(name).schema
        pq.write_table(pa.table(columns, schema=schema), self.file(name), compression="zstd")

    def tell(self, name: str = "predictions", **facts: Any) -> None:
        """Change what a file says of itself."""
        table = self.table(name)
        metadata = dict(table.schema.metadata)
        told = {**json.loads(metadata[FACTS.encode()]), **facts}
        metadata[FACTS.encode()] = json.dumps(told).encode()
        pq.write_table(table.replace_schema_metadata(metadata), self.file(name))

    def mend_files(self) -> None:
        """Put the digests of the files as they are now on record, and seal it again."""
        fields = self.fields
        for artifact in fields["artifacts"].values():
            if artifact is not None and (self.path.parent / artifact["path"]).is_file():
                artifact["sha256"] = file_sha256(self.path.parent / artifact["path"])
        self.write(fields, seal=True)

    def mend_metrics(self) -> None:
        """Count the accuracies of the predictions as they are now, and put them on record."""
        fields, rows = self.fields, self.frame()
        labels, predicted = np.array(rows["label"]), np.array(rows["predicted"], dtype=float)
        right = predicted == labels
        listed, scored = len(labels), rows["status"].count("scored")
        tops = rows["top_classes"]
        hits = [c is not None and y in c[:5] for c, y in zip(tops, labels.tolist(), strict=True)]
        present = [right[labels == label].mean() for label in np.unique(labels)]
        correct = int(right.sum())
        fields["metrics"].update(
            top1=correct / listed, top5=sum(hits) / listed, correct=correct, scored=scored,
            mean_per_class=float(np.mean(present)), expected=listed,
            majority=float(np.bincount(labels).max() / listed),
            bounds={"low": correct / listed, "high": (correct + listed - scored) / listed},
        )  # fmt: skip
        fields["data"]["score"].update(listed=listed, used=scored)
        self.write(fields, seal=True)

    def mend_id(self) -> Forger:
        """Give the record the id of its fields, its files that name, and whom they belong to."""
        fields = self.fields
        old = fields["id"]
        fields["id"] = new = id_of(fields)
        for artifact in fields["artifacts"].values():
            if artifact is not None:
                artifact["path"] = artifact["path"].replace(old, new)
        for file in sorted(self.path.parent.glob(f"{old}*")):
            file.rename(file.with_name(file.name.replace(old, new)))
        moved = Forger(self.path.with_name(f"{new}.json"))
        moved.write(fields)
        moved.tell(record=new, split=fields["task"]["score_split"], task=fields["task"]["name"])
        moved.mend_files()
        return moved
