"""The site, built as `make docs` builds it: no warning, nothing from elsewhere, readable on a phone."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures.pages import PAGES, ROOT
from servers.browser import chromium, picture

import layercache
from layercache import aio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WIDTHS = {"phone": 390, "desktop": 1280}
PICTURED = {"README", "docs/tutorial", "docs/comparison", "docs/design", "docs/api-reference", "docs/cli"}
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|embed)\b[^>]*\bsrc=[\"']?([^\"' >]+)"
    r"|<link\b(?![^>]*rel=[\"']?(?:canonical|index|search|next|prev))[^>]*\bhref=[\"']?([^\"' >]+)"
    r"|url\([\"']?(?!data:|#)([^\"')]+)|@import\s+[\"']([^\"']+)"
)
"""What a browser loads by itself, in HTML and in style sheets."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built for each worker, unless ``SITE`` says where `make docs` has just built it."""
    if built_before := os.environ.get("SITE"):
        return Path(built_before)
    pytest.importorskip("furo", reason="needs sphinx and furo, not installed here: make docs")
    target = tmp_path_factory.mktemp("site")
    (recipe,) = re.findall(
        r"^\t@\$\(BIN\)/python (-m sphinx .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    arguments = recipe.replace("build/", f"{target}/").split()
    built = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250
    )
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    return target / "site"


def pages() -> list[str]:
    return [str(page.relative_to(ROOT).with_suffix("")) for page in PAGES]


def test_every_page_is_on_the_site(site: Path) -> None:
    assert [page for page in pages() if not (site / f"{page}.html").is_file()] == []
    assert "README.html" in (site / "index.html").read_text()


def test_the_reference_has_every_public_name_and_method(site: Path) -> None:
    described = set(
        re.findall(r'id="(layercache\.[\w.]+)"', (site / "docs" / "api-reference.html").read_text())
    )
    wanted = {f"layercache.{name}" for name in layercache.__all__} - {"layercache.__version__"}
    wanted |= {f"layercache.aio.{name}" for name in aio.__all__}
    for name in [name for name in wanted if ".aio." not in name]:
        value = getattr(layercache, name.removeprefix("layercache."))
        if isinstance(value, type):
            methods = [
                each
                for base in value.__mro__
                if base is value or base.__module__.startswith("layercache.cache.")
                for each, method in vars(base).items()
                if callable(method) and inspect.getdoc(method)
            ]
            wanted |= {f"{name}.{each}" for each in methods if not each.startswith("_")}
    page = (ROOT / "docs" / "api.md").read_text()
    for module, names in re.findall(r"^\| `layercache\.([\w.]+)` \| \[([^\]]*)\]\(#", page, re.MULTILINE):
        wanted |= {f"layercache.{module}.{name}" for name in re.findall(r"`(\w+)`", names)}
    assert wanted - described == set()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    found = {
        (path.name, address)
        for path in site.rglob("*")
        if path.suffix in (".html", ".css")
        for address in map("".join, LOADED.findall(path.read_text()))
        if re.match(r"(?:https?:)?//", address)
    }
    assert found == set()


def test_mermaid_is_drawn(site: Path) -> None:
    design = (site / "docs" / "design.html").read_text()
    assert '<div class="drawing"><svg' in design
    assert "graph TD" not in design


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_every_page_without_a_network(
    site: Path, browser: Browser, width: str, scheme: str
) -> None:
    """Nothing is wider than the window, but for tables, code and drawings: each is scrolled in its frame."""
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": WIDTHS[width], "height": 900}
    )
    tab = context.new_page()
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on(
        "request",
        lambda asked: problems.extend([] if asked.url.startswith(("file:", "data:")) else [asked.url]),
    )
    for name in pages():
        tab.goto(f"file://{site}/{name}.html")
        needed = int(tab.evaluate("document.documentElement.scrollWidth"))
        if needed > WIDTHS[width]:
            problems.append(f"{name} is {needed} wide")
        if name in PICTURED:
            picture(tab, f"site-{name.replace('/', '-')}-{width}-{scheme}", whole=False)
    context.close()
    assert problems == []


def test_the_search_finds_a_page_without_a_server(site: Path, browser: Browser) -> None:
    tab = browser.new_page()
    tab.goto(f"file://{site}/search.html?q=quarantine")
    tab.wait_for_selector("ul.search li a")
    assert "Limit, prune and verify a cache" in tab.inner_text("ul.search")
    tab.close()
