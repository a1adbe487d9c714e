"""The page in a real browser: readable by assistive software, at any width, by day and by night, on paper.

Needs Debian's chromium and the packages playwright and axe-playwright-python; skipped without them.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.commands.report import main
from tests.support.made_survey import make

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of six cameras with everything that it can show, except images."""
    folder = tmp_path_factory.mktemp("page")
    make(folder / "made.db", seed=3, frames=2500, deployments=6, days=40)
    assert main(["html", "--db", str(folder / "made.db"), "--out", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(browser: Any, page_file: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900}, bypass_csp=True)
    page.goto(page_file.as_uri())
    found = axe.Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
    page.close()
    assert serious == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_its_screen(browser: Any, page_file: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, java_script_enabled=True)
    page.goto(page_file.as_uri())
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert wide <= width


def test_asks_the_network_for_nothing_and_says_nothing_on_the_console(browser: Any, page_file: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(page_file.as_uri())
    assert page.inner_text("h1") == "Wildlife at 6 cameras"
    page.close()
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert said == []


def test_prints_without_cutting_rows_off(browser: Any, page_file: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 690, "height": 1000})  # A4 between its margins
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert wide <= 690
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
