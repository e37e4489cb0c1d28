"""Boards of papers: every published number in its place, measured ones beside it."""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.errors import DataError, UsageError
from bench.files import file_sha256
from bench.publish.leaderboard import Leaderboard, PublishedNumber
from bench.publish.paper_numbers import (
    NothingPublishedError,
    published_numbers,
    read_numbers,
    search,
)
from bench.records.record import Record
from leaderboards import published
from leaderboards.paper_tables import NATIVE_STRIDE, OWN_PLANS
from leaderboards.rows.paper_join import join_published
from leaderboards.rows.table import Table, TableRow, percent
from tests.commands import Bench
from tests.sound_record import digest, id_of, sound_fields

FILE = Path(published.__file__).with_name("results.csv")
with FILE.open(encoding="utf-8", newline="") as opened:
    LINES = list(csv.DictReader(opened))
BOARDS = [
    name for name in registry.names("boards") if registry.build("boards", name, {}).has_published
]
# Of the numbers that are shown in a board called otherwise than their table.
ELSEWHERE = {
    ("vjepa-2024", "text-5.2"): "vjepa_table6",
    ("vicmae-poster", "main"): "vicmae_main",
    ("vicmae-poster", "video-to-image-transfer"): "vicmae_transfer",
    **{("denoising-talk-2024", t): f"denoising_{t}" for t in ("clevr", "targets", "masking")},
}


def table_of(name: str, records: list[Record] | None = None, **options: Any) -> Table:
    board: Leaderboard = registry.build("boards", name, options)
    own = board.write.keywords["make"].keywords["table"]
    return join_published(board, records or [], numbers=own.numbers, places=own.places)


def rows(table: Table, method: str, arch: str) -> list[TableRow]:
    """The rows of a method and architecture (with its resolution, if that is not 224)."""
    return [row for row in table.rows if (row.name, row.facts[0].text) == (method, arch)]


def printed(row: TableRow) -> list[float | None]:
    return [cell.published.value if cell.published else None for cell in row.cells]


# ------------------------------------------------------------------------------- the data file
def test_the_data_file_is_the_one_that_was_read_off_the_papers() -> None:
    assert file_sha256(FILE) == ("6f050977f891c79aef9138c9111e6bc84f1af518782a8fb357c520577ba3c7d4")


def test_every_line_of_the_data_file_stands_once_in_the_board_of_its_table() -> None:
    found: Counter[tuple[str, ...]] = Counter()
    for name in BOARDS:
        for row in table_of(name).rows:
            for cell in row.cells:
                number = cell.published
                if number is None:
                    continue
                assert name == ELSEWHERE.get(
                    (number.source, number.table),
                    f"{number.source[:6].strip('-')}_table{number.table}",
                )
                found[as_line(number)] += 1
    assert len(LINES) == 462
    assert found == Counter(tuple(line.values()) for line in LINES)


def as_line(number: PublishedNumber) -> tuple[str, ...]:
    """Spell a number as its line of the file, by hand."""
    return (
        number.source, number.table, number.method, number.arch, str(number.resolution),
        "" if number.params_m is None else f"{number.params_m:.0f}", number.pretrain_data,
        number.samples_seen_m, number.task, number.views, number.probe,
        {1.0: "1.0", 0.5: "0.5", 0.1: "0.1", 0.05: "0.05", 0.01: "0.01"}[number.train_fraction],
        number.metric, f"{number.value:.1f}", "" if number.std is None else f"{number.std:.1f}",
    )  # fmt: skip


