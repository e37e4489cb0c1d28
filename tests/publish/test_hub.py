"""What records become at a hub: read back by the hub's own client, pushed to a server of HTTP."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from bench.data.manifest import manifest_digest
from bench.errors import BenchError, UsageError
from bench.publish.hub_card import (
    Benchmark,
    Provenance,
    benchmarks,
    entry_of,
    one_model,
    results_of,
    yaml_text,
)
from bench.publish.hub_merge import card_with, entries_with, merged
from bench.records.record import Record
from tests.commands import Bench
from tests.kept_records import kept_predictions
from tests.sound_record import box_record, sound_fields, sound_record

PROVENANCE = Provenance(
    benchmarks={"moving_digits_what": Benchmark(id="me/digits", task_id="what", revision="ab12")},
    source="https://example.org/results",
)
SHA = "0123456789abcdef0123456789abcdef01234567"
CARD = """---
# what people see first
license: mit   # stays
model-index:
- name: my model
  results:
  - task: {type: text-generation}
    dataset: {name: HLE, type: cais/hle}
    metrics:
    - {type: accuracy, value: 3.5, name: HLE, verified: true, verifyToken: abc}
# of the tags
tags: [video,   "frozen"]
---
# My model

---
text
"""


def results(*records: Record, provenance: Provenance = PROVENANCE) -> list[dict[str, Any]]:
    return [results_of(record, Path("nowhere/records"), provenance) for record in records]


def as_hub(text: str) -> dict[str, Any]:
    """Return the results of a card as the hub's client reads them."""
    [model] = yaml.safe_load(text.split("---")[1])["model-index"]
    assert all(one["metrics"] for one in model["results"])
    found = ModelCard(text).data.eval_results
    assert len({one.metric_name for one in found}) == len(found)
    return {one.metric_name: one for one in found}


# -------------------------------------------------------------------------------------- the formats
def test_model_index_is_read_back_by_the_client_of_the_hub() -> None:
    record = sound_record(correct=71, rows=100, unreadable=3)
    [part] = results(record)
    name, [found] = model_index_to_eval_results(merged([], "m", [part]))
    assert (name, found.task_type, found.dataset_type) == ("m", "video-classification", "me/digits")
    assert (found.dataset_name, found.dataset_split) == ("Moving digits what", "test")
    assert (found.dataset_revision, found.metric_type) == ("ab12", "accuracy")
    assert found.metric_value == 71.0 and found.metric_name.startswith("Top-1 accuracy in percent")
    assert (found.source_url, found.source_name) == ("https://example.org/results", "frozenbench")
    told = found.metric_args
    assert (told["record"], told["n"], told["correct"]) == (record.id, 100, 71)
    assert (told["protocol"], told["probe"], told["views"]) == ("honest@1", "attentive", "16x2x3@4")
    # Wilson for 71 of 100 by hand: middle (0.71 + 1.9208 / 100) / 1.038415, half 0.0875.
    assert told["interval_95"] == [61.46, 78.99] and told["interval_method"] == "Wilson"
    assert told["unreadable"] == "3 of 100 rows unreadable, counted as wrong"
    assert told["manifest_sha256"] == record.data.score.digest


def test_eval_results_are_read_back_by_the_client_of_the_hub() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the client is older than the format")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("the client is older than the format")
    record = sound_record(deviations=("more epochs",))
    held = yaml.safe_load(yaml_text([entry_of(record, Path("nowhere/records"), PROVENANCE)]))
    [entry] = hub.parse_eval_result_entries(held)
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == (
        "me/digits",
        "what",
        "ab12",
    )
    assert (entry.value, entry.date) == (71.0, "2025-03-01T12:00:00Z")
    assert entry.source_url == "https://example.org/results" and entry.verify_token is None
    for part in ("honest@1", "16x2x3@4", "split test, n = 100", "61.46 to 78.99 (Wilson)",
                 "attentive probe", "more epochs", record.id):  # fmt: skip
        assert part in entry.notes
    assert hub.eval_result_entries_to_yaml([entry]) == held
    assert entry_of(record, Path(), Provenance(benchmarks={})) is None


