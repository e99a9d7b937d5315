"""The site's table of contents and its drawings are complete: what `make docs` needs, without building it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from drawings import FOLDER, drawing
from fixtures.pages import PAGES, ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path


def test_the_table_of_the_readme_leads_to_every_page() -> None:
    """It is the site's navigation."""
    table = (ROOT / "README.md").read_text().partition("\n## Documentation\n")[2]
    listed = re.findall(r"\]\(([\w/.-]+\.md)\)", table)
    pages = {str(page.relative_to(ROOT)) for page in PAGES} | {"CHANGELOG.md"}
    assert {"README.md", *listed} == pages
    assert len(listed) == len(set(listed))


def test_every_drawing_of_a_page_is_drawn_and_no_other() -> None:
    """After a change: make drawings."""
    wanted = {drawing(block.text) for page in PAGES for block in blocks(page) if block.language == "mermaid"}
    assert set(FOLDER.glob("*.svg")) == wanted


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.stem)
def test_a_drawing_loads_nothing_and_runs_nothing(path: Path) -> None:
    assert not re.search(r"<script|href=|url\((?!#)|@import|\bon\w+=", path.read_text())