@pytest.mark.parametrize("name", BOARDS)
def test_every_cell_stands_in_the_row_and_the_column_of_its_line(name: str) -> None:
    table = table_of(name)
    assert all(row.kind == "published" for row in table.rows)
    for row in table.rows:
        facts = {title: fact.text for title, fact in zip(table.facts, row.facts, strict=True)}
        for head, cell in zip(table.heads, row.cells, strict=True):
            number, column = cell.published, head.column
            if number is None:
                continue
            assert row.name == number.method
            resolution = "" if number.resolution == 224 else f"_{number.resolution}"
            assert facts.get("arch", "") == (number.arch and number.arch + resolution)
            assert facts.get("data", "") == number.pretrain_data
            if number.params_m is not None:
                assert facts["params (M)"] == f"{number.params_m:.0f}"
            if number.samples_seen_m:
                assert facts["samples seen (M)"] == number.samples_seen_m
            assert column.task == number.task
            assert number.probe.startswith(column.probe)
            if column.task_options or number.train_fraction < 1:
                assert column.task_options == {"fraction": number.train_fraction}
            views = column.plan.partition("@")[0] if column.plan else ""
            assert views == number.views or column.probe == "finetune", column


@pytest.mark.parametrize("name", BOARDS)
def test_the_files_of_a_board_print_every_number(name: str, tmp_path: Path) -> None:
    board = registry.build("boards", name, {})
    files = {path.suffix: path for path in board.write(board, [], tmp_path)}
    assert {".md", ".csv", ".html"} <= files.keys()
    text = files[".md"].read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    table = table_of(name)
    assert len(lines) == len(table.rows)
    first = 1 + len(table.facts)
    for line, row in zip(lines, table.rows, strict=True):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        numbers = [re.search(r"\d+\.\d", cell) for cell in cells[first:]]
        assert cells[0].strip("*") == row.name
        assert [float(n[0]) if n else None for n in numbers] == printed(row)


def test_a_row_of_table_6_is_that_of_the_paper() -> None:
    table = table_of("vjepa_table6")
    assert table.facts == ("arch", "params (M)", "data")
    titles = [head.column.title for head in table.heads]
    assert titles == [
        "K400 16x8x3", "SSv2 16x2x3", "AVA", "IN1K", "Places205", "iNat21",
        "IN1K, 2-layer probe (5.2)",
    ]  # fmt: skip
    last = table.rows[-1]
    assert (last.name, *(fact.text for fact in last.facts)) == (
        "V-JEPA", "ViT-H/16_384", "630", "VideoMix2M",
    )  # fmt: skip
    assert printed(last) == [81.9, 72.2, 25.0, 77.4, 62.8, 72.6, 77.9]
    assert [row.name for row in table.rows] == [
        "I-JEPA", "OpenCLIP", "DINOv2", "MVD", "OmniMAE", "VideoMAE", "VideoMAEv2", "Hiera",
        "V-JEPA", "V-JEPA", "V-JEPA",
    ]  # fmt: skip
    best = [[c.published_is_best for c in row.cells] for row in table.rows]
    assert [column.index(True) for column in zip(*best, strict=True)] == [2, 10, 9, 2, 1, 2, 10]
    assert sum(map(sum, best)) == 7


