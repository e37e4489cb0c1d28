"""The page in a browser: sorting, filters, drawers, pictures, narrow screens and both schemes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leaderboards.render.low_shot_figure import pictures
from leaderboards.render.low_shot_page import html_page as low_shot_page
from leaderboards.render.page import html_page
from leaderboards.rows.low_shot_join import join as join_low_shot
from leaderboards.rows.table import Table
from tests.sound_record import sound_record

if TYPE_CHECKING:  # the package is needed where there is a browser alone
    from playwright.sync_api import Page

NAMES = """rows => rows.filter(r => !r.hidden).map(r => r.cells[0].dataset.value)"""
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


def names(page: Page, body: str = "ranked") -> list[str]:
    return page.locator(f"tbody.{body} tr[data-kind]").evaluate_all(NAMES)


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.getAttribute('href')")


def hash_of(page: Page) -> str:
    return page.evaluate("location.hash")


def is_closed(page: Page) -> None:
    """Wait until the drawer is closed and the address is that of the table again."""
    page.wait_for_function("!document.getElementById('drawer').open")
    page.wait_for_function("!/^#(record|paper|cell)-/.test(location.hash)")


@pytest.fixture
def medium(site: tuple[Table, str]) -> str:
    """The address of the drawer of a number."""
    table, _ = site
    row = next(row for row in table.rows if row.name == "medium")
    return f"#record-{row.cells[0].record.id}"


# ---------------------------------------------------------------------------------------- the table
def test_a_heading_sorts_and_turns_on_the_second_click(opened: Callable[..., Page]) -> None:
    page = opened()
    heading = page.locator('thead th[data-column="2"] button')  # what, how
    heading.click()
    assert names(page) == ["large", "medium", "small", "JEPA <x>"]  # 96, 90, 60, none
    assert heading.locator("..").get_attribute("aria-sort") == "descending"
    assert hash_of(page) == "#sort=2-desc"
    heading.click()
    assert names(page) == ["small", "medium", "large", "JEPA <x>"]  # no number stays last
    assert page.locator("#status").inner_text().endswith("low to high.")
    assert names(page, "floors") == ["random", "chance"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("0-asc", ["JEPA <x>", "large", "medium", "small"]),
        ("1-desc", ["JEPA <x>", "medium", "small", "large"]),  # 81.25 of a paper, 77, 75, 60
        ("1-asc", ["large", "small", "medium", "JEPA <x>"]),
    ],
)
def test_the_address_sorts(opened: Callable[..., Page], order: str, expected: list[str]) -> None:
    assert names(opened(f"#sort={order}")) == expected


def test_places_are_those_of_the_column_sorted_by(opened: Callable[..., Page]) -> None:
    page = opened()
    place = page.locator('tr:has(th[data-value="small"]) .place')
    assert place.inner_text() == "1–2"  # noqa: RUF001
    page.locator('thead th[data-column="2"] button').click()
    assert place.inner_text() == "3"


def test_digits_stand_below_digits(opened: Callable[..., Page]) -> None:
    page = opened()
    ends = page.locator("tbody td:nth-child(2) a.number").evaluate_all(
        "links => links.map(link => Math.round(link.getBoundingClientRect().right))"
    )
    assert len(ends) == 5 and len(set(ends)) == 1


def test_text_filters_rows(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_label("Find").fill("MED")
    assert names(page) == ["medium"] and names(page, "floors") == []
    assert not page.locator("tr.apart").is_visible()
    assert page.locator("#status").inner_text() == "1 of 6 rows shown."
    page.get_by_label("Find").fill("")
    assert len(names(page)) == 4 and page.locator("tr.apart").is_visible()


def test_kinds_filter_rows(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_label("Published").uncheck()
    assert names(page) == ["medium", "small", "large"]
    page.get_by_label("Floors").uncheck()
    assert names(page, "floors") == []
    page.get_by_label("Encoders").uncheck()
    assert names(page) == []


def test_columns_of_a_task_can_be_hidden(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.locator('thead th[data-column="1"]').is_visible()
    page.get_by_label("What", exact=True).uncheck()
    assert not page.locator('thead th[data-column="1"]').is_visible()
    assert not page.locator("tbody td:nth-child(2)").first.is_visible()
    assert page.locator('thead th[data-column="2"]').is_visible()


def test_what_is_shown_stands_in_the_address(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_label("Find").fill("vit-l/16")  # of the size below a name
    page.get_by_label("What", exact=True).uncheck()
    page.get_by_label("Floors").uncheck()
    page.locator('thead th[data-column="2"] button').click()
    again = opened(hash_of(page))
    assert names(again) == names(page) == ["JEPA <x>"]
    assert not again.locator('thead th[data-column="1"]').is_visible()
    assert names(again, "floors") == []


# --------------------------------------------------------------------------------------- the drawer
def test_a_click_opens_a_drawer_and_escape_closes_it(
    opened: Callable[..., Page], medium: str
) -> None:
    page = opened()
    drawer = page.get_by_role("dialog")
    assert not drawer.is_visible()
    page.locator(f'td a[href="{medium}"]').click()
    assert drawer.is_visible() and hash_of(page) == medium
    assert page.get_by_role("dialog", name="medium").is_visible()
    assert "154 correct of 200 listed" in drawer.inner_text()
    page.keyboard.press("Escape")
    is_closed(page)
    assert hash_of(page) == "" and focused(page) == medium


def test_the_keyboard_opens_a_drawer_and_stays_within(
    opened: Callable[..., Page], medium: str
) -> None:
    page = opened()
    page.locator(f'td a[href="{medium}"]').focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    for _ in range(6):
        page.keyboard.press("Tab")
        # From the last element the focus goes to the browser itself, and the body stands for that.
        assert page.evaluate("document.activeElement.closest('#drawer') !== null || "
                             "document.activeElement === document.body")  # fmt: skip
    page.get_by_role("button", name="Close").press("Enter")
    is_closed(page)
    assert focused(page) == medium


def test_the_keyboard_reaches_a_number_and_shows_where_it_is(opened: Callable[..., Page]) -> None:
    page = opened()
    for _ in range(40):
        page.keyboard.press("Tab")
        if (focused(page) or "").startswith("#record-"):
            break
    assert focused(page).startswith("#record-")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_address_opens_a_drawer_and_gives_the_focus_back(
    opened: Callable[..., Page], medium: str
) -> None:
    page = opened(medium)
    assert page.get_by_role("dialog", name="medium").is_visible()
    page.keyboard.press("Escape")
    is_closed(page)
    assert focused(page) == medium


def test_a_click_beside_the_drawer_closes_it_and_sorting_is_kept(
    opened: Callable[..., Page], medium: str
) -> None:
    page = opened("#sort=2-asc")
    page.locator(f'td a[href="{medium}"]').click()
    page.mouse.click(20, 400)
    is_closed(page)
    assert hash_of(page) == "#sort=2-asc"


def test_the_drawer_draws_classes_and_what_they_are_taken_for(
    opened: Callable[..., Page], medium: str
) -> None:
    page = opened(medium)
    drawer = page.get_by_role("dialog")
    told = drawer.locator(".bars").inner_text().split("\n")
    # Of 200 rows, 20 of each of ten classes, the first 154 are right: 15 or 16 of a class.
    assert told[:3] == ["class 4", "75.0", "20"] and told.count("80.0") == 4
    width = drawer.locator(".track").first.evaluate("bar => bar.getBoundingClientRect().width")
    assert width > 60
    # A wrong row is taken for the next class.
    assert drawer.locator(".taken tr").first.inner_text().split() == [
        "class", "4", "class", "5", "(5)", "of", "20",
    ]  # fmt: skip


def test_boxes_have_an_ap_a_class(opened: Callable[..., Page], site: tuple[Table, str]) -> None:
    table, _ = site
    record = next(r.cells[2].record for r in table.rows if r.cells[2].record)
    drawer = opened(f"#record-{record.id}").get_by_role("dialog")
    assert drawer.locator(".bars").inner_text().split("\n")[:3] == ["stand", "25.0", "20"]
    assert "AP in %" in drawer.inner_text()


def test_a_record_without_an_entry_is_told_by_the_table(
    opened: Callable[..., Page],
    site: tuple[Table, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("leaderboards.render.drawer.ENTRIES_LIMIT", 0)
    path = tmp_path / "large.html"
    path.write_text(html_page(site[0]), encoding="utf-8")
    page = opened(address=path.as_uri())
    page.locator("tbody a[href^='#record']").first.click()
    drawer = page.get_by_role("dialog", name="medium")
    assert "place 1–2" in drawer.inner_text() and "bench replay " in drawer.inner_text()  # noqa: RUF001


def test_a_published_number_has_a_drawer(opened: Callable[..., Page]) -> None:
    page = opened()
    page.locator("a.paper").first.click()
    assert "jepa-2024, table 5" in page.get_by_role("dialog").inner_text()


# ---------------------------------------------------------------------------------------- pictures
def test_pictures_have_a_size_and_their_points_open_drawers(opened: Callable[..., Page]) -> None:
    page = opened()
    pictures = page.locator(".panels svg")
    assert pictures.count() == 5
    for i in range(5):
        box = pictures.nth(i).bounding_box()
        assert box["width"] > 200 and box["height"] > 150
    point = page.locator('.panels svg a[href^="#record-"]').first
    point.locator("use").click()
    assert page.get_by_role("dialog").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_have_contrast(opened: Callable[..., Page], scheme: str) -> None:
    page = opened(scheme=scheme)
    pairs = page.evaluate(
        """() => ["body", ".lead", "a.number", ".legend", ".panels svg text"].map((name) => {
          const own = document.querySelector(name);
          const style = getComputedStyle(own);
          const colour = own instanceof SVGElement ? style.fill : style.color;
          return [name, colour, getComputedStyle(document.body).backgroundColor];
        })"""
    )
    for name, ink, paper in pairs:
        assert contrast(ink, paper) > 4.5, (name, ink, paper)


def contrast(a: str, b: str) -> float:
    """Return the contrast of two colours by WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


