"""What several end-to-end tests share: a small set of real videos and the command line."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from tests.commands import Bench, Records
from tests.media import write_video

WITH_HOME = {"run", "features", "board", "probe", "check", "data", "lowshot"}


@pytest.fixture(scope="session")
def video_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of real mp4 files: 3 classes, 4 to train and 2 to score each."""
    root = tmp_path_factory.mktemp("videos")
    for split, count in (("train", 4), ("val", 2)):
        for number, label in enumerate(("jump", "run", "sit")):
            for item in range(count):
                path = root / split / label / f"{item}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                fps = 12 if split == "train" else 13  # no film is in both splits
                write_video(path, 14 + 3 * number + item, size=(64, 48), fps=fps)
    return root


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Do not wait until the disk has what was written: no test pulls the plug."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Bench:
    """Run the command line in this process; returns (exit code, stdout, stderr)."""

    def call(*arguments: Path | str, home: bool = True) -> Any:
        words = [str(word) for word in arguments]
        if home and WITH_HOME & {*words} and "--home" not in words:
            words += ["--home", str(tmp_path / "home")]
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        code = ended.value.code or 0
        return code, said.out, said.err

    return call


@pytest.fixture
def records(bench: Bench) -> Records:
    """Run `bench run --json` and return the records; a dirty checkout (3) is no failure here."""

    def call(*arguments: Path | str, codes: tuple[int, ...] = (0, 3)) -> Any:
        code, out, err = bench("run", *arguments, "--json")
        assert code in codes, err
        return [json.loads(line) for line in out.splitlines()]

    return call