def test_top_5_few_labels_seeds_and_boxes_are_named_apart() -> None:
    fields = sound_fields(fraction=0.05, seed=2)
    fields["metrics"]["top5"] = 0.93
    [part] = results(Record.model_validate(fields), provenance=Provenance(benchmarks={}))
    first, fifth = part["metrics"]
    assert fifth["type"] == "top_5_accuracy" and fifth["value"] == 93.0
    # Wilson for 93 of 100 by hand: middle 0.914093, half 0.051588.
    assert fifth["args"]["interval_95"] == [86.25, 96.57]
    assert "5 % of the training labels, draw 0, seed 2" in first["name"]
    assert part["dataset"]["type"] == "moving_digits_what" and "source" not in part
    [part] = results(box_record(0.31234))
    assert part["task"]["type"] == "object-detection"
    [metric] = part["metrics"]
    assert (metric["type"], metric["value"]) == ("mean_average_precision", 31.23)
    assert "interval_95" not in metric["args"] and metric["args"]["n"] == 100


def test_skipped_rows_are_no_part_of_n() -> None:
    fields = sound_fields(correct=71, rows=100, unreadable=20)
    fields["metrics"]["top1"] = fields["metrics"]["mean_per_class"] = 71 / 80
    record = Record.model_validate(fields)
    config = {**record.config, "on_unreadable": "skip"}
    [part] = results(record.model_copy(update={"config": config}))
    args = part["metrics"][0]["args"]
    assert args["n"] == 80 and args["unreadable"] == "20 of 100 rows unreadable, left out"


def test_ids_that_other_readers_take_for_numbers_are_quoted() -> None:
    assert yaml_text({"record": "12345678e1234567"}) == "record: '12345678e1234567'\n"
    assert yaml_text({"record": "1234567812345678"}) == "record: '1234567812345678'\n"
    assert yaml_text({"record": "ab345678e1234567"}) == "record: ab345678e1234567\n"


@pytest.mark.parametrize(
    ("text", "benchmark"),
    [
        ("k400=org/name", Benchmark(id="org/name")),
        ("k400=org/na.me:val", Benchmark(id="org/na.me", task_id="val")),
        ("k400=org/name:a b@1f", Benchmark(id="org/name", task_id="a b", revision="1f")),
        ("k400=org/name@1f", Benchmark(id="org/name", revision="1f")),
    ],
)
def test_benchmarks_are_read(text: str, benchmark: Benchmark) -> None:
    assert benchmarks([text]) == {"k400": benchmark}


@pytest.mark.parametrize("text", ["k400", "k400=name", "=org/name", "k400=org/name:"])
def test_other_spellings_of_a_benchmark_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write TASK=ORG/NAME"):
        benchmarks([text])


def test_a_card_is_of_one_model_and_says_nothing_twice() -> None:
    ours, others = sound_record(), sound_record(weights="other")
    with pytest.raises(UsageError, match="of one model"):
        one_model([ours, others], PROVENANCE)
    twin = sound_record(correct=70, created="2025-04-01T12:00:00Z", manifest="another list")
    with pytest.raises(UsageError, match="measure the same"):
        one_model([ours, twin], PROVENANCE)
    with pytest.raises(UsageError, match="--dataset k400="):
        one_model([ours], Provenance(benchmarks={"k400": Benchmark(id="a/b")}))
    assert one_model([ours, sound_record(probe="knn"), sound_record(seed=1)], PROVENANCE)


# ---------------------------------------------------------------------------- files of other people
def test_card_keeps_every_byte_that_is_not_ours() -> None:
    text = card_with(CARD, "unused", results(sound_record()))
    begin, end = CARD.index("model-index:"), CARD.index("# of the tags")
    assert text.startswith(CARD[:begin]) and text.endswith(CARD[end:])
    held = yaml.safe_load(text.split("---\n")[1])
    assert held["license"] == "mit" and held["tags"] == ["video", "frozen"]
    [model] = held["model-index"]
    theirs = yaml.safe_load(CARD.split("---\n")[1])["model-index"][0]["results"]
    assert model["name"] == "my model" and model["results"][:1] == theirs
    assert len(model["results"]) == 2 and set(as_hub(text)) > {"HLE"}


