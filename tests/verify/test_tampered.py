"""Forged records are refused for the right reason, with digests and seal mended and without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.protocols import honest, vjepa
from bench.records.record_files import read_record
from bench.records.run_id import protocol_digest
from bench.verify.verify_records import verify, verify_all
from tests.forgery import Forger, box_config, clip_config, run, write_clips

Forge = Callable[[Forger], Forger | None]  # changes a copy; returns the one whose name changed
Columns = dict[str, list[Any]]  # of the predictions

OTHER_SEED = 2  # of weights that get another number of rows right


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return records of real runs: two models of clips, two seeds of boxes."""
    root = tmp_path_factory.mktemp("runs")
    write_clips(root)
    boxes = root / "boxes"
    boxes.mkdir()
    return {
        "clips": run(clip_config(root), root / "home"),
        "other": run(clip_config(root, encoder_options={"seed": OTHER_SEED}), root / "other"),
        "more_boxes": run(box_config(boxes, on_unreadable="wrong", seed=1), root / "more", boxes),
        "boxes": run(box_config(boxes, on_unreadable="wrong"), root / "box_home", boxes),
    }


def found(path: Path, check: str, outcome: str = "failed") -> list[str]:
    return [f.sentence for f in verify(path).findings if (f.check, f.outcome) == (check, outcome)]


@pytest.mark.parametrize("kind", ["clips", "other", "boxes"])
def test_untouched_records_pass_every_check(runs: dict[str, Path], kind: str) -> None:
    verdict = verify(runs[kind])
    assert verdict.status == "ok", verdict.findings
    said = {finding.check for finding in verdict.findings}
    assert said >= {
        "record", "seal", "files", "config", "status", "selection", "protocol", "belongs", "rows",
        "manifest", "metrics", "constant", "control",
    }  # fmt: skip


def setting(path: str, value: Any, *, seal: bool) -> Forge:
    """Change one dotted field of the record."""

    def forge(forger: Forger) -> Forger | None:
        fields = forger.fields
        *way, last = path.split(".")
        place = fields
        for name in way:
            place = place[int(name)] if isinstance(place, list) else place[name]
        place[last] = value(place[last]) if callable(value) else value
        forger.write(fields, seal=seal)

    return forge


def better(forger: Forger, *, seal: bool) -> None:
    """Add one to the right rows, in all numbers that follow."""
    fields = forger.fields
    metrics = fields["metrics"]
    correct = metrics["correct"] + 1
    metrics.update(correct=correct, top1=correct / 18)
    metrics["bounds"] = {"low": correct / 18, "high": (correct + 2) / 18}
    forger.write(fields, seal=seal)


def rows(change: Callable[[Columns], None], *, digest: bool = True, metrics: bool = False) -> Forge:
    """Change the columns of the predictions; mend digests and seal, and the metrics too."""

    def forge(forger: Forger) -> Forger | None:
        columns = forger.frame()
        change(columns)
        forger.write_frame(columns)
        if metrics:
            forger.mend_metrics()
        if digest:
            forger.mend_files()

    return forge


def drop(columns: Columns, row: int | Callable[[Columns], int] = -1) -> None:
    for values in columns.values():
        del values[row]


def drop_and_number(columns: Columns) -> None:
    drop(columns, wrong_row(columns))
    columns["row"] = list(range(len(columns["row"])))


def wrong_row(columns: Columns) -> int:
    pairs = zip(columns["label"], columns["predicted"], strict=True)
    return next(i for i, (y, p) in enumerate(pairs) if p is not None and y != p)


def right_row(columns: Columns) -> int:
    pairs = zip(columns["label"], columns["predicted"], strict=True)
    return next(i for i, (y, p) in enumerate(pairs) if y == p)


def twice(columns: Columns) -> None:
    for values in columns.values():
        values[-1] = values[0]
    columns["row"] = list(range(len(columns["row"])))


def appended(columns: Columns) -> None:
    for values in columns.values():
        values.append(values[0])
    columns["row"] = list(range(len(columns["row"])))


PREDICTED = ("predicted", "probability", "top_classes", "top_probabilities")


