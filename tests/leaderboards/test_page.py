"""The text of a page: its numbers, drawers and pictures, without a browser."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.records.record import Record
from leaderboards.render.drawer import shown_records
from leaderboards.render.figures import figures_markup
from leaderboards.render.labels import Box, placed
from leaderboards.render.markup import breakable
from leaderboards.render.page import html_page
from leaderboards.render.points import frontier, points_of
from leaderboards.rows.table import Table
from tests.kept_records import kept_clips
from tests.leaderboards.tables import ENCODERS, page_records, page_table, published

VOID = frozenset({"meta", "link", "br", "wbr", "input"})


class Parsed(HTMLParser):
    """Ids, links, loaded addresses and open elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links, self.uses, self.sources, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.ids += [facts["id"]] if "id" in facts else []
        places = {"a": self.links, "use": self.uses}.get(tag, self.sources)
        places += [facts[key] for key in ("src", "href", "xlink:href") if key in facts]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return page_records(folder)


@pytest.fixture(scope="module")
def table(records: list[Record]) -> Table:
    return page_table(records)


@pytest.fixture(scope="module")
def page(table: Table, records: list[Record], folder: Path) -> str:
    return html_page(table, kept=folder, records=records)


def text_of(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup)).strip()


def entry(page: str, key: str) -> str:
    """Return the text of a drawer."""
    start = page.index(f'id="{key}"')
    end = page.index('<details class="all">', start) if "record" in key else page.index(
        "</details>", start
    )  # fmt: skip
    return text_of(page[page.index(">", start) + 1 : end])


def test_the_page_is_well_formed_and_every_link_has_its_target(page: str) -> None:
    parsed = Parsed(page)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link.removeprefix("#") for link in parsed.links + parsed.uses} <= set(parsed.ids)
    assert "<title>A &lt;page&gt;</title>" in page and "JEPA <x>" not in page


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    assert Parsed(page).sources == ["data:,"]
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page


def test_a_number_tells_its_interval_seeds_and_published_one(page: str, table: Table) -> None:
    medium = next(row for row in table.rows if row.name == "medium")
    start = page.index('scope="row" data-value="medium"')
    told = text_of(page[page.index(">", start) + 1 : page.index("</tr>", start)])
    # 154 of 200: the middle (0.77 + 0.0096) / 1.0192 = 0.7649 less 1.923 times 0.0302.
    assert medium.cells[0].interval.low == pytest.approx(0.7069, abs=1e-4)
    assert "77.0 ±6.3 ( 80.0† , −3.0) 3 seeds ±2.0" in told  # noqa: RUF001
    assert 'data-place="1–2"' in page  # noqa: RUF001


def test_the_drawer_tells_how_a_number_came_about(page: str, table: Table) -> None:
    record = next(row for row in table.rows if row.name == "medium").cells[0].record
    told = entry(page, f"record-{record.id}")
    for said in (
        "77.0 % top-1 accuracy, mean of 3 seeds",
        "Counts 154 correct of 200 listed",
        "70.7 to 82.3 (95 %, Wilson)",
        "Place 1–2 of 2, as far as the sample can tell",  # noqa: RUF001
        "77.0 ± 2.0: 75.0 (seed 0), 77.0 (seed 1), 79.0 (seed 2)",
        "attentive on tokens: head 2 of 2 (lr 0.0003, weight_decay 0.1), rule honest",
        "80.0 in jepa-2024, table 5; here −3.0",  # noqa: RUF001
        f"bench replay {record.id}",
        "commit 0123456789ab",
    ):
        assert said in told, said


def test_optimism_is_told_from_the_same_fits(records: list[Record], folder: Path) -> None:
    record = next(r for r in records if r.encoder.name == "large")
    chosen = record.probe.selection.model_copy(
        update={"score_split_scores": (0.66, 0.61), "score_split_fit": "kept"}
    )
    probe = record.probe.model_copy(update={"selection": chosen})
    page = html_page(page_table([record.model_copy(update={"probe": probe})]), kept=folder)
    # Head 2 was chosen: 61.0 against the best one's 66.0.
    told = "5.0 points: 66.0 instead of 61.0 % from the same fits (trained without the held-out"
    assert page.count(told) == 2  # in the summary, and with the other facts of the head


def test_a_published_number_tells_where_it_stands(page: str, table: Table) -> None:
    row = next(i for i, row in enumerate(table.rows) if row.kind == "published")
    told = entry(page, f"paper-{row}-0")
    for said in ("81.25†", "jepa-2024, table 5", "JEPA ViT-L/16", "VideoMix2M", "270 M", "16x8x3"):
        assert said in told
    assert f'<a class="number paper" href="#paper-{row}-0">81.25</a>' in page


def test_classes_of_the_page_are_bounded_and_the_page_says_so(
    table: Table, folder: Path, records: list[Record], page: str
) -> None:
    shown = len(shown_records(table))
    held = re.search(r'id="classes">(.*?)</script>', page)[1]
    assert set(json.loads(held)["records"]) == {record.id for record in records}
    assert "Results per class:" not in page
    less = html_page(table, kept=folder, limit=2)
    assert len(json.loads(re.search(r'id="classes">(.*?)</script>', less)[1])["records"]) == 2
    assert f"Results per class: first 2 of {shown} records only." in less
    assert "made without stored predictions" in html_page(table)


