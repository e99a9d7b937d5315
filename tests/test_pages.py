"""Python and JSON blocks of the pages are right, every block has a test, and every link leads somewhere.

Shell, CI and TOML blocks are run by tests/test_blocks.py; `ELSEWHERE` names the modules that run others.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from fixtures.pages import ELSEWHERE, PAGES, ROOT, Block, blocks, of
from servers.images import make_image, make_layer, noise

from layercache.cli.program import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import LyingRegistry

ALPINE = "docker.io/library/alpine:3.20"
COMMAND = re.compile(r"^(?:\$ |sudo |layercache |pip |uv |docker |podman )", re.MULTILINE)
NOT_RUN = {"BuildKit", "With docker buildx", "With buildctl"}
"""Headings of commands for programs that no test has; the page says so."""

PYTHON = ("api.md", "upkeep.md")
"""Pages whose Python blocks run here, in order, in one namespace."""


def test_every_block_has_a_test() -> None:
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert languages <= {"console", "json", "mermaid", "python", "sh", "terminal", "toml", "yaml", ""}
    assert of("console", "terminal") == []
    assert {block.page for block in of("python")} == set(PYTHON)
    plain = [block for page in PAGES for block in blocks(page) if not block.language]
    assert {block.heading for block in plain if COMMAND.search(block.text)} <= NOT_RUN
    for (page, _), module in ELSEWHERE.items():
        assert page in (ROOT / module).read_text(), f"{module} does not read {page}"


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_blocks_of_a_page_run_in_order(
    page: str, lying: LyingRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layer = make_layer({"file": noise(5000)})
    (tmp_path / "layer.tar.gz").write_bytes(layer.blob)
    name = lying.add_image("3.20", make_image([layer, make_layer({"more": b"upper"}, "zstd")]))
    here = {ALPINE: name, "/tmp/layers": f"{tmp_path}/layers", "/var/cache/layers": f"{tmp_path}/other"}
    names: dict[str, object] = {}
    for block in of("python"):
        if block.page == page:
            code = block.text
            for theirs, ours in here.items():
                code = code.replace(theirs, ours)
            exec(compile("\n" * (block.line - 1) + code, page, "exec"), names)


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_is_valid(block: Block) -> None:
    assert json.loads(block.text)


CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OTHER_PROGRAMS = {"comm", "grep", "layercache", "skopeo"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    named = {
        found[1]
        for code in CODE.findall(page.read_text())
        if (found := re.match(r"layercache (?:-\S+ )*([a-z]+)\b", code))
    }
    assert named - set(COMMANDS) == set()


def test_the_comparison_names_commands_and_options_that_are_there() -> None:
    """In the last column of its tables, which is ours; a word with "_" is a key of the configuration."""
    table = (ROOT / "docs" / "comparison.md").read_text().partition("## Command by command")[2]
    cells = [
        line.rsplit(" | ", 1)[1] for line in table.splitlines() if line.startswith("|") and " | " in line
    ]
    words = {code.split()[0] for cell in cells for code in CODE.findall(cell)}
    commands = {word for word in words if re.fullmatch("[a-z]+", word)} - OTHER_PROGRAMS
    assert commands - set(COMMANDS) == set()
    reference = (ROOT / "docs" / "cli.md").read_text()
    assert {word for word in words if word.startswith("--") and f"`{word}" not in reference} == set()


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        other = (page.parent / target).resolve() if target else page
        assert other.exists(), target
        if anchor:
            text = re.sub(r"^```.*?^```", "", other.read_text(), flags=re.DOTALL | re.MULTILINE)
            assert anchor in map(slug, re.findall(r"^#+ (.*)$", text, re.MULTILINE)), f"{target}#{anchor}"