def test_table_7_has_the_spread_over_draws_and_vidrop_keeps_its_gaps() -> None:
    [row] = rows(table_of("vjepa_table7"), "V-JEPA", "ViT-H/16_384")
    assert printed(row) == [68.2, 72.8, 80.6, 54.0, 59.3, 67.9]
    assert [c.published.std for c in row.cells] == [0.2, 0.2, 0.2, 0.2, 0.5, 0.2]
    [row] = rows(table_of("vidrop_table6"), "SVT", "")
    assert printed(row) == [68.1, None, 20.3, 91.3, 87.2, 63.1, 51.8, None, None, None, None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("probe,train_fraction", "probe,share"), "line 1: unknown column 'share'"),
        (("value,std", "value"), "line 1: the column 'std' is missing"),
        ((",65.6,", ",,"), "line 2: value is empty"),
        ((",65.6,", ",65;6,"), "line 2: value '65;6' is not a non-negative number"),
        ((",65.6,", ",nan,"), "line 2: value 'nan' is not a non-negative number"),
        ((",65.6,", ",656,"), "line 2: value 656 is outside [0, 100] percent"),
        ((",k400,", ",,"), "line 2: task is empty"),
        ((",1.0,top1,60.6", ",5,top1,60.6"), "line 3: train_fraction 5 should be"),
        ((",60.6,", ",60.6"), "line 3: fewer fields"),
        ((",60.6,", ",60.6,0.1,7"), "line 3: more fields"),
        (("224,,,2400,ssv2", "224.5,,,2400,ssv2"), "line 3: resolution '224.5'"),
        (("ssv2,16x2x3", "k400,16x8x3"), "line 3: OmniMAE on k400 is already listed in line 2"),
        (('vjepa-2024,5,OmniMAE,ViT-L/16,224,,,2400,k400', 'vjepa-2024,"5'), "not CSV in UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_clean_is_refused_with_its_line(
    change: tuple[str, str], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    text = "".join(FILE.read_text(encoding="utf-8").splitlines(keepends=True)[:3])
    path.write_text(text, encoding="utf-8")
    assert [number.value for number in read_numbers(path)] == [65.6, 60.6]
    assert change[0] in text
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(reason)):
        read_numbers(path)


# ------------------------------------------------------------------------------------- searching
def test_search_finds_parts_of_methods_and_whole_other_words() -> None:
    numbers = published_numbers()
    found = search(numbers, method="v-jepa", task="K400", table="6", source="vjepa-2024")
    assert [n.value for n in found] == [80.8, 82.0, 81.9]
    assert len(search(numbers)) == 462
    assert len(search(numbers, probe="finetune")) == sum(
        line["probe"] == "finetune" for line in LINES
    )
    with pytest.raises(UsageError, match=r"unknown published task 'k40'\. Did you mean 'k400'"):
        search(numbers, task="k40")
    with pytest.raises(NothingPublishedError, match="no published method contains 'V-JEPA9'"):
        search(numbers, method="V-JEPA9")
    with pytest.raises(
        NothingPublishedError, match="no published number matches task ava, method S"
    ):
        search(numbers, method="SVT", task="ava")


def test_the_command_prints_where_each_number_stands(bench: Bench) -> None:
    code, out, err = bench("published", "--task", "inat21", "--method", "DINO")
    assert code == 0 and "3 published numbers" in err
    header, *lines = out.splitlines()
    assert header.split()[:3] == ["source", "table", "method"]
    found = [(words[0], words[1], words[-1]) for words in map(str.split, lines)]
    assert found == [("vjepa-2024", "6", "88.8"), ("vjepa-2024", "13", "85.7"),
                     ("vjepa-2024", "13", "88.8")]  # fmt: skip
    code, out, _ = bench("published", "--table", "7", "--source", "vjepa-2024", "--json")
    read = [json.loads(line) for line in out.splitlines()]
    assert len(read) == 30 and read[0]["std"] == 0.2 and read[0]["train_fraction"] == 0.05
    assert bench("published", "--probe", "atentive")[0] == 2
    assert bench("published", "--method", "no such")[0] == 1


def test_papers_are_listed_and_hold_the_numbers_of_their_name(bench: Bench) -> None:
    code, out, _ = bench("ls", "papers", "--json")
    assert code == 0 and set(json.loads(out)) == {line["source"] for line in LINES}
    for name in registry.names("papers"):
        paper = registry.build("papers", name, {})
        assert paper.name == name and {n.source for n in paper.numbers} == {name}