def test_missing_predictions_are_named(table: Table, folder: Path, tmp_path: Path) -> None:
    page = html_page(table, kept=tmp_path)
    assert "No results per class: record " in page and "which is missing" in page


def test_the_same_records_give_the_same_page_in_any_order(
    table: Table, records: list[Record], folder: Path, page: str
) -> None:
    shuffled = records[:]
    random.Random(1).shuffle(shuffled)
    assert html_page(table, kept=folder, records=shuffled) == page


# ----------------------------------------------------------------------------------------- pictures
def test_there_is_a_picture_per_task_for_size_and_for_computation(
    table: Table, records: list[Record]
) -> None:
    found = figures_markup(table, records)
    labels = re.findall(r'role="img" aria-label="([^"]*)"', found)
    assert labels == [
        "What: top-1 accuracy by parameters (millions)",
        "How: top-1 accuracy by parameters (millions)",
        "Ava: frame mAP at IoU 0.5 by parameters (millions)",
        "What: top-1 accuracy by GFLOPs per clip",
        "How: top-1 accuracy by GFLOPs per clip",
    ]  # no picture of one encoder alone: that of a paper has no computation
    for name in ENCODERS:
        assert f">{name}" in found
    assert "#0f6b5d" not in found and "#7f8183" not in found  # colours are those of the page


def test_points_stand_at_their_parameters_and_link_to_their_records(table: Table) -> None:
    points = points_of(table, 0, lambda row, cell: 1.0 if cell.record else None)
    assert [(p.name, p.kind, p.y) for p in points if p.kind != "published"] == [
        ("medium ViT-L/16", "encoder", 77.0),
        ("small", "encoder", 75.0),
        ("large", "encoder", 60.0),
        ("random", "floor", 15.0),
    ]
    assert points[0].href.startswith(("#record-", "#paper-"))


def test_what_does_not_compare_is_drawn_open(records: list[Record], folder: Path) -> None:
    other = kept_clips(folder, [True] * 200, encoder="other", task="what", protocol="vjepa@1")
    points = points_of(page_table([*records, other]), 0, lambda row, cell: 1.0)
    assert {p.name: p.kind for p in points}["other"] == "other"


def test_curves_are_drawn_where_there_are_few_labels(
    table: Table, records: list[Record], folder: Path
) -> None:
    few = [
        kept_clips(folder, [True] * 80 + [False] * 120, encoder="small", task="what", fraction=0.1)
    ]
    assert "Against the number of labels" not in figures_markup(table, records)
    assert "Against the number of labels" in figures_markup(table, [*records, *few])


def test_the_frontier_is_what_nothing_smaller_reaches(table: Table) -> None:
    points = points_of(table, 0, lambda row, cell: float(len(row.name)))
    best = [p for p in points if not any(q.x <= p.x and q.y >= p.y and q != p for q in points)]
    assert sorted(frontier(points), key=lambda p: p.y) == sorted(best, key=lambda p: p.y)


def test_names_touch_neither_points_nor_one_another() -> None:
    generator = random.Random(0)
    frame = Box(left=0, right=250, bottom=0, top=200)
    points = [(generator.uniform(5, 245), generator.uniform(5, 195)) for _ in range(40)]
    taken = [Box.around(x, y, 4, 4) for x, y in points]
    names = [(f"encoder {i}", [point]) for i, point in enumerate(points)]
    labels = placed(names, taken, frame, letters=8)
    assert 10 < len(labels) < 40  # not all find room
    boxes = [label.box for label in labels]
    for i, box in enumerate(boxes):
        assert frame.holds(box)
        assert not any(box.touches(other) for other in [*taken, *boxes[:i]])


def test_a_large_table_tells_every_fact_of_its_first_records_alone(
    monkeypatch: pytest.MonkeyPatch, table: Table
) -> None:
    monkeypatch.setattr("leaderboards.render.drawer.ENTRIES_LIMIT", 2)
    monkeypatch.setattr("leaderboards.render.page.ENTRIES_LIMIT", 2)
    page = html_page(table)
    assert page.count("Full record") == 2
    assert "All facts are shown for the first 2 of " in page
    assert all(f'href="#record-{record.id}"' in page for record in shown_records(table))


def test_a_table_of_published_numbers_alone_is_a_page(table: Table) -> None:
    rows = tuple(row for row in table.rows if row.kind == "published")
    heads = tuple(replace(head, reference=None) for head in table.heads)
    only = replace(table, rows=rows, heads=heads, notes=())
    page = html_page(only)
    assert "No records yet" not in page and published(81.25).source in page
    assert Parsed(page).open == []


def test_a_long_word_can_break_on_a_narrow_screen() -> None:
    assert breakable("a_b:<c>") == "a_<wbr>b:<wbr>&lt;c&gt;"
    assert breakable("x" * 50) == f"{'x' * 24}<wbr>{'x' * 24}<wbr>xx"
    assert breakable("x" * 24) == "x" * 24