def swapped(columns: Columns) -> None:
    """Swap the predictions of a right row with those of a row of another class."""
    i = right_row(columns)
    own = (columns["predicted"][i], columns["label"][i])
    pairs = list(zip(columns["predicted"], columns["label"], strict=True))
    k = next(n for n, (p, y) in enumerate(pairs) if p not in (None, own[0]) and y != own[0])
    for name in PREDICTED:
        columns[name][i], columns[name][k] = columns[name][k], columns[name][i]


def guessed(columns: Columns) -> None:
    """Put the label first in the list of a wrong row, at the highest probability."""
    i = wrong_row(columns)
    label, listed = columns["label"][i], columns["top_classes"][i]
    columns["top_classes"][i] = [label, *(c for c in listed if c != label)]
    columns["predicted"][i] = label
    values = columns["top_probabilities"][i]
    columns["top_probabilities"][i] = [v - 1e-4 * n for n, v in enumerate(values)]
    columns["probability"][i] = columns["top_probabilities"][i][0]


def only_predicted(columns: Columns) -> None:
    i = wrong_row(columns)
    columns["predicted"][i] = columns["label"][i]


def relabelled(columns: Columns) -> None:
    i = wrong_row(columns)
    columns["label"][i] = columns["predicted"][i]


def hidden(columns: Columns) -> None:
    i = wrong_row(columns)
    columns["status"][i] = "missing"
    for name in PREDICTED:
        columns[name][i] = None


def other_fate(columns: Columns) -> None:
    """Call the undecodable row missing, and the other way round."""
    names = {"missing": "undecodable", "undecodable": "missing"}
    columns["status"] = [names.get(status, status) for status in columns["status"]]


def at(name: str, row: int | Callable[[Columns], int], value: Any) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        place = row(columns) if callable(row) else row
        columns[name][place] = value(columns[name][place]) if callable(value) else value

    return change


def reordered(columns: Columns) -> None:
    for values in columns.values():
        values[0], values[1] = values[1], values[0]


def louder(columns: Columns) -> None:
    i = right_row(columns)
    columns["top_probabilities"][i] = [0.5, 0.4, *columns["top_probabilities"][i][2:]]
    columns["probability"][i] = 0.5


def backwards(columns: Columns) -> None:
    i = right_row(columns)
    for name in ("top_classes", "top_probabilities"):
        columns[name][i] = [columns[name][i][0], *columns[name][i][:0:-1]]


def not_a_number(columns: Columns) -> None:
    i = right_row(columns)
    columns["top_probabilities"][i] = [float("nan"), *columns["top_probabilities"][i][1:]]
    columns["probability"][i] = float("nan")


def protocol_id(
    *, config: bool = True, digest: bool = False, identity: bool = False, name: str = "vjepa@1"
) -> Forge:
    def forge(forger: Forger) -> Forger | None:
        fields = forger.fields
        fields["protocol"]["name"] = name
        if config:
            fields["config"]["protocol"] = name
        if digest:
            fields["protocol"]["digest"] = protocol_digest(vjepa())
        forger.write(fields, seal=True)
        return forger.mend_id() if identity else forger

    return forge


def foreign(
    *, digest: bool, told: bool = False, kind: str = "other", name: str = "predictions"
) -> Forge:
    """Put the predictions of another model in the place of the record's own."""

    def forge(forger: Forger, runs: dict[str, Path]) -> Forger | None:
        other = Forger(runs[kind])
        forger.file(name).write_bytes(other.file(name).read_bytes())
        if told:
            forger.tell(name, record=forger.fields["id"])
        if digest:
            forger.mend_files()

    return forge


def split(metadata: str) -> Forge:
    def forge(forger: Forger) -> Forger | None:
        setting("task.score_split", "test", seal=True)(forger)
        if metadata == "digest":  # the file is said to be of the split, the record is not
            setting("task.score_split", "val", seal=True)(forger)
            forger.tell(split="test")
            forger.mend_files()

    return forge