# ----------------------------------------------------------------- narrow screens, print, no script
def test_a_phone_scrolls_the_table_and_never_the_page(
    opened: Callable[..., Page], medium: str
) -> None:
    page = opened(width=360, height=740)
    scroll, client = page.evaluate(WIDTHS)
    assert scroll <= client == 360
    page.locator(f'td a[href="{medium}"]').click()
    box = page.get_by_role("dialog").bounding_box()
    assert (box["x"], box["width"]) == (0, 360)
    inner = page.locator("#drawer").evaluate("d => [d.scrollWidth, d.clientWidth]")
    assert inner[0] <= inner[1]


def test_without_a_script_the_page_reads(opened: Callable[..., Page], medium: str) -> None:
    page = opened(script=False)
    assert not page.locator("form.controls").is_visible()
    assert page.locator("tbody.ranked tr").count() == 4
    entry = page.locator(f"details{medium}")
    entry.locator("summary").first.click()
    assert "154 correct of 200 listed" in entry.inner_text()


def test_print_leaves_out_what_only_a_screen_can_do(opened: Callable[..., Page]) -> None:
    page = opened()
    page.emulate_media(media="print")
    assert (
        page.locator("table.board").is_visible() and page.locator(".panels svg").first.is_visible()
    )
    assert not page.locator("form.controls").is_visible()
    assert page.locator(".scroll").first.evaluate("e => getComputedStyle(e).overflowX") == "visible"


