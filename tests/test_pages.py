"""The documentation's code blocks are right: each is run, read or checked, by its language.

Console and Python blocks run. If another test module runs the blocks of a page, `ELSEWHERE` names it. Some
blocks need a bucket, a cluster or another tool and cannot run here: their `layercache` commands are parsed,
and the URLs of their caches are opened as far as that needs no network.
"""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from typing import TYPE_CHECKING

import click
import pytest
from fixtures.pages import PAGES, ROOT, Block, blocks
from servers.images import make_image, make_layer, noise

from layercache.cli.program import program
from layercache.config import files
from layercache.config.schema import check
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import LyingRegistry

ALPINE = "docker.io/library/alpine:3.20"
ELSEWHERE = {
    ("README.md", "python"): "tests/test_readme.py",
    ("README.md", "console"): "tests/test_readme.py",
    ("backends.md", "python"): "tests/backend/test_plugin.py",
    ("backends.md", "toml"): "tests/backend/test_plugin.py",
    ("cli.md", "console"): "tests/cli/test_docs.py",
    ("tutorial.md", "console"): "tests/cli/test_docs.py",
}
PYTHON = ("api.md", "upkeep.md")
"""Pages whose Python blocks run here, in order, in one namespace."""

ALL = [block for page in PAGES for block in blocks(page) if (page.name, block.language) not in ELSEWHERE]


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def test_every_block_has_a_test() -> None:
    checked = {"sh", "yaml", "json", "toml", "mermaid", ""}
    unchecked = [
        str(block)
        for block in ALL
        if block.language not in checked and not (block.language == "python" and block.page in PYTHON)
    ]
    assert unchecked == []
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


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_a_configuration_is_valid(block: Block, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(block.text)
    document = files.find(str(tmp_path / "x.toml"))
    assert document
    checked, checker = check(document)
    assert checker.problems == []
    for number, tier in enumerate(checked.table.tiers or ()):
        open_tier(tier.url, nearest=not number).close()


def commands(text: str) -> list[list[str]]:
    """The arguments of every layercache command in a shell script or a pipeline of CI."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"^(?:\s*-(?: run:)? )?layercache (.*)$", joined, re.MULTILINE)
    return [shlex.split(re.split(r"[|>]", line)[0], comments=True) for line in found]


SCRIPTS = [block for block in of("sh", "yaml") if commands(block.text) or "LAYERCACHE_URL" in block.text]


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_commands_are_understood_and_caches_can_be_opened(block: Block) -> None:
    urls = []
    for arguments in commands(block.text):
        context = program.make_context("layercache", list(arguments))
        name, command, rest = program.resolve_command(context, [*context._protected_args, *context.args])
        assert name, arguments
        assert command
        with context, click.Context(command, parent=context, info_name=name) as inner:
            command.parse_args(inner, rest)
        urls += [url for option, url in pairwise(arguments) if option == "--cache"]
    for value in re.findall(r"LAYERCACHE_URL[:=] ?\"?([^\"\n]*)", block.text):
        urls += value.split()
    for url in urls:
        if "://" in url and "$" not in url and not url.startswith("redis:"):  # a plug-in of the page
            open_tier(url, nearest=False).close()


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