# -------------------------------------------------------------------------------------- measured
def made(encoder: str = "vjepa_vitl16", correct: int = 71, plan: str = "16x8x3@4", size: int = 224,
         share: tuple[float, int] | None = None, **facts: Any) -> Record:  # fmt: skip
    """A record of K400 with an attentive probe by the released protocol."""
    fields = sound_fields(
        **{"task": "k400", "protocol": "vjepa@1", "split": "val", **facts},
        encoder=encoder, correct=correct,
    )  # fmt: skip
    fields["plan"] = {"fit": plan, "score": plan, "sampler": "vjepa"}
    fields["config"]["plan"] = plan
    fields["encoder"]["image_size"] = size
    if share is not None:
        fraction, draw = share
        fields["train_labels"] |= {"fraction": fraction, "draw": draw}
        fields["task"]["options"] |= {"whole_sha256": digest("all"), "fraction": fraction}
        fields["data"]["fit"]["digest"] = digest(f"{fraction} {draw}")
        fields["config"]["task_options"] = {"fraction": fraction, "draw": draw}
    fields["id"] = id_of(fields)
    return Record.model_validate(fields)


def test_an_encoder_of_the_paper_stands_in_its_row_with_the_difference() -> None:
    table = table_of("vjepa_table6", [made(correct=80, rows=100)])
    row, other = rows(table, "V-JEPA", "ViT-L/16")[0], rows(table, "V-JEPA", "ViT-H/16")[0]
    assert row.kind == "published" and row.record.encoder.name == "vjepa_vitl16"
    cell = row.cells[0]
    assert (percent(cell.value), cell.published.value) == ("80.0", 80.8)
    assert cell.difference == pytest.approx(-0.008)
    assert cell.is_best and cell.notes == ()
    assert other.record is None and all(c.value is None for c in other.cells)
    assert [r.kind for r in table.rows] == ["published"] * 11 + ["chance"]
    assert "vjepa_vitl16 in the row of V-JEPA, ViT-L/16" in " ".join(table.remarks)


def test_the_resolution_decides_which_row_of_an_encoder_is_meant() -> None:
    large = made("vjepa_vith16_384", size=384)
    [row] = rows(table_of("vjepa_table6", [large]), "V-JEPA", "ViT-H/16_384")
    assert row.record is large
    odd = made("vjepa_vith16", size=256)
    table = table_of("vjepa_table6", [odd])
    assert [r.name for r in table.rows if r.record] == ["vjepa_vith16"]
    assert [r.kind for r in table.rows if r.record] == ["encoder"]


def test_other_encoders_stand_below_and_published_data_decide_the_row() -> None:
    records = [
        made("vjepa_vitl16", plan="16x1x1@4"),
        made("mine", 90, plan="16x1x1@4"),
        made("random:mine", 12, plan="16x1x1@4", is_floor=True),
    ]
    table = table_of("vjepa_table2", records)
    measured = [row for row in table.rows if row.record]
    assert [(row.kind, row.name) for row in measured] == [
        ("published", "V-JEPA"), ("encoder", "mine"), ("floor", "random:mine"),
    ]  # fmt: skip
    assert measured[0].facts[1].text == "VideoMix2M"
    assert [row.cells[0].is_best for row in measured] == [False, True, False]
    assert [c.published for c in measured[1].cells] == [None] * 3


def test_of_two_weights_of_one_name_the_newer_stand_in_the_row() -> None:
    old, new = (made(weights=w, created=f"2025-0{i}-01T00:00:00Z") for w, i in (("b", 3), ("a", 4)))
    for records in ([old, new], [new, old]):
        table = table_of("vjepa_table6", records)
        [row] = rows(table, "V-JEPA", "ViT-L/16")
        assert row.record is new
        [below] = [r for r in table.rows if r.kind == "encoder"]
        assert below.record is old and below.cells[0].published is None


