"""The data set that docs/data.md describes is read in every layout, like the published ones."""

import re
from pathlib import Path

import pytest

from tests.commands import Bench, Records
from tests.tasks.layouts import COMMON, Item

DOCS = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
BIRDS = ("blackbird", "great tit", "robin")


@pytest.mark.parametrize("layout", [name for name in COMMON if name != "frame folders"])
def test_the_example_of_the_docs_runs_in_every_layout(
    layout: str, bench: Bench, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
    (tmp_path / "garden_birds.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 2), ("val", 1)):
        items = [
            Item(name=f"{split}{label}{i}.jpg", label=name, index=label, level=40 + 80 * label)
            for label, name in enumerate(BIRDS)
            for i in range(count)
        ]
        COMMON[layout](tmp_path / "birds", split, items)
    code, said, error = bench("--with", "garden_birds", "check", "birds", "--data", "birds")
    assert code == 0, said + error
    [record] = records(
        "--with", "garden_birds", "-m", "pixel_mean", "-t", "birds", "--data", "birds",
        "-p", "knn", "--set", "probe.k=1", "--workers", "0",
    )  # fmt: skip
    assert (record["metrics"]["correct"], record["metrics"]["expected"]) == (3, 3)