def older(forger: Forger) -> None:
    fields = forger.fields
    fields["schema_version"] = 3
    del fields["seal"], fields["probe"]["selection"]["score_split_fit"]
    forger.write(fields)


def without(name: str) -> Forge:
    def forge(forger: Forger) -> Forger | None:
        fields = forger.fields
        del fields[name]
        forger.write(fields)

    return forge


def claims_nothing(forger: Forger) -> None:
    fields = forger.fields
    fields["artifacts"]["predictions"] = None
    forger.write(fields, seal=True)


def elsewhere(forger: Forger) -> None:
    fields = forger.fields
    fields["artifacts"]["predictions"]["path"] = "../other.parquet"
    forger.write(fields, seal=True)


def renamed(forger: Forger) -> Forger:
    return Forger(forger.path.rename(forger.path.with_name("best.json")))


def cut(forger: Forger) -> None:
    forger.path.write_text(forger.path.read_text()[:900])


def call_complete(forger: Forger) -> None:
    fields = forger.fields
    fields.update(status="complete", reasons=[])
    fields["environment"]["git_dirty"] = True
    forger.write(fields, seal=True)


def other_head(forger: Forger) -> None:
    fields = forger.fields
    fields["probe"]["selection"]["holdout_scores"] = [0.5, 0.25]
    fields["probe"]["selected"] = 1
    forger.write(fields, seal=True)


def known_as(forger: Forger) -> None:
    fields = forger.fields
    fields["encoder"].update(spec="my_encoder:best.pt", name="my_encoder", is_floor=False)
    forger.write(fields, seal=True)


def no_file(forger: Forger) -> None:
    forger.file().unlink()


def as_boxes(forger: Forger) -> None:
    """Call rows boxes, which have no labels to count by."""
    fields = forger.fields
    fields["task"]["unit"] = "box"
    fields["metrics"]["mean_per_class"] = 0.9
    forger.write(fields, seal=True)


def few_labels(forger: Forger) -> Forger:
    fields = forger.fields
    fields["train_labels"]["fraction"] = fields["task"]["options"]["fraction"] = 0.05
    fields["config"]["task_options"]["fraction"] = 1.0
    forger.write(fields, seal=True)
    return forger.mend_id()


def config_of(**changes: Any) -> Forge:
    """Change the config, and the id that follows from it."""

    def forge(forger: Forger) -> Forger | None:
        fields = forger.fields
        fields["config"].update(changes)
        forger.write(fields, seal=True)
        return forger.mend_id()

    return forge


def twice_in_file(forger: Forger) -> None:
    text = forger.path.read_text()
    forger.path.write_text(text.replace('"metrics": {', '"metrics": {"top1": 0.99,', 1))


def merged(columns: Columns) -> None:
    """Hide a wrong row in the id of the next one: the digest of the manifest stays."""
    row = next(i for i, p in enumerate(columns["predicted"]) if p != columns["label"][i])
    own = f"{columns['id'][row]}\t{columns['label'][row]}\n"
    columns["id"][row + 1] = own + columns["id"][row + 1]
    drop(columns, row)
    columns["row"] = list(range(len(columns["row"])))


def merged_row(forger: Forger) -> None:
    columns = forger.frame()
    merged(columns)
    forger.write_frame(columns)
    forger.mend_metrics()
    forger.mend_files()


def link_to(target: str) -> Forge:
    def forge(forger: Forger) -> Forger | None:
        file = forger.file()
        file.unlink()
        file.symlink_to(target)

    return forge


def deep(key: bytes, name: str = "predictions") -> Forge:
    """Put JSON into a file's metadata that is nested too deep to be read."""

    def forge(forger: Forger) -> Forger | None:
        table = forger.table(name)
        metadata = {**table.schema.metadata, key: b"[" * 100_000}
        pq.write_table(table.replace_schema_metadata(metadata), forger.file(name))
        forger.mend_files()

    return forge


def half_a_character(forger: Forger) -> None:
    forger.tell(classes=["\ud800"] * 6)
    forger.mend_files()


