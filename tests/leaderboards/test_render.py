"""Tables as files: Markdown, CSV and the page, from records worked out by hand."""

from __future__ import annotations

import io
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest

from bench import registry
from bench.types import Column, Leaderboard
from leaderboards.join import join
from leaderboards.render import csv_text, markdown, write
from tests.sound_record import box_record, sound_record

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
BOARD = Leaderboard(
    name="small",
    title="Small <board>",
    columns=[
        Column(title=probe, task="what", probe=probe, protocol="honest@1")
        for probe in ("attentive", "knn")
    ],
    write=write,
)
RECORDS = [
    sound_record(encoder="first", task="what", correct=7, rows=10),
    sound_record(encoder="second", task="what", correct=8, rows=10, unreadable=1),
    sound_record(encoder="first", task="what", probe="knn", correct=6, rows=10),
    sound_record(encoder="third|x", task="what", correct=10, rows=10, protocol="vjepa@1"),
    sound_record(encoder="random", is_floor=True, task="what", correct=2, rows=10),
]


def test_markdown_is_aligned_and_sets_floors_apart():
    assert markdown(join(BOARD, RECORDS)).splitlines() == [
        "# Small <board>",
        "",
        "## What",
        "",
        "top-1 accuracy in % · honest@1 · scored on test, n = 10 · 10 classes",
        "",
        "| encoder  | attentive |      knn |",
        "| :------- | --------: | -------: |",
        "| third\\|x |  100.0¹   |      –   |",  # noqa: RUF001
        "| second   | **80.0**² |      –   |",  # noqa: RUF001
        "| first    |   70.0    | **60.0** |",
        "| *floors* |           |          |",
        "| *random* |   20.0    |      –   |",  # noqa: RUF001
        "| *chance* |   10.0    |   10.0   |",
        "",
        "¹ protocol vjepa@1; the column shows honest@1  ",
        "² scored 9 of 10 rows (1 undecodable, counted as wrong); the others are worth up to"
        " 10.0 points  ",
        "",
        "Bold: best of its column. Another protocol, list of samples or share of the labels does"
        " not compete, nor does a record that is not complete.  ",
        "Floors are encoders with random weights, or raw pixels.  ",
    ]


