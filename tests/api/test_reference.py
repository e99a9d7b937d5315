"""docs/api.md has every public name: all that layercache exports, and all methods and fields of it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re

import msgspec
import pytest
from fixtures.pages import ROOT

import layercache
from layercache.cli.program import COMMANDS

PAGE = (ROOT / "docs" / "api.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE))
WORDS = {word for code in CODE for word in re.findall(r"\w+", code)}

NOT_FOR_PROGRAMS = {
    "Cache": {
        "expecting",
        "note_change",
        "record_statistics",
        "registry_images",
        "offline",
        "strict",
        "tag_age",
    },
    "Cleaned": {"objects"},
    "ConfigProblem": {"error"},
    "Copied": {"add", "fail", "is_any"},
    "ImageFiles": {"get_place", "places", "read_tables", "way"},
    "Layer": {"doubt"},
    "Place": {"of_tier"},
    "Plan": {"check_room", "exceeds_limit"},
    "Pulled": {"check"},
    "RegistrySettings": {name for name in dir(layercache.RegistrySettings) if not name.isupper()}
    - {each.name for each in dataclasses.fields(layercache.RegistrySettings)},
    "Upgraded": {"add"},
}
"""What our own packages above call, and a page for users leaves out."""


def public(name: str) -> list[str]:
    """The attributes and methods of an exported class."""
    found = getattr(layercache, name)
    if not isinstance(found, type) or issubclass(found, str | BaseException):
        return []
    fields = {each.name for each in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
    if issubclass(found, msgspec.Struct):
        fields |= set(found.__struct_fields__)
    methods = {key for key, _ in inspect.getmembers(found)}
    return sorted(
        each
        for each in (fields | methods) - NOT_FOR_PROGRAMS.get(name, set())
        if not each.startswith("_") and each not in dir(tuple)
    )


def test_dir_lists_the_public_names_and_each_can_be_imported() -> None:
    assert dir(layercache) == sorted(layercache.__all__)
    for name in layercache.__all__:
        assert getattr(layercache, name) is not None


def test_the_page_has_every_public_name() -> None:
    assert set(layercache.__all__) - WORDS == {"__version__"}


@pytest.mark.parametrize("name", layercache.__all__)
def test_the_page_has_every_field_and_method_of_a_public_type(name: str) -> None:
    assert [each for each in public(name) if each not in WORDS] == []


@pytest.mark.parametrize("name", ["Cache", "Layer"])
def test_the_page_has_each_argument_of_a_method(name: str) -> None:
    for each in public(name):
        method = inspect.getattr_static(getattr(layercache, name), each)
        if not inspect.isfunction(method) or each in NOT_FOR_PROGRAMS.get(name, set()):
            continue
        stated = [code for code in CODE if code.startswith(f"{each}(")]
        arguments = set(inspect.signature(method).parameters) - {"self", "client"}
        assert any(arguments <= set(re.findall(r"\w+", code)) for code in stated), f"{name}.{each}"


MODULES = re.findall(r"^\| `layercache\.([\w.]+)` \| \[([^\]]*)\]\(#", PAGE, re.MULTILINE)
"""Public modules, and what is public of each, as the table at the start of the page has them."""


@pytest.mark.parametrize(("module", "names"), MODULES)
def test_what_the_page_has_of_other_modules_is_there(module: str, names: str) -> None:
    home = importlib.import_module(f"layercache.{module}")
    for name in re.findall(r"`(\w+)`", names):
        assert hasattr(home, name)


def rows() -> list[tuple[str, str]]:
    """Each command, and what the page has for it."""
    table = PAGE.partition("\n## Commands\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (`.*`) \| (.*) \|$", table, re.MULTILINE)
    return [(command, cell) for commands, cell in found for command in re.findall(r"`(\w+)`", commands)]


def test_the_page_says_of_each_command_what_does_the_same_in_python() -> None:
    assert [command for command, _ in rows()] == sorted(COMMANDS)
    assert {command for command, cell in rows() if cell.startswith("none: ")} == {
        "completion",
        "demo",
        "help",
    }


@pytest.mark.parametrize(("command", "cell"), rows())
def test_what_does_the_same_as_a_command_is_public(command: str, cell: str) -> None:
    names = re.findall(r"`((?:layercache|Cache|Layer|Image)\.[\w.]+)`", cell)
    assert names or cell.startswith("none: "), command
    for name in names:
        home, _, last = name.rpartition(".")
        if home in ("Cache", "Layer", "Image"):
            assert last in {*dir(getattr(layercache, home)), *vars(layercache.Image)["__dataclass_fields__"]}
        elif home == "layercache":
            assert last in layercache.__all__
        else:
            assert last in dict(MODULES)[home.removeprefix("layercache.")]
            assert callable(getattr(importlib.import_module(home), last))