def other_tensors(forger: Forger) -> None:
    place = forger.path.with_name(f"{forger.path.stem}-probe") / "probe.safetensors"
    place.write_bytes(place.read_bytes()[:-1] + b"x")


def nothing_scored(forger: Forger) -> Forger:
    columns = forger.frame()
    count = len(columns["row"])
    columns.update(dict.fromkeys(PREDICTED, [None] * count), status=["missing"] * count)
    forger.write_frame(columns)
    fields = forger.fields
    fields["data"]["score"].update(used=0, missing=columns["id"], undecodable={})
    fields["metrics"].update(
        top1=0, top5=0, mean_per_class=0, correct=0, scored=0, bounds={"low": 0, "high": 1}
    )
    fields["config"]["on_unreadable"] = "skip"
    forger.write(fields, seal=True)
    return forger.mend_id()


def heads(**changes: Any) -> Forge:
    def forge(forger: Forger) -> Forger | None:
        fields = forger.fields
        fields["probe"]["selection"].update(changes)
        forger.write(fields, seal=True)

    return forge


BROKEN = "the seal is broken"
NOT_THE_FILE = "was changed after the record was written"
CLIPS = {
    # edited metric
    "top1": (setting("metrics.top1", 0.6, seal=False), "record", "top1 0.6 is not"),
    "top1, sealed": (setting("metrics.top1", 0.6, seal=True), "record", "top1 0.6 is not"),
    "all of top1": (lambda f: better(f, seal=False), "seal", BROKEN),
    "all of top1, sealed": (lambda f: better(f, seal=True), "metrics", "top1 is 0.5"),
    "top5": (setting("metrics.top5", 1.0, seal=False), "seal", BROKEN),
    "top5, sealed": (setting("metrics.top5", 1.0, seal=True), "metrics", "top5 is 1.0"),
    "mean": (setting("metrics.mean_per_class", 0.9, seal=True), "metrics", "mean_per_class is 0.9"),
    "high": (setting("metrics.bounds.high", 1.0, seal=True), "metrics", "bounds.high is 1.0"),
    "chance": (setting("metrics.chance", 0.01, seal=True), "metrics", "chance is 0.01"),
    "majority": (setting("metrics.majority", 0.9, seal=True), "metrics", "majority is 0.9"),
    # dropped predictions
    "dropped": (rows(drop, digest=False), "files", NOT_THE_FILE),
    "dropped, mended": (rows(drop), "rows", "17 rows, but the record lists 18"),
    "dropped, counted": (rows(drop_and_number, metrics=True), "manifest", "give the digest"),
    "gone": (no_file, "files", "is missing"),
    "none claimed": (claims_nothing, "files", "names no predictions"),
    "hidden": (rows(hidden, digest=False), "files", NOT_THE_FILE),
    "hidden, mended": (rows(hidden), "rows", "15 rows are scored, but the record used 16"),
    "hidden, counted": (rows(hidden, metrics=True), "record", "do not make the 18 listed"),
    # duplicated predictions
    "twice": (rows(twice, digest=False), "files", NOT_THE_FILE),
    "twice, mended": (rows(twice), "rows", "listed twice (rows 0 and 17)"),
    "twice, counted": (rows(twice, metrics=True), "rows", "listed twice (rows 0 and 17)"),
    "appended": (rows(appended), "rows", "19 rows, but the record lists 18"),
    "appended, counted": (rows(appended, metrics=True), "rows", "listed twice (rows 0 and 18)"),
    # swapped and edited predictions
    "swapped": (rows(swapped, digest=False), "files", NOT_THE_FILE),
    "swapped, mended": (rows(swapped), "metrics", "on record, but the predictions give"),
    "reordered": (rows(reordered), "rows", "row 0 has the number 1"),
    "guessed": (rows(guessed, digest=False), "files", NOT_THE_FILE),
    "guessed, mended": (rows(guessed), "metrics", "correct is"),
    "predicted": (rows(only_predicted, metrics=True), "rows", "most probable class"),
    "louder": (rows(louder), "rows", "sum to more than 1"),
    "backwards": (rows(backwards), "rows", "out of order"),
    "no number": (rows(not_a_number), "rows", "outside [0, 1]"),
    "first": (rows(at("probability", right_row, 0.999)), "rows", "not the first of its list"),
    "no class": (rows(at("top_classes", right_row, lambda c: [c[0], 9, *c[2:]])), "rows",
                 "does not have"),
    "class twice": (rows(at("top_classes", right_row, lambda c: [c[0], c[0], *c[2:]])), "rows",
                    "lists a class twice"),
    "short list": (rows(at("top_classes", right_row, lambda c: c[:3])), "rows", "list 6 classes"),
    "status": (rows(at("status", 0, "lost")), "rows", "status 'lost' is unknown"),
    # relabelled rows and splits
    "fate": (rows(other_fate), "rows", "in the predictions or the record, not in both"),
    "label": (rows(relabelled, digest=False), "files", NOT_THE_FILE),
    "label, counted": (rows(relabelled, metrics=True), "manifest", "rows or labels are not those"),
    "label 6": (rows(at("label", 0, 6)), "rows", "row 0 has the label 6 of 6 classes"),
    "id": (rows(at("id", 0, "val/climb/9.mp4")), "manifest", "give the digest"),
    "split": (setting("task.score_split", "test", seal=False), "seal", BROKEN),
    "split, sealed": (split("record"), "belongs", "for split 'val', but the record has 'test'"),
    "split of the file": (split("digest"), "belongs", "for split 'test'"),
    "task": (setting("task.name", "k400", seal=True), "belongs", "for task 'listing'"),
    "rows of another": (setting("data.score.digest", "0" * 64, seal=True), "record", "the record"),
    "published count": (setting("data.score.expected", 16, seal=True), "record", "expected 18"),
    # changed protocol
    "protocol": (setting("protocol.name", "vjepa@1", seal=True), "record", "config.protocol is"),
    "protocol, config": (protocol_id(), "record", "the record says"),
    "protocol, id": (protocol_id(identity=True), "protocol",
                     "another protocol under the same name"),
    "protocol, digest": (protocol_id(digest=True, identity=True), "protocol",
                         "chosen by 'honest', but vjepa@1 uses 'single'"),
    "unknown protocol": (protocol_id(identity=True, name="honest@9"), "protocol",
                         "cannot be compared"),
    "digest of a protocol": (setting("protocol.digest", "0" * 64, seal=True), "record", "give"),
    # another model
    "foreign": (foreign(digest=False), "files", NOT_THE_FILE),
    "foreign, mended": (foreign(digest=True), "belongs", "was written for record"),
    "foreign, told": (foreign(digest=True, told=True), "metrics", "the predictions give"),
    "another name": (known_as, "config", "the config has 'random:vit_digits'"),
    "elsewhere": (elsewhere, "record", "not the name of a file"),
    # the config, and what follows from it
    "as boxes": (as_boxes, "record", "task.unit is 'box'"),
    "fraction": (setting("train_labels.fraction", 0.05, seal=True), "config",
                 "train_labels.fraction is 0.05, but that of the task is 1.0"),
    "few labels": (few_labels, "config", "task.options.fraction is 0.05, but the config has 1.0"),
    "fit split": (setting("task.fit_split", None, seal=True), "config", "fit_split None"),
    "plan": (config_of(plan="8x8x3@4"), "config", "the scored clips are 8x1x1@4"),
    "layers": (config_of(layers=[0]), "config", "layer 0, which is not recorded"),
    "draws": (config_of(draws=5), "config", "draws 5, which is not recorded"),
    "dtype": (setting("features.dtype", "float32", seal=True), "config", "features are float32"),
    "precision": (config_of(precision="bf16"), "config", "the config has bf16"),
    "options": (config_of(probe_options={"epochs": 9}), "config", "epochs = 9 for the probe"),
    "known task": (setting("task.name", "k400", seal=True), "config", "the task is 'k400'"),
    "trained": (setting("encoder.is_floor", False, seal=True), "config", "not marked as a floor"),
    "arrays": (setting("encoder.spec", "arrays", seal=True), "config", "the encoder is 'arrays'"),
    # the choice of the head
    "no scores": (heads(holdout_scores=[]), "selection", "no scores to choose one of 2 heads"),
    "no share": (heads(holdout_scores=[0.51, 0.3]), "selection", "0.51, which is not a share"),
    "none held": (heads(holdout_rows=0), "selection", "0 of 24 training rows"),
    "not beside": (heads(score_split_scores=[], score_split_fit=None), "selection",
                   "have no scores on the score split"),
    "fit of all": (heads(score_split_fit="all"), "selection", "score_split_fit is 'all'"),
    # files that are no files, numbers and texts that are none
    "device": (link_to("/dev/zero"), "files", "not a plain file"),
    "tensors": (other_tensors, "files", "probe.safetensors does not match"),
    "deep": (deep(b"frozenbench"), "belongs", "does not name"),
    "half a character": (half_a_character, "manifest", "class names are not saved"),
    "line break": (merged_row, "manifest", "has a line break"),
    "key twice": (twice_in_file, "record", "'top1' twice"),
    "huge": (setting("data.score.listed", 10**400, seal=True), "record", "beyond 64 bits"),
    "nothing": (nothing_scored, "metrics", "no row was scored"),
    # the record itself
    "older": (older, "belongs", "the schema version of the record was lowered"),
    "no seal": (without("seal"), "seal", "the seal is missing"),
    "no field": (without("timing"), "record", "field 'timing' is missing"),
    "renamed": (renamed, "record", "name it"),
    "cut": (cut, "record", "is not JSON"),
    "complete": (call_complete, "status", "the code differs from its commit"),
    "head": (other_head, "selection", "head 1 is reported"),
    "weights": (setting("encoder.weights_sha256", "0" * 64, seal=False), "seal", BROKEN),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
def test_forged_record_of_clips_is_refused_for_the_right_reason(
    runs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    forge, check, words = CLIPS[name]
    forger = Forger.copy(runs["clips"], tmp_path / "records")
    wants_runs = forge.__code__.co_argcount == 2
    moved = forge(forger, runs) if wants_runs else forge(forger)
    path = moved.path if isinstance(moved, Forger) else forger.path
    assert verify(path).status == "failed"
    assert any(words in sentence for sentence in found(path, check)), verify(path).findings


def every_class(forger: Forger, *, seal: bool) -> None:
    """Raise the AP of one class and all that follows from it."""
    fields = forger.fields
    metrics = fields["metrics"]
    one = next(c for c in metrics["classes"] if c["ap"] is not None and c["ap"] < 0.9)
    one["ap"] += 0.05
    known = [c["ap"] for c in metrics["classes"] if c["ap"] is not None]
    metrics["mean_ap"] = metrics["by_rules"]["official"] = sum(known) / len(known)
    metrics["bounds"]["high"] = 1.0
    forger.write(fields, seal=seal)


def box_rows(
    change: Callable[[Columns], None],
    name: str = "predictions",
    *,
    digest: bool = True,
) -> Forge:
    def forge(forger: Forger) -> Forger | None:
        columns = forger.frame(name)
        change(columns)
        forger.write_frame(columns, name)
        if digest:
            forger.mend_files()

    return forge


def drop_true_box(columns: Columns) -> None:
    drop(columns, next(i for i, action in enumerate(columns["action"]) if action is not None))


def turned(columns: Columns) -> None:
    """Give every box the scores of the box that it is least like."""
    scored = [i for i, values in enumerate(columns["scores"]) if values is not None]
    for row in scored:
        columns["scores"][row] = [1 - value for value in columns["scores"][row]]


def far_away(columns: Columns) -> None:
    scored = [i for i, values in enumerate(columns["scores"]) if values is not None]
    for name, value in (("x1", 0.98), ("y1", 0.98), ("x2", 0.99), ("y2", 0.99)):
        columns[name][scored[0]] = value


def classes_of(forger: Forger) -> None:
    table = forger.table()
    metadata = {**table.schema.metadata, b"classes": json.dumps({"1": "sit", "5": "run"}).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), forger.file())
    forger.mend_files()


def rules_of(value: Any, key: bytes = b"rules") -> Forge:
    """Change what the truth says of its rules, or of its classes."""

    def forge(forger: Forger) -> Forger | None:
        table = forger.table("truth")
        metadata = {**table.schema.metadata, key: value}
        pq.write_table(table.replace_schema_metadata(metadata), forger.file("truth"))
        forger.mend_files()

    return forge


def told_split(forger: Forger) -> None:
    forger.tell("truth", split="test")
    forger.mend_files()


BOXES = {
    "mean": (setting("metrics.mean_ap", 0.99, seal=True), "record", "mean over the classes"),
    "ap": (lambda f: every_class(f, seal=False), "seal", BROKEN),
    "ap, sealed": (lambda f: every_class(f, seal=True), "metrics", "mean_ap is"),
    "rules": (setting("metrics.by_rules.slowfast", 0.99, seal=True), "metrics", "slowfast is 0.99"),
    "frames": (setting("metrics.num_frames", 17, seal=True), "metrics", "num_frames is 17"),
    "bounds": (setting("metrics.bounds.high", 0.99, seal=True), "metrics", "bounds.high is 0.99"),
    "truth counted": (setting("metrics.truth.scored", 1, seal=True), "metrics", "truth.scored"),
    "dropped": (box_rows(drop, digest=False), "files", NOT_THE_FILE),
    "dropped, mended": (box_rows(drop), "rows", "7 rows, but the record lists 8"),
    "twice": (box_rows(twice), "rows", "listed twice (rows 0 and 7)"),
    "numbered": (box_rows(at("row", 0, 5)), "rows", "row 0 has the number 5"),
    "scores": (box_rows(turned, digest=False), "files", NOT_THE_FILE),
    "scores, mended": (box_rows(turned), "metrics", "the predictions give"),
    "place": (box_rows(far_away), "metrics", "the predictions give"),
    "no number": (box_rows(at("scores", 0, [float("nan"), 0.5])), "rows", "outside [0, 1]"),
    "short": (box_rows(at("scores", 0, [0.5])), "rows", "row 0 does not have 2 scores"),
    "status": (box_rows(at("status", 0, "missing")), "rows", "is missing, but has scores"),
    "truth": (box_rows(drop_true_box, "truth", digest=False), "files", NOT_THE_FILE),
    "truth, mended": (box_rows(drop_true_box, "truth"), "metrics", "the predictions give"),
    "boxes": (setting("data.score.boxes.videos", 9, seal=True), "manifest", "videos is 9"),
    "split": (setting("task.score_split", "test", seal=True), "belongs", "for split 'val'"),
    "split of the truth": (told_split, "belongs", "-truth.parquet was written for split"),
    "classes": (classes_of, "rows", "of other classes than the record"),
    "deep": (deep(b"classes"), "rows", "nested too deeply"),
    "unknown rules": (rules_of(b"mine"), "rows", "unknown rules 'mine'"),
    "classes of the truth": (rules_of(json.dumps({str(2**70): "sit"}).encode(), b"classes"), "rows",
                             "too large"),
    "nowhere": (box_rows(at("x1", 0, float("nan")), "truth"), "rows", "non-finite corner"),
    "not counted": (setting("data.score.boxes", {}, seal=True), "manifest", "lacks the numbers of"),
    "files": (setting("task.files.ground_truth", "0" * 64, seal=True), "record", "the record says"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOXES)
def test_forged_record_of_boxes_is_refused_for_the_right_reason(
    runs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    forge, check, words = BOXES[name]
    forger = Forger.copy(runs["boxes"], tmp_path / "records")
    forge(forger)
    assert verify(forger.path).status == "failed"
    assert any(words in one for one in found(forger.path, check)), verify(forger.path).findings


def test_predictions_of_another_model_with_everything_mended_are_found_beside_that_model(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    forger = Forger.copy(runs["clips"], tmp_path / "records")
    other = Forger.copy(runs["other"], tmp_path / "others")
    forger.file().write_bytes(other.file().read_bytes())
    forger.tell(record=forger.fields["id"])
    forger.mend_metrics()
    forger.mend_files()
    assert verify(forger.path).status == "ok"  # alone it cannot be told
    for verdict in verify_all([forger.path, other.path]):
        [said] = [f for f in verdict.findings if f.check == "copies"]
        assert said.outcome == "suspect" and "bit-identical" in said.sentence


def test_a_split_relabelled_everywhere_is_found_beside_a_record_of_the_same_rows(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    forger = Forger.copy(runs["clips"], tmp_path / "records")
    other = Forger.copy(runs["other"], tmp_path / "others")
    setting("task.score_split", "test", seal=True)(forger)
    forger.tell(split="test")
    forger.mend_files()
    assert verify(forger.path).status == "ok"
    forged, _ = verify_all([forger.path, other.path])
    [said] = [f for f in forged.findings if f.check == "split"]
    assert said.outcome == "suspect" and "but listing val" in said.sentence


def test_boxes_that_all_have_the_same_scores_are_suspect(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    forger = Forger.copy(runs["boxes"], tmp_path / "records")
    columns = forger.frame()
    columns["scores"] = [values and [0.5, 0.25] for values in columns["scores"]]
    forger.write_frame(columns)
    assert found(forger.path, "constant", "suspect") == ["every box has the same scores"]


def test_a_truth_made_easier_is_found_beside_a_record_of_the_same_files(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    own = Forger.copy(runs["boxes"], tmp_path / "records")
    other = Forger.copy(runs["more_boxes"], tmp_path / "records")
    others = [read_record(other.path)]
    assert [f.outcome for f in verify(own.path, others=others).findings if f.check == "truth"] == [
        "ok"
    ]
    columns = own.frame("truth")
    drop_true_box(columns)
    own.write_frame(columns, "truth")
    own.mend_files()
    [said] = [f for f in verify(own.path, others=others).findings if f.check == "truth"]
    assert said.outcome == "suspect" and other.path.stem in said.sentence


def test_boxes_are_compared_with_untrained_weights_video_by_video(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    floor = Forger.copy(runs["more_boxes"], tmp_path / "records")
    own = Forger.copy(runs["boxes"], tmp_path / "records")
    fields = own.fields
    fields["encoder"]["is_floor"] = False
    own.write(fields, seal=True)
    [said] = [
        f
        for f in verify(own.path, others=[read_record(floor.path)]).findings
        if f.check == "control"
    ]
    assert said.outcome == "suspect" and f"(record {floor.path.stem})" in said.sentence
    assert said.sentence.startswith("not better than untrained: ")


def test_protocol_settings_that_were_not_kept_to_are_found_unless_they_are_said() -> None:
    from bench.verify.protocol import departures
    from tests.sound_record import sound_record

    record = sound_record()
    assert any(
        "fixes batch_size = 64" in s or "fixes lr" in s for s in departures(record, honest())
    )
    heads = [{"lr": lr, "weight_decay": wd} for lr in (3e-3, 1e-3, 3e-4) for wd in (0.01, 0.1)]
    kept = record.model_copy(update={"probe": record.probe.model_copy(update={"heads": heads})})
    assert list(departures(kept, honest())) == []


def test_features_of_another_network_or_plan_are_found_beside_a_record_of_the_same(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    own = Forger.copy(runs["clips"], tmp_path / "records")
    fields = own.fields
    fields["config"]["seed"] = 3
    own.write(fields)
    other = own.mend_id()
    own = Forger.copy(runs["clips"], tmp_path / "own")
    for name, value in (("encoder.weights_sha256", "0" * 64), ("plan.score", "8x8x3@4")):
        setting(name, value, seal=True)(own)
        forged, _ = verify_all([own.path, other.path])
        [said] = [f for f in forged.findings if f.check == "features"]
        assert said.outcome == "suspect" and f"but {name} is" in said.sentence
        own = Forger.copy(runs["clips"], tmp_path / name)
    verdict, _ = verify_all([own.path, other.path])
    assert [f.outcome for f in verdict.findings if f.check == "features"] == ["ok"]
