"""The report in headless Chromium: it opens offline, its tabs and its playback work, on a phone too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import TINY

from analysis.report import write_report
from nmoe_sim.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
TABS = ["overview", "latency", "energy", "learning", "experts", "radio", "map", "requests", "scenario"]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open reports with; as root: apt-get install chromium"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    evil = "description: '<script>window.broken = 1; alert(1)</script><img src=x onerror=\"window.broken = 2\">'\n"
    (folder / "tiny.yaml").write_text(TINY + evil)
    for seed in ("1", "2"):
        arguments = ["--seed", seed, "--out", str(folder / seed), "--quiet"]
        assert main(["run", str(folder / "tiny.yaml"), *arguments]) == 0
    return write_report([folder / "1", folder / "2"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, report: Path, complaints: list[str]) -> Iterator[Page]:
    """The open report; what its console, its errors and its requests say is collected, and must be nothing."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: None if request.url == report.as_uri() else complaints.append(request.url[:200]))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert complaints == []


def test_it_opens_whole_and_markup_does_nothing(page: Page) -> None:
    assert page.title() == "tiny – nmoe-sim report"
    assert page.locator("section:visible").count() == 1
    page.locator("section:visible .chart svg.main-svg").first.wait_for()
    page.click("[data-name=scenario]")
    assert "<script>window.broken = 1" in page.inner_text("section:visible pre >> nth=0")
    assert page.evaluate("window.broken") is None


def test_complaints_would_be_heard(browser: Browser, report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(report.read_text().replace("<body>", "<body><script>alert(1)</script><img src='http://a.test/'>"))
    heard: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: heard.append(message.text))
    page.on("dialog", lambda dialog: heard.append("dialog"))
    page.goto(broken.as_uri())
    page.close()
    assert len([text for text in heard if "Content Security Policy" in text]) == 2, "the policy stops both"
    assert "dialog" not in heard


def test_every_tab_draws_all_its_figures(page: Page) -> None:
    for name in TABS:
        page.click(f"[data-name={name}]")
        assert page.url.endswith(f"#{name}")
        [shown] = [section for section in page.locator("section").all() if section.is_visible()]
        assert shown.locator(".chart").count() == shown.locator(".chart:has(svg.main-svg)").count()
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("[data-name=overview]", "aria-selected") == "true"


def wait_until(page: Page, holds: Callable[[], bool], *, within_ms: int = 10_000) -> None:
    """Wait for what the page does in its own time; its security policy leaves no room for wait_for_function."""
    for _ in range(within_ms // 20):
        if holds():
            return
        page.wait_for_timeout(20)
    assert holds()


def test_playback_runs_pauses_and_can_be_moved(page: Page) -> None:
    page.click("[data-name=map]")
    position = page.locator("#position")
    begin = int(position.input_value())
    page.select_option("#speed", "16")
    page.click("#play")
    wait_until(page, lambda: int(position.input_value()) > begin + 200)
    page.click("#play")
    paused = position.input_value()
    page.wait_for_timeout(120)
    assert position.input_value() == paused
    picture = page.evaluate("document.getElementById('map').toDataURL()")
    position.fill("9999")
    assert "0 in flight" in page.inner_text("#clock")
    assert page.evaluate("document.getElementById('map').toDataURL()") != picture
    page.select_option("#run", "1")
    total = page.evaluate("JSON.parse(document.getElementById('data').textContent).runs[1].requests.length")
    assert f"of {total} answered" in page.inner_text("#clock")


def test_a_phone_shows_it_without_scrolling_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for name in TABS:
        page.click(f"[data-name={name}]")
        wait_until(page, lambda: page.evaluate("document.documentElement.scrollWidth") <= 390)


def test_dark_and_light(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) != light
    page.click("#theme")
    assert page.evaluate(background) == light


def test_print_shows_all_parts(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("section:visible").count() == len(TABS)
    assert page.locator(".chart:not(:has(svg.main-svg))").count() == 0
    assert not page.locator("nav").is_visible()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("section:visible").count() == 1