def test_card_without_front_matter_or_index_gets_one() -> None:
    part = results(sound_record())
    for text in ("# Title\n\ntext\n", "---\nlicense: mit\n---\n# Title\n\ntext\n", "", None):
        made = card_with(text, "m", part)
        [found] = as_hub(made).values()
        assert found.metric_value == 71.0 and ModelCard(made).data.model_name == "m"
        assert made.endswith("# Title\n\ntext\n" if text else "---\n" if text == "" else "# m\n")
    assert "license: mit\n" in card_with("---\nlicense: mit\n---\n", "m", part)


def test_the_same_again_changes_nothing_and_a_new_value_replaces_the_old() -> None:
    once = card_with(CARD, "m", results(sound_record()))
    assert card_with(once, "m", results(sound_record())) == once
    better = card_with(once, "m", results(sound_record(correct=80)))
    found = as_hub(better)
    assert len(found) == 2 and {one.metric_value for one in found.values()} == {3.5, 80.0}
    both = card_with(better, "m", results(sound_record(probe="knn", correct=60)))
    assert {one.metric_value for one in as_hub(both).values()} == {3.5, 80.0, 60.0}
    elsewhere = Provenance(benchmarks=PROVENANCE.benchmarks, source="https://other.org")
    assert len(as_hub(card_with(once, "m", results(sound_record(), provenance=elsewhere)))) == 2
    moved = as_hub(card_with(both, "m", results(sound_record(correct=81), provenance=elsewhere)))
    assert {one.metric_value: one.source_url for one in moved.values()} == {
        3.5: None, 60.0: "https://example.org/results", 81.0: "https://other.org",
    }  # fmt: skip


