"""What `make release` and the workflow of a release promise, as far as it can be seen without building."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml
from fixtures.pages import ROOT
from release.notes import HOME, NotesError, notes

CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- One thing.

## [1.2.0] - 2026-11-27

### Fixed

- A line that goes
  on, see [the page](docs/page.md#part) and [a site](https://site.example).
- Another line
  - with a line below it

## [1.1.0] - 2026-10-01

- Old.

[Unreleased]: https://example/compare
"""
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
ACTIONS = {
    "actions/checkout@v4",
    "actions/setup-python@v5",
    "actions/upload-artifact@v4",
    "actions/download-artifact@v4",
    "pypa/gh-action-pypi-publish@release/v1",
}


def test_the_notes_are_the_section_of_the_version() -> None:
    assert notes(CHANGELOG, "1.2.0") == (
        "### Fixed\n\n"
        f"- A line that goes on, see [the page]({HOME}/blob/v1.2.0/docs/page.md#part) and "
        "[a site](https://site.example).\n"
        "- Another line\n  - with a line below it\n"
    )
    assert notes(CHANGELOG, "1.1.0") == "- Old.\n"


def test_a_version_between_releases_has_what_is_unreleased() -> None:
    assert notes(CHANGELOG, "1.3.0.dev0") == "### Added\n\n- One thing.\n"


@pytest.mark.parametrize("version", ["1.3.0", "1.2", "1x2.0"])
def test_a_version_without_a_section_is_refused(version: str) -> None:
    with pytest.raises(NotesError, match=rf"no heading \"## \[{re.escape(version)}\] - YYYY-MM-DD\""):
        notes(CHANGELOG, version)


def test_the_changelog_has_notes_for_this_version_and_the_home_of_the_project() -> None:
    from layercache import __version__

    assert notes((ROOT / "CHANGELOG.md").read_text(), __version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Homepage"] == HOME


def test_the_how_tos_name_the_action_of_a_release() -> None:
    """Of this version, or between two releases of one that may be in preparation."""
    from layercache import __version__

    pages = [page.read_text() for page in (ROOT / "docs" / "howto").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"oci-layercache/layercache@v([\d.]+)", page)}
    (found,) = named
    release, _, development = __version__.partition(".dev")
    wanted, shown = (tuple(map(int, each.split("."))) for each in (release, found))
    assert shown <= wanted if development else shown == wanted


def workflow() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return document


@pytest.mark.parametrize(
    ("path", "schema"), [(WORKFLOW, "github-workflows"), (ROOT / "action.yml", "github-actions")], ids=str
)
def test_the_host_understands_the_file(path: object, schema: str) -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema, not installed here")
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_only_the_job_that_publishes_gets_a_token_of_the_index_and_it_runs_no_code_of_ours() -> None:
    document = workflow()
    jobs = document["jobs"]
    assert document["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "build": {"contents": "read"},
        "publish": {"id-token": "write"},
        "announce": {"contents": "write"},
    }
    assert not any("run" in step for step in jobs["publish"]["steps"])
    assert (jobs["publish"]["needs"], jobs["announce"]["needs"]) == ("build", "publish")


def test_the_workflow_uses_actions_and_targets_that_are_there() -> None:
    steps = [step for job in workflow()["jobs"].values() for step in job["steps"]]
    assert {step["uses"] for step in steps if "uses" in step} == ACTIONS
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    scripts = [step["run"] for step in steps if "run" in step]
    assert {target for script in scripts for target in re.findall(r"^make (\S+)", script)} == {"release"}
    assert "release" in targets
    assert not any("${{" in script for script in scripts)


def test_the_workflow_tries_every_python_that_the_metadata_names() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = {found[1] for each in classifiers if (found := re.search(r":: (3\.\d+)$", each))}
    setup = next(
        step for step in workflow()["jobs"]["build"]["steps"] if "setup-python" in step.get("uses", "")
    )
    assert set(setup["with"]["python-version"].split()) == supported
    assert set(re.findall(r'"(3\.\d+)"', (ROOT / "tests/release/run.py").read_text())) == supported
