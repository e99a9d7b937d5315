"""Chromium without a window, for pages that tests look at."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. Skips the test where it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, not installed here")
    if (program := shutil.which("chromium")) is None:
        pytest.skip("needs chromium, not installed here")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=list(QUIET))
        yield running
        running.close()


def picture(tab: Page, name: str, *, whole: bool = True) -> None:
    """Keep a screenshot in the folder that this variable names, as the gate does."""
    if folder := os.environ.get("SCREENSHOTS"):
        tab.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=whole)
