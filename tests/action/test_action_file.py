"""What can be seen in action.yml without running it."""

from __future__ import annotations

import re

from fixtures.action import action
from fixtures.pages import ROOT


def test_no_script_has_an_expression_since_a_value_would_be_code() -> None:
    steps = action()["runs"]["steps"]
    assert steps
    assert [step["name"] for step in steps if "${{" in step["run"]] == []


def test_every_input_is_used_and_described() -> None:
    document = action()
    used = re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", (ROOT / "action.yml").read_text())
    assert sorted(used) == sorted(document["inputs"])
    assert all(each["description"] for each in (*document["inputs"].values(), *document["outputs"].values()))


def test_the_page_has_every_input_and_output() -> None:
    page = (ROOT / "docs" / "howto" / "github-actions.md").read_text()
    document = action()
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == list(document["inputs"])
    assert [name for name in document["outputs"] if f"`{name}`" not in page] == []
