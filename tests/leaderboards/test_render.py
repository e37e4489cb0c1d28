"""Tables as files: Markdown, CSV and the page, from records worked out by hand."""

from __future__ import annotations

import io
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from bench import registry
from bench.publish.leaderboard import Column, Leaderboard
from bench.publish.write_board import writer_of
from leaderboards.render.csv_text import csv_text
from leaderboards.render.write_all import write
from leaderboards.rows.join import join
from tests.leaderboards.tables import markdown
from tests.sound_record import box_record, sound_record

BOARD = Leaderboard(
    name="small",
    title="Small <board>",
    columns=[
        Column(title=probe, task="what", probe=probe, protocol="honest@1")
        for probe in ("attentive", "knn")
    ],
)
SUFFIXES = [".md", ".csv", ".tex", ".json", ".html"]
RECORDS = [
    sound_record(encoder="first", task="what", correct=7, rows=10),
    sound_record(encoder="second", task="what", correct=8, rows=10, unreadable=1),
    sound_record(encoder="first", task="what", probe="knn", correct=6, rows=10),
    sound_record(encoder="third|x", task="what", correct=10, rows=10, protocol="vjepa@1"),
    sound_record(encoder="random", is_floor=True, task="what", correct=2, rows=10),
]


def test_markdown_is_aligned_and_sets_floors_apart() -> None:
    assert markdown(join(BOARD, RECORDS)).splitlines() == [
        "# Small <board>",
        "",
        "## What",
        "",
        "top-1 accuracy in % · honest@1 · scored on test, n = 10 · 10 classes",
        "",
        "| encoder  |       attentive |            knn |",
        "| :------- | --------------: | -------------: |",
        "| third\\|x |  100.0¹   ±27.8 |      –         |",  # noqa: RUF001
        "| second   | **80.0**² ±31.0 |      –         |",  # noqa: RUF001
        "| first    |   70.0    ±30.3 | **60.0** ±28.7 |",
        "| *floors* |                 |                |",
        "| *random* |   20.0    ±31.0 |      –         |",  # noqa: RUF001
        "| *chance* |   10.0          |   10.0         |",
        "",
        "¹ protocol vjepa@1; the column uses honest@1  ",
        "² scored 9 of 10 rows (1 undecodable, counted as wrong); the rest could change the result"
        " by up to 10.0 points  ",
        "",
        "Bold: best in its column, among complete records with the column's protocol, list of"
        " samples and share of the labels.  ",
        "Floors are encoders with random weights, or raw pixels.  ",
        "±: the wider side of the 95 % interval over the scored rows (Wilson).  ",
    ]


def test_csv_parses_back_with_pandas() -> None:
    frame = pd.read_csv(io.StringIO(csv_text(join(BOARD, RECORDS))))
    assert frame["kind"].tolist() == ["encoder"] * 3 + ["floor", "chance"]
    assert frame["encoder"].tolist() == ["third|x", "second", "first", "random", "chance"]
    assert frame["what/attentive@honest@1"].tolist() == [100.0, 80.0, 70.0, 20.0, 10.0]
    assert frame["what/knn@honest@1"].isna().tolist() == [True, True, False, True, False]
    ends = frame[["what/attentive@honest@1:low", "what/attentive@honest@1:high"]]
    low, high = proportion_confint(8, 10, method="wilson")
    assert ends.loc[1].tolist() == pytest.approx([100 * low, 100 * high], abs=1e-6)
    assert ends.loc[4].isna().all()
    assert frame["notes"][0].startswith("what/attentive@honest@1: protocol vjepa@1")


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    shuffled = RECORDS[:]
    random.Random(0).shuffle(shuffled)
    first = write(BOARD, RECORDS, tmp_path / "a")
    second = write(BOARD, shuffled, tmp_path / "b")
    assert [path.name for path in first] == [
        f"small.{suffix}" for suffix in ("md", "csv", "tex", "json", "html")
    ]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


