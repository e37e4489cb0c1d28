"""`bench data` and `bench check`: found once, remembered, reported, and nothing deleted."""

import json
from pathlib import Path

import pytest

from tests.commands import Bench, Records
from tests.tasks import layouts
from tests.tasks.test_layouts import items_of


@pytest.fixture
def k400(tmp_path: Path) -> tuple[Path, str, str]:
    """A small Kinetics-400 as CVDF packs it; one listed video has no file, one is broken."""
    root = tmp_path / "kinetics"
    for split, count in (("train", 2), ("val", 1)):
        items = items_of("k400", split, count)
        layouts.kinetics(root, split, items)
    lost, broken = sorted((root / "train").iterdir())[:2]
    lost.unlink()
    broken.write_bytes(broken.read_bytes()[:700])
    return root, lost.name, broken.name


def test_what_was_found_is_said_and_remembered_for_later_runs(
    k400: tuple[Path, str, str], bench: Bench, records: Records
) -> None:
    root, _, _ = k400
    code, said, _ = bench("data", "add", "k400", root)
    assert code == 0
    for words in ("6 rows", "246,534 published", "CVDF", "train.csv", "1 without a file"):
        assert words in " ".join(said.split())
    code, said, _ = bench("data", "ls", "--json")
    [facts] = json.loads(said)
    assert facts["task"] == "k400" and facts["root"] == str(root) and "3 rows" in facts["val"]
    (root / "annotations" / "train.csv").unlink()  # it is not read again
    run = ["-m", "pixel_mean", "-p", "knn", "--set", "probe.k=1", "--plan", "8x1x1@1"]
    [record] = records(*run, "-t", "k400", "--on-unreadable", "wrong")
    fit = record["data"]["fit"]
    assert fit["listed"] == 6 and len(fit["missing"]) == len(fit["undecodable"]) == 1
    assert "CVDF" in fit["layout"] and str(root) not in json.dumps(record["data"])
    [few] = records(
        *run, "-t", "k400_low_shot", "--set", "task.percent=50", "--on-unreadable", "wrong"
    )
    assert few["data"]["fit"]["listed"] == 3
    names = sorted(path.name for path in (root / "train").iterdir())[:4]
    (root.parent / "subset.txt").write_text("\n".join(names) + "\n")
    [some] = records(
        *run, "-t", "k400", "--set", f"task.subset={root.parent / 'subset.txt'}",
        "--on-unreadable", "wrong",
    )  # fmt: skip
    assert some["data"]["fit"]["listed"] == some["train_labels"]["used"] + 1 == 4


def test_the_report_names_what_is_missing_and_broken_and_is_kept_as_files(
    k400: tuple[Path, str, str], bench: Bench, tmp_path: Path
) -> None:
    root, lost, broken = k400
    before = sorted(path.name for path in root.rglob("*"))
    arguments = ["check", "k400", "--data", root, "--plan", "8x1x1@1"]
    code, _, error = bench(*arguments)
    assert code == 4 and "k400-train.json" in error
    report = json.loads((tmp_path / "home/checks/k400-train.json").read_text())
    assert report["missing"] == [lost[:11]] and report["remembered"] == 0
    assert [name for name, _ in report["unreadable"]] == [broken[:11]]
    assert (report["listed"], report["present"], report["expected"]) == (6, 5, 246_534)
    table = (tmp_path / "home/checks/k400-train.md").read_text()
    assert f"| missing | 1: {lost[:11]} |" in table and "| unreadable | 1: " in table
    code, said, _ = bench(*arguments, "--json")
    again = json.loads(said)["train"]
    assert again["remembered"] == 5 and again["unreadable"] == report["unreadable"]
    assert sorted(path.name for path in root.rglob("*")) == before


def test_splits_that_were_added_earlier_stay(
    bench: Bench, records: Records, tmp_path: Path
) -> None:
    root = tmp_path / "ucf"
    for split, count in (("train", 2), ("val", 1)):
        layouts.ucf101(root, split, items_of("ucf101", split, count))
    lists = root / "ucfTrainTestlist"
    for kind in ("train", "test"):
        (lists / f"{kind}list02.txt").write_bytes((lists / f"{kind}list01.txt").read_bytes())
    assert bench("data", "add", "ucf101", root)[0] == 0
    run = ["-m", "pixel_mean", "-t", "ucf101", "-p", "knn", "--set", "probe.k=1", "--plan", "8@1"]
    code, _, error = bench("run", *run, "--set", "task.split=2")
    assert code == 4 and "trainlist02" in error and "bench data add" in error
    assert bench("data", "add", "ucf101", root, "--set", "split=2")[0] == 0
    for split in (1, 2):
        [record] = records(*run, "--set", f"task.split={split}")
        assert record["task"]["score_split"] == f"testlist0{split}"


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("data", "add", "folder", "."), 4, "train"),
        (("data", "add", "k4", "."), 2, "k400"),
        (("data", "add", "k400", "nowhere"), 4, "there is no folder"),
        (("data", "add", "k400", "."), 4, "found neither lists nor labelled media"),
        (("check", "k400"), 2, "bench data add k400 DIR"),
    ],
)
def test_what_cannot_be_added_or_checked_is_said(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    found, _, error = bench(*words)
    assert found == code and reason in error