def test_windows_line_ends_and_marks_stay() -> None:
    text = card_with("\ufeff" + CARD.replace("\n", "\r\n"), "m", results(sound_record()))
    assert text.startswith("\ufeff---\r\n") and "\n" not in text.replace("\r\n", "")
    assert text.replace("\r\n", "\n")[1:] == card_with(CARD, "m", results(sound_record()))


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ("license: [mit\n", "is not YAML"),
        ("- a\n- b\n", "not a mapping"),
        ("model-index: 3\n", "not a list of models"),
        ("model-index:\n- name: x\n", "not a list of models"),
        ("model-index:\n- name: x\n  results: [{task: {type: a}}]\n", "not a list of models"),
        ("{license: mit, model-index: []}\n", "cannot be replaced on its own"),
        ("model-index: [\n]\nlicense: mit\n", "cannot be replaced on its own"),
    ],
)
def test_cards_that_cannot_be_added_to_are_refused(front: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        card_with(f"---\n{front}---\ntext\n", "m", results(sound_record()))
    with pytest.raises(BenchError, match="not closed"):
        card_with(f"---\n{front}", "m", results(sound_record()))


def test_entries_of_others_stay_and_ours_are_replaced() -> None:
    theirs = (
        "# theirs\n- dataset: {id: me/digits, task_id: what}\n  value: 0.5\n  notes: no-tools\n"
    )
    ours = entry_of(sound_record(), Path("nowhere/records"), PROVENANCE)
    once = entries_with(theirs, "f.yaml", [ours])
    assert yaml.safe_load(once) == [*yaml.safe_load(theirs), ours]
    noted = f"# what people wrote\n{once}"
    assert entries_with(noted, "f.yaml", [ours]) == noted
    better = entry_of(sound_record(correct=80), Path("nowhere/records"), PROVENANCE)
    knn = entry_of(sound_record(probe="knn"), Path("nowhere/records"), PROVENANCE)
    held = yaml.safe_load(entries_with(once, "f.yaml", [better, knn]))
    assert [one["value"] for one in held] == [0.5, 80.0, 71.0]
    assert entries_with(None, "f.yaml", [ours]) == yaml_text([ours])
    with pytest.raises(BenchError, match=r"f\.yaml is not a list"):
        entries_with("a: 1\n", "f.yaml", [ours])


# ------------------------------------------------------------------------------------- the commands
@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record of schema 4 with real predictions: 45 of 60 right, on disk with its files."""
    return written(tmp_path / "home" / "records")


def written(folder: Path) -> Path:
    labels = np.arange(60) % 3
    predicted = np.where(np.arange(60) % 4 == 0, (labels + 1) % 3, labels)
    scores = np.full((60, 3), 0.1, np.float32)
    scores[np.arange(60), predicted] = 0.8
    ids, classes = [f"c/{i}.mp4" for i in range(60)], ("jump", "run", "sit")
    record = kept_predictions(
        folder, labels, scores, classes=classes, ids=ids, verifiable=True, probe="knn"
    )
    assert record.data.score.digest == manifest_digest(ids, labels, classes)
    return folder / f"{record.id}.json"


def test_card_command_prints_or_writes_into_a_folder(
    bench: Bench, record: Path, tmp_path: Path
) -> None:
    words = ["card", record, "--dataset", "moving_digits_what=me/digits"]
    code, out, err = bench(*words)
    assert code == 0, err
    assert out.startswith("# README.md\n---\nmodel-index:") and "# .eval_results/" in out
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text(CARD)
    code, out, _ = bench(*words, "--out", tmp_path / "model")
    assert len(out.splitlines()) == 2
    assert 75.0 in {
        m.metric_value for m in as_hub((tmp_path / "model/README.md").read_text()).values()
    }
    [entry] = yaml.safe_load((tmp_path / "model/.eval_results/moving_digits_what.yaml").read_text())
    assert entry["value"] == 75.0 and record.stem in entry["notes"]
    assert bench(*words, "--out", tmp_path / "model")[1] == ""  # nothing changes any more
    code, out, err = bench("card", record)
    assert code == 0 and ".eval_results" not in out and "--dataset moving_digits_what=" in err
    assert bench("card", record, "--source", "ftp://x")[0] == 2


def test_edited_record_gets_no_card(bench: Bench, record: Path, tmp_path: Path) -> None:
    record.write_text(record.read_text().replace('"correct": 45', '"correct": 46'))
    code, out, err = bench("card", record, "--out", tmp_path / "model", "--include-suspect")
    assert code == 5 and not out and "nothing was written or sent" in err
    assert not (tmp_path / "model").exists()


class Hub(BaseHTTPRequestHandler):
    """The few routes of a hub that a commit needs; files are in `server.files`."""

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: Any, status: int = 200, **headers: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, server = urlsplit(self.path).path, self.server
        server.seen.append(f"{self.command} {path}")
        if path.startswith("/api/models/me/model"):
            siblings = [{"rfilename": name} for name in server.files]
            self.answer({"id": "me/model", "sha": SHA, "siblings": siblings, "tags": []})
        elif path.startswith(f"/me/model/resolve/{SHA}/"):
            name = path.removeprefix(f"/me/model/resolve/{SHA}/")
            etag = f'"{abs(hash(name))}"'
            self.answer(server.files[name].encode(), ETag=etag, X_Repo_Commit=SHA)
        else:
            self.answer({"error": "no"}, 404, X_Error_Code="RepoNotFound")

    def do_POST(self) -> None:
        url, server = urlsplit(self.path), self.server
        server.seen.append(f"POST {url.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if url.path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            self.answer({"warnings": [], "errors": []})
        elif "/preupload/" in url.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer({"files": [{"path": name, **modes} for name in names]})
        elif server.refuses:
            self.answer({"error": "the branch has moved"}, server.refuses)
        else:
            server.auth = self.headers["Authorization"]
            server.commits.append([json.loads(line) for line in body.splitlines()])
            is_pr = parse_qs(url.query).get("create_pr") == ["1"]
            place = f"http://{self.headers['Host']}/me/model"
            pull = f"{place}/discussions/1" if is_pr else None
            made = {"commitUrl": f"{place}/commit/{SHA}", "pullRequestUrl": pull}
            self.answer({"success": True, "commitOid": SHA, **made})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.seen, server.commits, server.refuses = {"README.md": CARD}, [], [], 0
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def push(bench: Bench, record: Path) -> Bench:
    told = ["--dataset", "moving_digits_what=me/digits:what"]

    def call(*words: object, repo: str = "me/model") -> tuple[int, str, str]:
        return bench("push", record, "--repo", repo, *told, *words)

    return call


def test_push_shows_the_difference_and_sends_nothing(push: Bench, hub: ThreadingHTTPServer) -> None:
    code, out, err = push()
    assert code == 0, err
    assert "--- a/README.md\n+++ b/README.md\n" in out and "\n+      value: 75.0\n" in out
    assert "--- /dev/null\n+++ b/.eval_results/moving_digits_what.yaml\n" in out
    assert "\n-license" not in out and "Nothing was sent. --yes makes one commit" in err
    assert not [one for one in hub.seen if one.startswith("POST")] and not hub.commits


def test_push_makes_the_one_commit_that_it_showed(
    push: Bench, hub: ThreadingHTTPServer, record: Path
) -> None:
    shown = json.loads(push("--json")[1])
    code, out, err = push("--yes")
    assert code == 0, err
    assert f"commit/{SHA}" in err
    [[header, *files]] = hub.commits
    assert header["value"]["parentCommit"] == SHA and record.stem in header["value"]["summary"]
    sent = {f["value"]["path"]: base64.b64decode(f["value"]["content"]).decode() for f in files}
    assert sent == shown["files"] and set(sent) == {
        "README.md", ".eval_results/moving_digits_what.yaml",
    }  # fmt: skip
    assert hub.auth == "Bearer hf_of_a_test" and "hf_of_a_test" not in out + err
    hub.files |= sent
    code, out, err = push("--yes", "--json")
    assert code == 0 and "nothing to commit" in err and len(hub.commits) == 1
    assert json.loads(out)["committed"] is None and json.loads(out)["files"] == {}


def test_push_makes_a_pull_request(push: Bench, hub: ThreadingHTTPServer) -> None:
    code, _, err = push("--yes", "--pr")
    assert code == 0, err
    assert "discussions/1" in err and len(hub.commits) == 1


def test_push_to_a_model_without_a_card_makes_one(push: Bench, hub: ThreadingHTTPServer) -> None:
    hub.files = {}
    files = json.loads(push("--json")[1])["files"]
    assert files["README.md"].endswith("# model\n")
    assert [one.metric_value for one in ModelCard(files["README.md"]).data.eval_results] == [75.0]


def test_push_that_the_hub_refuses_ends_in_a_sentence(
    push: Bench, hub: ThreadingHTTPServer, bench: Bench, record: Path
) -> None:
    code, _, err = push(repo="me/other")
    assert code == 1 and "has no model me/other" in err
    code, _, err = push(repo="a/b/c")
    assert code == 1 and "a/b/c" in err
    hub.refuses = 412
    code, _, err = push("--yes")
    assert code == 1 and "the branch has moved; nothing was committed" in err
    hub.refuses = 504
    code, _, err = push("--yes")
    assert code == 1 and "check there whether the commit was made" in err


def test_push_without_a_hub_ends_in_a_sentence(
    push: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    code, _, err = push()
    assert code == 1 and "127.0.0.1:9" in err and "nothing was sent" in err


def test_push_of_an_edited_record_asks_the_hub_nothing(
    push: Bench, hub: ThreadingHTTPServer, record: Path
) -> None:
    record.write_text(record.read_text().replace('"top1": 0.75', '"top1": 0.85'))
    code, _, err = push("--yes")
    assert code == 5 and "nothing was written or sent" in err and hub.seen == []