def test_csv_parses_back_with_pandas():
    frame = pd.read_csv(io.StringIO(csv_text(join(BOARD, RECORDS))))
    assert frame["kind"].tolist() == ["encoder"] * 3 + ["floor", "chance"]
    assert frame["encoder"].tolist() == ["third|x", "second", "first", "random", "chance"]
    assert frame["what/attentive@honest@1"].tolist() == [100.0, 80.0, 70.0, 20.0, 10.0]
    assert frame["what/knn@honest@1"].isna().tolist() == [True, True, False, True, False]
    assert frame["notes"][0].startswith("what/attentive@honest@1: protocol vjepa@1")


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path):
    shuffled = RECORDS[:]
    random.Random(0).shuffle(shuffled)
    first = write(BOARD, RECORDS, tmp_path / "a")
    second = write(BOARD, shuffled, tmp_path / "b")
    assert [path.name for path in first] == ["small.md", "small.csv", "small.html"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


class Page(HTMLParser):
    """Collects ids, links, tags and unbalanced elements of a page."""

    VOID = frozenset({"meta", "link", "br", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.ids += [facts["id"]] if "id" in facts else []
        self.links += [facts["href"]] if tag == "a" else []
        self.sources += [facts[k] for k in ("src", "href") if k in facts and tag != "a"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path):
    return write(BOARD, RECORDS, tmp_path)[2].read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_every_link_has_its_target(page):
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert "<title>Small &lt;board&gt;</title>" in page


def test_the_page_loads_nothing_from_anywhere(page):
    parsed = Page()
    parsed.feed(page)
    assert parsed.sources == ["data:,"]
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_page_explains_every_number(page):
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


def test_a_table_without_records_says_so(tmp_path):
    for columns in ((), BOARD.columns):
        empty = Leaderboard(name="empty", title="Empty", columns=columns, write=write)
        paths = write(empty, [], tmp_path)
        assert "o records yet" in paths[0].read_text(encoding="utf-8")
        Page().feed(paths[2].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["frozen_video", "runs"])
def test_boards_of_the_project_write_three_files(name, tmp_path):
    made = registry.find("boards", name).function()
    assert made.name == name
    assert [p.suffix for p in made.write(made, RECORDS, tmp_path)] == [".md", ".csv", ".html"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium on PATH")
@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("0-asc", ["first", "second", "third|x"]),
        ("0-desc", ["third|x", "second", "first"]),
        ("1-desc", ["third|x", "second", "first"]),
        ("1-asc", ["first", "second", "third|x"]),
        ("2-desc", ["first", "third|x", "second"]),  # one number; the others keep their order
    ],
)
def test_a_browser_sorts_by_the_column_in_the_address(order, names, tmp_path):
    path = write(BOARD, RECORDS, tmp_path)[2]
    dom = _opened(f"{path.as_uri()}#sort={order}", tmp_path)
    body = re.search(r'<tbody class="ranked">(.*?)</tbody>', dom, re.S)
    assert body and re.findall(r'scope="row" data-value="([^"]*)"', body[1]) == names
    floors = re.search(r'<tbody class="floors">(.*?)</tbody>', dom, re.S)
    assert floors and re.findall(r'data-value="(random|chance)"', floors[1]) == ["random", "chance"]
    sign = "ascending" if order.endswith("asc") else "descending"
    assert re.findall(r'data-column="(\d)"[^>]*aria-sort="(\w+)"', dom) == [(order[0], sign)]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium on PATH")
def test_a_browser_sorts_on_click_and_turns_on_the_second(tmp_path):
    path = write(BOARD, RECORDS, tmp_path)[2]
    clicks = (
        "<script>for (let i = 0; i < 2; i++) document.querySelectorAll('thead button')[1].click()"
    )
    page = path.read_text(encoding="utf-8").replace("</body>", f"{clicks};</script></body>")
    path.write_text(page, encoding="utf-8")
    dom = _opened(path.as_uri(), tmp_path)
    body = re.search(r'<tbody class="ranked">(.*?)</tbody>', dom, re.S)
    assert body and re.findall(r'scope="row" data-value="([^"]*)"', body[1]) == [
        "first",
        "second",
        "third|x",
    ]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium on PATH")
def test_a_browser_opens_the_record_that_a_number_links_to(tmp_path):
    path = write(BOARD, RECORDS, tmp_path)[2]
    dom = _opened(f"{path.as_uri()}#record-{RECORDS[0].id}", tmp_path)
    assert re.findall(r'<details id="record-(\w+)" open', dom) == [RECORDS[0].id]


def _opened(address, folder):
    """Return the document as a browser has it after its script ran."""
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --dump-dom"
    command = [BROWSER, *flags.split(), f"--user-data-dir={folder / 'profile'}", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def test_boxes_are_rendered_beside_clips(tmp_path):
    columns = [
        Column(title="knn", task="what", probe="knn"),
        Column(title="linear", task="ava", probe="linear", metric="mean_ap"),
    ]
    board = Leaderboard(name="both", title="Both", columns=columns, write=write)
    record = box_record(0.25, encoder="first", probe="linear")
    paths = write(board, [RECORDS[2], record], tmp_path)
    text, page = (paths[i].read_text(encoding="utf-8") for i in (0, 2))
    assert "frame mAP at IoU 0.5 in % · honest@1 · scored on val, n = 100 · 4 classes" in text
    assert text.splitlines()[6:11] == [
        "| encoder  |      knn |",
        "| :------- | -------: |",
        "| first    | **60.0** |",
        "| *chance* |   10.0   |",
        "",
    ]
    assert text.splitlines()[15:18] == [
        "| encoder | linear   |".replace("linear  ", "  linear"),
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
    assert 'style="--value:60.0%;--chance:10.0%"' in page
    assert "25.0 stand (1), 20 true boxes<br>25.0 sit (3), 20 true boxes" in page