class Page(HTMLParser):
    """Collects ids, links, tags and unbalanced elements of a page."""

    VOID = frozenset({"meta", "link", "br", "wbr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.ids += [facts["id"]] if "id" in facts else []
        self.links += [facts["href"]] if tag == "a" else []
        self.sources += [facts[k] for k in ("src", "href") if k in facts and tag != "a"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    return write(BOARD, RECORDS, tmp_path)[-1].read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_every_link_has_its_target(page: str) -> None:
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert "<title>Small &lt;board&gt;</title>" in page


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    parsed = Page()
    parsed.feed(page)
    assert parsed.sources == ["data:,"]
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_page_explains_every_number(page: str) -> None:
    for record in RECORDS:
        assert f'id="record-{record.id}"' in page
        for fact in (
            record.features.score_key,
            record.encoder.weights_sha256,
            record.data.score.digest,
            record.protocol.digest[:16],
        ):
            assert fact in page
    assert "lr 0.0003, weight_decay 0.1" in page
    assert "9 scored of 10" in page


def test_a_table_without_records_says_so(tmp_path: Path) -> None:
    for columns in ((), BOARD.columns):
        empty = Leaderboard(name="empty", title="Empty", columns=columns)
        paths = write(empty, [], tmp_path)
        assert "o records yet" in paths[0].read_text(encoding="utf-8")
        Page().feed(paths[-1].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["frozen_video", "runs"])
def test_boards_of_the_project_write_five_files(name: str, tmp_path: Path) -> None:
    made = registry.find("boards", name).function()
    assert made.name == name
    assert [p.suffix for p in writer_of(made)(made, RECORDS, tmp_path)] == SUFFIXES


def test_boxes_are_rendered_beside_clips(tmp_path: Path) -> None:
    columns = [
        Column(title="knn", task="what", probe="knn"),
        Column(title="linear", task="ava", probe="linear", metric="mean_ap"),
    ]
    board = Leaderboard(name="both", title="Both", columns=columns)
    record = box_record(0.25, encoder="first", probe="linear")
    paths = write(board, [RECORDS[2], record], tmp_path)
    text, page = (paths[i].read_text(encoding="utf-8") for i in (0, -1))
    assert "frame mAP at IoU 0.5 in % · honest@1 · scored on val, n = 100 · 4 classes" in text
    assert text.splitlines()[6:11] == [
        "| encoder  |            knn |",
        "| :------- | -------------: |",
        "| first    | **60.0** ±28.7 |",
        "| *chance* |   10.0         |",
        "",
    ]
    # Without the kept boxes there is nothing to tell the interval of a mAP from.
    assert text.splitlines()[15:18] == [
        "| encoder |   linear |",
        "| :------ | -------: |",
        "| first   | **25.0** |",
    ]
    frame = pd.read_csv(paths[1])
    assert frame["ava/linear@honest@1:mean_ap"].isna().tolist() == [False, True]
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == []
    # A number of boxes has no tick at chance; in its drawer is the AP of every class.
    assert 'style="--value:25.0%" title="n = 100 scored of 100 · official rules' in page
    assert re.search(r'style="--value:60.0%;[^"]*--chance:10.0%', page)
    assert "25.0 stand (1), 20 true boxes<br>25.0 sit (3), 20 true boxes" in page


def test_names_are_no_markup_in_markdown() -> None:
    names = ["a\nb", "<script>x</script>", "*star* _em_ `code`", "[t](u)", "snake_case", "a|b"]
    records = [sound_record(encoder=name, task="what") for name in names]
    told = markdown(join(BOARD, records)).splitlines()
    shown = [line.split(" |")[0] for line in told if line.startswith("| ")][2:]
    assert sorted(line.strip("| ") for line in shown if "chance" not in line) == sorted(
        ["a b", r"\<script>x\</script>", r"\*star\* \_em\_ \`code\`", r"[t\](u)", "snake_case",
         r"a\|b"]
    )  # fmt: skip
