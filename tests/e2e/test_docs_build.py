"""`make docs`: no warning, no dead link, nothing from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import REPOSITORY

pytest.importorskip("mkdocs", reason="pip install nmoe-sim[docs]")

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser fetches by itself; of links the style sheets and icons."""


class Page(HTMLParser):
    """The anchors of a page, where it leads, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.leads_to: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.leads_to.append(given["href"])
        if tag in LOADED and LOADED[tag] in given and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The built site's pages."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return {path: Page(path.read_text()) for path in folder.rglob("*.html")}


def test_pages_are_there(site: dict[Path, Page]) -> None:
    names = {path.stem for path in site}
    assert {
        "index",
        "tutorial",
        "gallery",
        "tables",
        "scenario",
        "command-line",
        "python",
        "errors",
        "physics",
    } <= names


def test_every_link_leads_somewhere(site: dict[Path, Page]) -> None:
    dead = []
    for path, page in site.items():
        if path.stem == "404":  # its links are for the root of a server
            continue
        for link in page.leads_to + page.loads:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = site[target].anchors if target in site else set()
            if not target.is_file() or (url.fragment and target in site and unquote(url.fragment) not in anchors):
                dead.append((path.name, link))
    assert not dead


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Page]) -> None:
    foreign = {link for page in site.values() for link in page.loads if urlsplit(link).scheme or urlsplit(link).netloc}
    assert not {link for link in foreign if not link.startswith("data:")}


def test_pictures_are_drawn(site: dict[Path, Page]) -> None:
    [gallery] = [path for path in site if path.stem == "gallery"]
    pictures = list((gallery.parent / "assets" / "generated").glob("*.svg"))
    assert len(pictures) >= 10
    for picture in pictures:
        assert picture.read_text().count("<path") > 5, picture.name
