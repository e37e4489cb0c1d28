"""Bundles of real runs: what they hold, what is cut, what is refused, what their check finds."""

import csv
import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.video_vit import fresh_vit
from bench.encoders.weights.layouts import save_released
from bench.publish.bundles import BUNDLE_FILES, check_bundle
from bench.publish.local_paths import places, without_places
from bench.publish.submission import config_toml
from bench.records.record import seal_of
from bench.verify.verify_records import verify
from tests.commands import Bench
from tests.sound_record import sound_fields

NETWORK = ["--set", "encoder.num_heads=3", "--set", "encoder.num_frames=8"]
NETWORK += ["--set", "encoder.image_size=48"]
GOLDEN = Path(__file__).parents[1] / "fixtures" / "records"
CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "features"


def bench_run(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", *map(str, words), "--workers", "0"])
    assert ended.value.code in (None, 0, 3), words


def as_complete(path: Path) -> dict[str, Any]:
    """Undo that the checkout of a developer differs from its commit, in the file of a record."""
    fields = json.loads(path.read_text())
    fields |= {"status": "complete", "reasons": []}
    fields["environment"]["git_dirty"] = False
    path.write_text(json.dumps({**fields, "seal": seal_of(fields)}))
    return fields


@pytest.fixture(scope="module")
def somebody(tmp_path_factory: pytest.TempPathFactory, video_set: Path) -> Path:
    """The folder of a person, with a blank in it: data, weights and one record of a floor."""
    root = tmp_path_factory.mktemp("some body")
    shutil.copytree(video_set, root / "my data")
    network = fresh_vit(VIT_SIZES["vit_digits"], seed=3)
    save_released(root / "latest.pth.tar", target=network, encoder=network)
    (root / "my data" / "val" / "run" / "1.mp4").write_bytes(b"no video")
    bench_run(
        "-m", f"random:{root / 'latest.pth.tar'}", "-t", "folder", "--data", root / "my data",
        "-p", "knn", "--set", "probe.k=1", "--on-unreadable", "wrong", "--home", root / "home",
        *NETWORK,
    )  # fmt: skip
    return root


@pytest.fixture
def home(somebody: Path, tmp_path: Path) -> Path:
    """A copy of the person's records, complete."""
    shutil.copytree(somebody / "home" / "records", tmp_path / "home" / "records")
    for path in (tmp_path / "home" / "records").glob("*.json"):
        as_complete(path)
    return tmp_path / "home"


@pytest.fixture
def record(home: Path) -> Path:
    [path] = (home / "records").glob("*.json")
    return path


@pytest.fixture
def submit(bench: Bench, tmp_path: Path) -> Bench:
    def call(*words: object) -> tuple[int, str, str]:
        return bench("submit", *words, "--out", tmp_path / "results")

    return call


@pytest.fixture
def bundle(submit: Bench, record: Path) -> Path:
    code, out, err = submit(record)
    assert code == 0, err
    return Path(out.strip())


def test_bundle_holds_the_record_its_files_and_no_place_of_the_machine(
    bundle: Path, record: Path, somebody: Path
) -> None:
    number = record.stem
    assert bundle.parts[-3:] == ("random_latest", "folder", number)
    expected = {f"{number}.json", f"{number}.parquet", "manifest.csv", "classes.txt", "config.toml"}
    assert {path.name for path in bundle.iterdir()} == expected
    for path in bundle.glob("*[!t]"):  # all but parquet
        assert str(somebody) not in path.read_text() and "some body" not in path.read_text()
    held, own = json.loads((bundle / f"{number}.json").read_text()), json.loads(record.read_text())
    assert str(somebody) in json.dumps(own)
    assert held["seal"] == seal_of(held) != own["seal"] and held["id"] == own["id"]
    assert held["config"]["encoder"] == held["encoder"]["spec"] == "random:latest.pth.tar"
    assert "data" not in held["config"]["task_options"]
    assert held["metrics"] == own["metrics"] and held["data"]["score"]["undecodable"]
    assert (bundle / f"{number}.parquet").read_bytes() == record.with_suffix(
        ".parquet"
    ).read_bytes()
    verdict = verify(bundle / f"{number}.json")
    assert verdict.having("failed") == verdict.having("suspect") == []
    assert [finding.outcome for finding in check_bundle(bundle)] == ["ok"] * 5


def test_manifest_and_classes_give_the_digest_of_the_record(bundle: Path, record: Path) -> None:
    with (bundle / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [f"{label}/{item}.mp4" for label in ("jump", "run", "sit") for item in (0, 1)]
    assert [row["id"] for row in rows] == ids
    assert [row["label"] for row in rows] == list("001122")
    assert (bundle / "classes.txt").read_text() == "jump\nrun\nsit\n"
    text = "".join(f"{row['id']}\t{row['label']}\n" for row in rows) + "jump\nrun\nsit"
    stated = json.loads(record.read_text())["data"]["score"]["digest"]
    assert hashlib.sha256(text.encode()).hexdigest() == stated


def test_config_of_a_bundle_is_the_same_run(
    bundle: Path, record: Path, somebody: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(somebody)  # where the weights are
    again = tmp_path / "again"
    bench_run(bundle / "config.toml", "--data", somebody / "my data", "--home", again)
    [made] = (again / "records").glob("*.json")
    own = json.loads(record.read_text())
    assert made.name == record.name
    assert json.loads(made.read_text())["metrics"] == own["metrics"]


def test_second_submission_keeps_the_first_and_never_replaces_another(
    submit: Bench, bundle: Path, record: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundle.iterdir()}
    code, out, _ = submit(record)
    assert code == 0 and "already there" in out
    assert {path: path.stat().st_mtime_ns for path in bundle.iterdir()} == before
    (bundle / "manifest.csv").unlink()  # as if it had been cut short
    (bundle / "classes.txt").write_text("jump\n")
    code, out, err = submit(record)
    assert code == 5 and not out and "classes.txt exists with other content" in err
    assert (bundle / "classes.txt").read_text() == "jump\n"
    assert not (bundle / "manifest.csv").exists()
    (bundle / "classes.txt").unlink()
    assert submit(record)[0] == 0 and check_bundle(bundle)[2].outcome == "ok"


def test_probe_is_bundled_when_asked_for(submit: Bench, record: Path) -> None:
    code, out, _ = submit(record, "--with-probe", "--json")
    [told] = json.loads(out)
    folder = Path(told["folder"])
    assert code == 0 and told["is_new"] and told["record"] == record.stem
    probe = folder / f"{record.stem}-probe"
    assert {path.name for path in probe.iterdir()} == {"probe.json", "probe.safetensors"}
    assert {finding.outcome for finding in check_bundle(folder)} == {"ok"}


def test_class_names_need_no_probe(submit: Bench, record: Path) -> None:
    shutil.rmtree(record.parent / f"{record.stem}-probe")
    code, out, err = submit(record)
    assert code == 0, err
    assert (Path(out.strip()) / "classes.txt").read_text() == "jump\nrun\nsit\n"
    code, _, err = submit(record, "--with-probe")
    assert code == 5 and "probe" in err


def test_edited_record_is_refused(submit: Bench, record: Path, tmp_path: Path) -> None:
    text = record.read_text()
    fields = json.loads(text)
    fields["timing"]["total_seconds"] += 1  # nothing contradicts it but the seal
    record.write_text(json.dumps(fields))
    code, out, err = submit(record, "--include-suspect")
    assert code == 5 and not out and "refused" in err and "seal" in err
    assert not (tmp_path / "results").exists()


def test_record_that_is_not_reportable_is_refused_unless_it_is_wanted(
    submit: Bench, record: Path
) -> None:
    fields = json.loads(record.read_text())
    fields |= {"status": "not_reportable", "reasons": ["limited to 6 rows per split"]}
    record.write_text(json.dumps({**fields, "seal": seal_of(fields)}))
    code, out, err = submit(record)
    assert code == 3 and not out and "refused: the record is not reportable: limited to 6" in err
    code, out, err = submit(record, "--include-suspect")
    assert code == 0 and out and "bundled anyway: the record is not reportable" in err


def test_what_is_suspect_is_suspect_in_its_bundle_and_in_a_model_card(
    bench: Bench, submit: Bench, tmp_path: Path
) -> None:
    """Also if the record calls itself complete."""
    noise = [CASES / "rn.npz", CASES / "rns.npz"]
    _, out, _ = bench("probe", "--train", noise[0], "--score", noise[1], "--json")
    path = tmp_path / "home" / "records" / f"{json.loads(out)['id']}.json"
    as_complete(path)
    sentence = "40 of 200 right (20 %, 95 % interval 15 % to 26.1 %) is not above chance, 20 %"
    assert submit(path)[0] == 3
    code, out, err = submit(path, "--include-suspect")
    assert code == 0 and f"bundled anyway: chance: {sentence}" in err
    folder = Path(out.strip())
    held = json.loads((folder / path.name).read_text())
    assert (held["status"], held["reasons"]) == ("suspect", [sentence])
    assert held["seal"] == seal_of(held)
    for where in (folder, folder / path.name, tmp_path / "results"):
        code, out, err = bench("verify", where)
        assert code == 3 and "not above chance" in " ".join(out.split()), err
    assert "already there" in submit(path, "--include-suspect")[1]
    card = ("card", path, "--dataset", "rns=me/noise", "--include-suspect", "--out", tmp_path / "m")
    assert bench(*card)[0] == 0 and bench(*card)[1] == ""
    for name in ("README.md", ".eval_results/rns.yaml"):
        text = (tmp_path / "m" / name).read_text()
        assert text.count(f"; suspect: {sentence}") == 1


def test_refused_record_does_not_keep_the_others_back(
    submit: Bench, record: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "0123456789abcdef.json"
    broken.write_text("{}")
    code, out, err = submit(broken, record)
    assert code == 5 and record.stem in out and "0123456789abcdef refused" in err


def test_path_that_the_id_depends_on_is_refused_unless_it_may_leave(
    submit: Bench, somebody: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = tmp_path / "lists"
    for split, items in (("train", range(4)), ("val", (0,))):
        files = [(somebody / "my data" / split / c / f"{i}.mp4", c) for c in ["jump", "run", "sit"]
                 for i in items]  # fmt: skip
        lists.mkdir(exist_ok=True)
        (lists / f"{split}.tsv").write_text("".join(f"{file}\t{name}\n" for file, name in files))
    home = tmp_path / "its home"
    bench_run(
        "-m", "random:vit_digits", "-t", "listing", "-p", "knn", "--set", "probe.k=1", "--home",
        home, "--set", f"task.train={lists}/train.tsv", "--set", f"task.val={lists}/val.tsv",
    )  # fmt: skip
    [path] = (home / "records").glob("*.json")
    as_complete(path)
    code, _, err = submit(path)
    assert code == 5 and "config.task_options.train" in err and "--keep-paths" in err
    code, out, _ = submit(path, "--keep-paths")
    assert code == 0
    outcomes = {finding.check: finding for finding in check_bundle(Path(out.strip()))}
    assert outcomes["bundle paths"].outcome == "failed"
    assert "config.task_options.train" in outcomes["bundle paths"].sentence


# ----------------------------------------------------------------------------- what the check finds
def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / (name or f"{folder.name}.json")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def swapped(folder: Path) -> None:
    lines = (folder / "manifest.csv").read_text().splitlines()
    first, second = lines[1].split(",", 1), lines[3].split(",", 1)
    lines[1], lines[3] = f"0,{second[1]}", f"2,{first[1]}"
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def swapped_with_its_digest(folder: Path) -> None:
    """The forger mends the digest too; the predictions still have the old order."""
    swapped(folder)
    rows = [line.split(",")[1:] for line in (folder / "manifest.csv").read_text().splitlines()[1:]]
    text = "".join(f"{sample}\t{label}\n" for sample, label in rows) + "jump\nrun\nsit"
    path = folder / f"{folder.name}.json"
    fields = json.loads(path.read_text())
    fields["data"]["score"]["digest"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(fields))


def cut_off(folder: Path) -> None:
    path = folder / "manifest.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (edit("manifest.csv", "jump/1.mp4,0", "jump/1.mp4,1"), "manifest", "labels or class names"),
        (edit("manifest.csv", "1,jump/1.mp4,0\n", ""), "manifest", "expected row 1, found"),
        (edit("manifest.csv", "row,id", "row,name"), "manifest", "does not begin with row,id"),
        (edit("classes.txt", "sit", "sat"), "manifest", "class names were changed"),
        (cut_off, "manifest", "were changed"),
        (swapped, "manifest", "were changed"),
        (swapped_with_its_digest, "manifest", "row 0 is 'run/0.mp4' with label 1 in manifest.csv"),
        (edit("config.toml", "seed = 0", "seed = 1"), "config", "seed = 1, the record has 0"),
        (edit("config.toml", "knn", "linear"), "config", "probe = 'linear'"),
        (edit("config.toml", "seed = 0", "seed = "), "config", "cannot be read"),
        (edit("", '"random seed 0"', '"/home/me/x.pt"'), "paths", "encoder.source has a local"),
        (lambda folder: (folder / "note.txt").write_text("x"), "files", "unexpected files: note"),
        (lambda folder: (folder / "classes.txt").unlink(), "files", "has no classes.txt"),
        (lambda folder: (folder / f"{folder.name}.parquet").unlink(), "files", "has no "),
    ],
)  # fmt: skip
def test_check_names_what_was_changed(
    bundle: Path, change: Callable[..., Any], check: str, said: str
) -> None:
    change(bundle)
    wrong = {one.check: one.sentence for one in check_bundle(bundle) if one.outcome != "ok"}
    assert said in wrong[f"bundle {check}"]
    gone = {"bundle manifest"} if check == "files" else set()  # nothing to compare with
    assert set(wrong) <= {f"bundle {check}", *gone}


def test_check_finds_a_bundle_in_another_place_and_two_in_one(bundle: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "results" / "vjepa_vitl16" / "folder" / bundle.name
    shutil.copytree(bundle, elsewhere)
    wrong = [one for one in check_bundle(elsewhere) if one.outcome != "ok"]
    assert [one.check for one in wrong] == ["bundle place"] and "random_latest" in wrong[0].sentence
    shutil.copy(bundle / f"{bundle.name}.json", bundle / "0123456789abcdef.json")
    [two] = check_bundle(bundle)
    assert two.outcome == "failed" and "has 2 records" in two.sentence


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"encoder": 3}', '{"encoder": {}, "id": 1}'])
def test_check_of_what_is_no_record_never_raises(bundle: Path, text: str) -> None:
    (bundle / f"{bundle.name}.json").write_text(text)
    assert [one.outcome for one in check_bundle(bundle)] == ["failed"]


@pytest.mark.parametrize("field", ["artifacts", "data", "task", "config"])
def test_check_of_a_record_that_lacks_a_part_fails_and_never_raises(
    bundle: Path, field: str
) -> None:
    path = bundle / f"{bundle.name}.json"
    fields = json.loads(path.read_text())
    for value in (None, [], {}, "x"):
        if field != "task" or value == {}:
            path.write_text(json.dumps({**fields, field: value}))
            assert "failed" in {one.outcome for one in check_bundle(bundle)}


def test_folder_of_records_at_home_is_no_bundle(home: Path) -> None:
    assert check_bundle(home / "records") == []
    assert set(BUNDLE_FILES) == {"manifest.csv", "classes.txt", "config.toml"}


def test_boxes_of_an_older_schema_are_bundled_as_far_as_their_files_tell(submit: Bench) -> None:
    path = GOLDEN / "3" / "f79b60d997a98466.json"
    code, out, err = submit(path, "--include-suspect")
    assert code == 0, err
    folder = Path(out.splitlines()[0])
    assert (folder / "f79b60d997a98466-truth.parquet").is_file()
    found = {one.check: one.outcome for one in check_bundle(folder)}
    assert found.pop("bundle manifest") == "unchecked" and set(found.values()) == {"ok"}
    assert "seal" not in json.loads((folder / path.name).read_text())


def test_older_clips_whose_class_names_are_gone_are_refused_with_a_sentence(submit: Bench) -> None:
    code, _, err = submit(GOLDEN / "3" / "f9b03eff4b61ffc4.json", "--include-suspect")
    assert code == 5 and "its class names are neither" in err


# ------------------------------------------------------------------------------------------- places
@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("/home/me/k400", "k400"),
        ("cannot open /home/me/k400/a.mp4: no stream", "cannot open a.mp4: no stream"),
        ("('/mnt/disk/x/a.mp4', 3)", "('a.mp4', 3)"),
        ("vjepa:/home/me/latest.pth.tar", "vjepa:latest.pth.tar"),
        (r"C:\Users\me\a.pt", "a.pt"),
        ("~/runs/a.pt", "a.pt"),
        ("../weights/a.pt", "a.pt"),
        ("https://example.org/a/b/c.pt", "https://example.org/a/b/c.pt"),
        ("hf://org/name@main/a.pt", "hf://org/name@main/a.pt"),
        ("class/sub/a.mp4", "class/sub/a.mp4"),
        ("16x8x3@4", "16x8x3@4"),
        ("train/val, and/or 3/4", "train/val, and/or 3/4"),
        ("timm/vit_tiny", "timm/vit_tiny"),
    ],
)
def test_places_are_cut_to_their_last_name(text: str, cut: str) -> None:
    fields = {"encoder": {"notes": [text]}, "data": {text: 1}}
    assert without_places(fields) == {"encoder": {"notes": [cut]}, "data": {cut: 1}}
    assert list(places(fields)) == (
        [] if text == cut else [("encoder.notes", text), ("data", text)]
    )


def test_folders_that_the_config_names_are_cut_though_they_have_blanks() -> None:
    fields = sound_fields()
    fields["config"]["task_options"] = {"data": "/home/me/her own films/set", "size": "small"}
    fields["data"]["score"]["layout"] = "class folders of /home/me/her own films/set/val"
    fields["config"]["encoder"] = fields["encoder"]["spec"] = "vjepa:/home/me/a b/latest.pt"
    cut = without_places(fields)
    assert cut["data"]["score"]["layout"] == "class folders of set/val"
    assert cut["config"]["encoder"] == cut["encoder"]["spec"] == "vjepa:latest.pt"
    assert cut["config"]["task_options"] == {"size": "small"}
    assert list(places(cut)) == [] and "seal" not in cut
    assert fields["config"]["task_options"]["data"] == "/home/me/her own films/set"  # ours stays


def test_files_of_a_task_are_cut_where_the_id_has_their_digests_and_stay_where_not() -> None:
    fields = sound_fields()
    fields["config"]["task_options"] = {"annotations": "/data/ava/annotations"}
    assert [where for where, _ in places(without_places(fields))] == [
        "config.task_options.annotations"
    ]
    fields["task"]["files"] = {"ground_truth": "ab" * 32}
    cut = without_places(fields)
    assert cut["config"]["task_options"] == {"annotations": "annotations"}
    assert list(places(cut)) == []


def test_toml_of_a_config_reads_back_as_it_was() -> None:
    config = {
        "encoder": 'a "quoted" \\ name\x7f\t\n ü',
        "layers": [1, 2],
        "plan": None,
        "seed": 3,
        "task_options": {"fraction": 1e-06, "with.dot": True, "none": None, "k": [[1, 0.5], ["a"]]},
        "probe_options": {},
    }
    fields = {**sound_fields(), "config": config}
    held = tomllib.loads(config_toml(fields))
    wanted = {**config, "task_options": {**config["task_options"]}}
    del wanted["plan"], wanted["probe_options"], wanted["task_options"]["none"]
    assert held == wanted
