"""What `bench data add` keeps of a data set is what was read, or is refused."""

import io
import json
import tarfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.data.discover.find_split import read_split
from bench.data.discover.remembered import DESCRIPTION, add, added_root, read_added, read_facts
from bench.data.manifest import Manifest
from bench.data.media.media import MediaColumn
from bench.errors import DataError
from tasks.k400 import K400, k400

CLIPS = {"aaaaaaaaaaa": "abseiling", "bbbbbbbbbbb": "zumba", "ccccccccccc": "yoga"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Every form of media, one clip without a file, and one that `val` lists twice."""
    place = tmp_path / "data"
    (place / "train").mkdir(parents=True)
    (place / "train/aaaaaaaaaaa.mp4").write_bytes(b"video")
    for number in (1, 2):
        (place / "train/bbbbbbbbbbb").mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(place / f"train/bbbbbbbbbbb/{number}.jpg")
    with tarfile.open(place / "train/x.tar", "w") as archive:
        entry = tarfile.TarInfo("ccccccccccc.mp4")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"tar"))
    cell = {"video": {"bytes": b"cell", "path": "eeeeeeeeeee.mp4"}}
    pq.write_table(pa.Table.from_pylist([cell]), place / "train/y.parquet")
    listed = {**CLIPS, "ddddddddddd": "zumba", "eeeeeeeeeee": "archery"}
    header = "label,youtube_id,time_start,time_end,split"
    for split in ("train", "val"):
        rows = [f"{label},{name},0,10,{split}" for name, label in listed.items()]
        twice = rows[:1] if split == "val" else []
        (place / f"{split}.csv").write_text("\n".join([header, *rows, *twice]))
    return place


def both(root: Path) -> dict[str, Manifest]:
    return {split: read_split(K400, root, split) for split in ("train", "val")}


def test_splits_come_back_as_they_were(tmp_path: Path, root: Path) -> None:
    manifests = both(root)
    assert add(manifests, tmp_path / "k400", root=root) == tmp_path / "k400" / DESCRIPTION
    found = read_added(tmp_path / "k400")
    assert list(found) == ["train", "val"]
    for split, manifest in manifests.items():
        again = found[split]
        for name in (field.name for field in fields(Manifest)):
            before, after = getattr(manifest, name), getattr(again, name)
            if name in ("ids", "media", "classes"):
                before, after = list(before), list(after)
            equal = np.array_equal(before, after) if name == "labels" else before == after
            assert equal, name
        assert again.labels.dtype == np.int64
        assert again.digest == manifest.digest
    assert found["val"].excluded == {"aaaaaaaaaaa#2": "listed twice"}
    assert not found["train"].media[3].exists()
    assert added_root(tmp_path / "k400") == root
    facts = read_facts(tmp_path / "k400")
    assert facts["splits"]["train"]["rows"] == 5
    assert facts["splits"]["train"]["copies"]["published"] == 246_534


def test_a_run_reads_what_was_added_and_no_root(tmp_path: Path, root: Path) -> None:
    add(both(root), tmp_path / "home/data/k400", root=root)
    (root / "train.csv").unlink()
    task = k400(data=tmp_path / "home/data")
    assert [str(medium) for medium in task.fit.media] == [
        f"{root}/train/aaaaaaaaaaa.mp4",
        f"{root}/train/bbbbbbbbbbb/",
        f"{root}/train/x.tar/ccccccccccc.mp4",
        f"{root}/ddddddddddd_000000_000010",
        f"{root}/train/y.parquet/video[0]",
    ]
    mine = tmp_path / "mine.csv"
    mine.write_text("bbbbbbbbbbb 7\n")
    again = k400(data=tmp_path / "home/data/k400", val=mine, train=mine)
    assert (again.score.ids, again.score.labels.tolist()) == (["bbbbbbbbbbb"], [7])


def test_a_split_that_was_not_added_is_named(tmp_path: Path, root: Path) -> None:
    add({"val": read_split(K400, root, "val")}, tmp_path / "k400")
    assert added_root(tmp_path / "k400") == root
    with pytest.raises(DataError, match=r"has val of Kinetics-400 but not train.*data add k400"):
        k400(data=tmp_path)


def test_archive_that_was_changed_is_refused(tmp_path: Path, root: Path) -> None:
    add(both(root), tmp_path / "k400", root=root)
    path = root / "train/x.tar"
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    with pytest.raises(DataError, match=r"x\.tar has changed since it was added"):
        read_added(tmp_path / "k400")
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*x\.tar: No such file"):
        read_added(tmp_path / "k400")


def test_damaged_files_are_refused(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "k400"
    path = add(both(root), folder, root=root)
    whole, facts = path.read_text(), json.loads(path.read_text())
    damages = {
        "another version": json.dumps({**facts, "version": 99}),
        "is not JSON": whole[:-9],
    }
    for said, content in damages.items():
        path.write_text(content)
        with pytest.raises(DataError, match=f"{said}.*`bench data add k400 DIR` again"):
            read_added(folder)
    path.write_text(whole)
    table = pq.read_table(folder / "val.parquet")
    labels = pa.array([0] * table.num_rows, pa.int32())
    pq.write_table(table.set_column(1, "label", labels), folder / "val.parquet")
    with pytest.raises(DataError, match=r"val\.parquet does not match dataset"):
        read_added(folder)
    (folder / "val.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"val\.parquet cannot be read"):
        read_added(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*dataset\.json"):
        read_added(folder)


def test_a_hundred_thousand_rows_are_kept_as_columns(tmp_path: Path) -> None:
    """No object for every row: the media are arrays, and the files are small."""
    rows = 100_000
    names = [f"train/{number % 1000:03d}/{number:08d}.jpg" for number in range(rows)]
    manifest = Manifest(
        name="made",
        split="train",
        kind="image",
        ids=[name[-12:-4] for name in names],
        media=MediaColumn.of_files(tmp_path, names),
        labels=np.arange(rows, dtype=np.int64) % 1000,
        classes=[str(number) for number in range(1000)],
    )
    add({"train": manifest}, tmp_path / "made")
    again = read_added(tmp_path / "made")["train"]
    assert isinstance(again.media, MediaColumn)
    assert again.digest == manifest.digest
    assert (tmp_path / "made/train.parquet").stat().st_size < 2_000_000