def test_the_page_of_few_labels_opens_drawers_too(
    opened: Callable[..., Page], tmp_path: Path
) -> None:
    records = [
        sound_record(encoder="small", correct=60, fraction=0.1),
        sound_record(encoder="small", correct=80),
    ]
    board = join_low_shot("Few labels", records)
    path = tmp_path / "few.html"
    path.write_text(low_shot_page(board, pictures(board)[0]), encoding="utf-8")
    page = opened(address=path.as_uri(), width=360)
    assert page.evaluate(WIDTHS) == [360, 360]
    page.locator('a[href="#cell-0-0-0"]').click()
    assert page.get_by_role("dialog", name="small").is_visible()
    page.keyboard.press("Escape")
    is_closed(page)
    assert focused(page) == "#cell-0-0-0"


def test_the_back_button_closes_the_drawer(opened: Callable[..., Page], medium: str) -> None:
    page = opened("#sort=2-desc")
    page.locator(f'a[href="{medium}"]').first.click()
    page.wait_for_function("document.getElementById('drawer').open")
    page.go_back()
    is_closed(page)
    assert hash_of(page) == "#sort=2-desc"
    page.go_forward()
    page.wait_for_function("document.getElementById('drawer').open")


@pytest.mark.parametrize(
    "address", ["#find=%E0%A4%A", "#nothing", "#record-0", "#=", "#sort=99-asc"]
)
def test_an_address_that_names_nothing_shows_the_table(
    opened: Callable[..., Page], address: str
) -> None:
    page = opened(address)
    assert len(names(page, "floors")) == (0 if "find" in address else 2)
    assert not page.evaluate("document.getElementById('drawer').open")
    page.locator('thead th[data-column="2"] button').click()  # the script still runs
    assert hash_of(page).endswith("sort=2-desc") or "find" in address
