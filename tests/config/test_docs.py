"""docs/configuration.md: every key and variable is in it. Its examples are run by tests/test_blocks.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from layercache.config.checker import keys_of
from layercache.config.environment import VARIABLES
from layercache.config.from_variables import names
from layercache.config.schema import CacheTable, FileTable, HostTable, RegistryTable
from layercache.config.serve import ServeTable
from layercache.tiers.policy import OPTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def section(title: str) -> str:
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found
    return found


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("The cache", [*keys_of(CacheTable), *OPTIONS]),
        ("`[registry]`", [*keys_of(RegistryTable)]),
        ('`[registries."HOST"]`', [*keys_of(HostTable)]),
        ("`[serve]`", [*keys_of(ServeTable)]),
    ],
)
def test_every_key_has_a_row_of_its_own(title: str, names: list[str]) -> None:
    assert re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE) == names


def test_every_table_has_a_section() -> None:
    tables = set(keys_of(FileTable)) - set(keys_of(CacheTable))
    assert set(re.findall(r"^## `\[(\w+)", PAGE, re.MULTILINE)) == tables


def test_the_page_lists_what_a_projects_file_may_not_set() -> None:
    kept = {
        name for kind in (RegistryTable, HostTable) for name, key in keys_of(kind).items() if key.projects
    }
    assert {name for name in kept if f"`{name}`" not in section("What a project's file may not do")} == set()


def test_every_variable_is_documented() -> None:
    cells = [line.split("|")[1] for line in section("The environment").splitlines() if line.startswith("| `")]
    documented = {name for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)}
    of_serve = {name for name in names() if name.startswith("LAYERCACHE_SERVE_")}
    assert documented == {*VARIABLES, *names()} - of_serve
    assert "`LAYERCACHE_SERVE_…`" in section("The environment")