def test_another_protocol_or_split_is_marked_and_other_views_never_stand_in() -> None:
    records = [
        made("vjepa_vitl16", 80),
        made("other", 90, protocol="honest@1"),
        made("third", 91, split="test"),
        made("views", 92, plan="16x1x1@4"),
        made("share", 93, share=(0.05, 0)),
        made("vjepa_vith16", 60, split="train"),
    ]
    table = table_of("vjepa_table6", records)
    notes = {
        row.record.encoder.name: [table.notes[n - 1] for n in row.cells[0].notes]
        for row in table.rows
        if row.record
    }
    assert notes["vjepa_vitl16"] == []
    assert notes["vjepa_vith16"] == [table.notes[0]]  # a row of the paper: it is read first
    assert table.notes[0] == "scored on train; the column uses val"
    assert notes["other"] == ["protocol honest@1; the column uses vjepa@1"]
    assert notes["third"] == ["scored on test; the column uses val"]
    assert not {"views", "share"} & notes.keys()
    best = [row.record.encoder.name for row in table.rows if row.cells[0].is_best]
    assert best == ["vjepa_vitl16"]
    used = [n for row in table.rows for cell in row.cells for n in cell.notes]
    assert list(dict.fromkeys(used)) == list(range(1, len(table.notes) + 1))


def test_the_protocol_of_a_board_is_an_option() -> None:
    record = made("other", 90, protocol="honest@1")
    table = table_of("vjepa_table6", [record], protocol="honest@1")
    [row] = [row for row in table.rows if row.record]
    assert row.cells[0].notes == () and row.cells[0].is_best


def test_columns_of_few_labels_show_mean_and_deviation_over_draws() -> None:
    counts = enumerate((60, 66, 63))
    records = [made("vjepa_vith16", count, share=(0.05, draw)) for draw, count in counts]
    records.append(made("vjepa_vith16", 80, share=(0.5, 0)))
    table = table_of("vjepa_table7", records)
    [row] = rows(table, "V-JEPA", "ViT-H/16")
    five, ten, fifty = row.cells[:3]
    assert five.value == pytest.approx(0.63) and five.seeds.std == pytest.approx(0.03)
    assert five.seeds.over == "draws" and set(five.seeds.values) == {0, 1, 2}
    assert five.difference == pytest.approx(-0.04)
    assert ten.value is None and ten.published.value == 72.1
    assert fifty.value == 0.8 and fifty.seeds is None
    assert [table.notes[n - 1] for n in fifty.notes] == ["draw 0 only"]


def test_what_nothing_here_measures_is_said() -> None:
    text = " ".join(table_of("vidrop_table7").remarks)
    assert "DAVIS 2017" in text and "no task 'davis2017'" in text and "K400" not in text


def test_plans_without_a_stride_are_those_of_the_tasks() -> None:
    for task, plan in OWN_PLANS.items():
        source = inspect.getsource(importlib.import_module(f"tasks.{task}"))
        assert f'plan="{plan}@{NATIVE_STRIDE}"' in source
    plans = {
        (head.column.task, head.column.plan)
        for name in BOARDS
        for head in table_of(name).heads
        if head.column.plan
    }
    assert {plan for task, plan in plans if "@" not in plan} == set(OWN_PLANS.values())
    assert ("k400", "16x5x3@4") in plans and ("ucf101", "16x1x1@4") in plans


def test_a_board_with_another_layout_than_its_table_is_refused() -> None:
    board = registry.build("boards", "vjepa_table7", {})
    own = board.write.keywords["make"].keywords["table"]
    places = own.places
    for wrong in (places[:5], [*places[:5], places[0]]):
        with pytest.raises(ValueError, match=r"[02] columns"):
            join_published(board, [], numbers=own.numbers, places=wrong)
    with pytest.raises(ValueError, match="its cell is taken"):
        join_published(board, [], numbers=[*own.numbers, own.numbers[0]], places=places)


def test_a_board_with_published_rows_needs_no_record(bench: Bench, tmp_path: Path) -> None:
    code, out, err = bench("board", "vjepa_table14")
    assert code == 0, err
    assert "80.9" in out and (tmp_path / "home" / "tables" / "vjepa_table14.html").exists()
    assert "(https://arxiv.org/abs/2404.08471), table 14, in % as printed" in out
    assert "table 6 and section 5.2, in %" in bench("board", "vjepa_table6")[1]
    assert bench("board", "frozen_video")[0] == 2
