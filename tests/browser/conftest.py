"""A headless Chromium, and pages that may neither load anything nor complain."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from leaderboards.render.page import html_page
from leaderboards.rows.table import Table
from tests.leaderboards.tables import page_records, page_table

if TYPE_CHECKING:  # the package is needed where there is a browser alone
    from playwright.sync_api import Browser, Page, Route

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Chromium; without one these tests are skipped, unless they are required."""
    is_required = os.environ.get("FROZENBENCH_BROWSER") == "required"
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and not is_required:
        pytest.skip("needs Chromium on PATH (FROZENBENCH_BROWSER=required makes this an error)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if is_required:
            raise
        pytest.skip("needs the package playwright, which is among the dev dependencies")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, str]:
    """Write the page of a table with all that a page can show; return the table and its address."""
    folder = tmp_path_factory.mktemp("site")
    records = page_records(folder)
    table = page_table(records)
    path = folder / "page.html"
    path.write_text(html_page(table, kept=folder, records=records), encoding="utf-8")
    return table, path.as_uri()


@pytest.fixture
def opened(browser: Browser, site: tuple[Table, str]) -> Iterator[Callable[..., Page]]:
    """Return a function that opens the page; whatever it complains of or loads fails the test."""
    contexts, complaints = [], []

    def open_page(
        hash_: str = "",
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        script: bool = True,
        address: str | None = None,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            java_script_enabled=script,
        )
        contexts.append(context)
        own = address or site[1]

        def answer(route: Route) -> None:
            if route.request.url.split("#")[0] == own:
                return route.continue_()
            complaints.append(f"loaded {route.request.url}")
            return route.abort()

        context.route("**/*", answer)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(own + hash_)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
