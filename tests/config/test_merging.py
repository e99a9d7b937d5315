"""A project's file and the user's own count together, key by key; but a project cannot weaken anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import layercache
from layercache.config.opening import load
from layercache.config.show import settings
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

USERS = """
tiers = ["~/own"]
offline = true
tag_age = 60

[caches.team]
tiers = ["memory://users-team"]

[caches.mine]
tiers = ["memory://mine"]

[registry]
ca_file = "users.pem"
retries = 7

[registries."docker.io"]
credentials_helper = "pass"
mirrors = ["users.example"]

[registries."plain.example"]
plain_http = true
"""

PROJECTS = """
tiers = ["memory://projects"]
strict = true
tag_age = 5

[caches.team]
tiers = ["memory://projects-team"]

[registry]
retries = 2

[registries."docker.io"]
mirrors = ["projects.example"]
"""


@pytest.fixture
def both(project: Path, tmp_path: Path, write: Callable[..., str]) -> tuple[str, str]:
    """A project's file and the user's: their paths."""
    folder = tmp_path / "home/.config/layercache"
    users = write(USERS, folder / "config.toml")
    (folder / "users.pem").write_text("")
    return write(PROJECTS, project / "layercache.toml"), users


def test_each_key_has_the_value_of_the_nearest_file_that_sets_it(both: tuple[str, str]) -> None:
    project, user = both
    found = {key: (each.value, each.origin) for key, each in settings(load())}
    assert found["tiers[0]"] == ("memory://projects", f"{project}: tiers[0]")
    assert found["strict"] == (True, f"{project}: strict")
    assert found["offline"] == (True, f"{user}: offline")
    assert found["tag_age"] == (5, f"{project}: tag_age")
    assert found["registry.retries"] == (2, f"{project}: registry.retries")
    assert found["registry.ca_file"][1] == f"{user}: registry.ca_file"
    hub = 'registries."docker.io"'
    assert found[f"{hub}.mirrors"] == (["projects.example"], f"{project}: {hub}.mirrors")
    assert found[f"{hub}.credentials_helper"] == ("pass", f"{user}: {hub}.credentials_helper")
    assert found["caches.team.tiers[0]"] == ("memory://projects-team", f"{project}: caches.team.tiers[0]")
    assert found["caches.mine.tiers[0]"] == ("memory://mine", f"{user}: caches.mine.tiers[0]")


def test_a_registry_is_reached_as_all_files_together_say(both: tuple[str, str]) -> None:
    found = load().registries()
    assert found.mirrors_of("docker.io") == ("projects.example",)
    assert found.helper_for("docker.io") == "pass"
    assert found.is_plain_http("plain.example")
    assert str(found.ca_file).endswith("/users.pem")
    assert found.retries == 2


def test_tiers_come_from_one_file_and_are_the_users_where_a_project_names_none(
    both: tuple[str, str], project: Path, write: Callable[..., str], tmp_path: Path
) -> None:
    with layercache.open() as cache:
        assert [tier.name for tier in cache.tiers] == ["memory://projects"]
    write("strict = true", project / "layercache.toml")
    with layercache.open() as cache:
        assert [tier.name for tier in cache.tiers] == [f"file://{tmp_path}/home/own"]
        assert cache.strict
        assert cache.tiers[0].policy.trusted, "it is the user's own"


def test_a_cache_that_only_the_user_defines_is_found_from_within_a_project(both: tuple[str, str]) -> None:
    with layercache.open("@mine") as cache:
        assert [tier.name for tier in cache.tiers] == ["memory://mine"]
    with pytest.raises(ConfigError, match="defined caches: @team, @mine"):
        layercache.open("@typo")


def test_of_several_projects_only_the_nearest_counts(
    both: tuple[str, str], write: Callable[..., str]
) -> None:
    write("offline = false", Path.cwd() / "layercache.toml")
    configuration = load()
    assert [file.place.kind for file in configuration.files] == ["project", "user"]
    assert configuration.behaviour()["offline"].value is False
    assert configuration.behaviour()["strict"].value is False, (
        "set by the project above, which does not count"
    )


def test_a_file_that_is_named_counts_alone(both: tuple[str, str], write: Callable[..., str]) -> None:
    configuration = load(write("strict = true"))
    assert len(configuration.files) == 1
    assert configuration.registries().retries == 4


@pytest.mark.parametrize(
    "text",
    [
        '[registry]\nca_file = "users.pem"',
        '[registries."plain.example"]\nplain_http = false',
        '[registries."plain.example"]\ninsecure = true',
        '[registries."docker.io"]\ncredentials_helper = "own"',
        'tiers = [{ url = "oci://registry.example/cache", plain_http = true }]',
        'tiers = ["oci://registry.example/cache?insecure=true"]',
        'tiers = [{ url = "oci://registry.example/cache", ca_file = "x.pem" }]',
        'tiers = ["gs://bucket?endpoint_url=https://elsewhere.example"]',
    ],
)
def test_a_project_sets_none_of_what_decides_who_gets_the_users_credentials(
    text: str, both: tuple[str, str], project: Path, write: Callable[..., str]
) -> None:
    (project / "users.pem").write_text("")
    path = write(text, project / "layercache.toml")
    with pytest.raises(ConfigError, match="a project's file may not set"):
        load()
    if "tiers" in text:
        load(path)  # it may where it is named


def test_a_wrong_file_of_the_user_is_an_error_within_a_project_too(
    both: tuple[str, str], write: Callable[..., str]
) -> None:
    write("ofline = true", Path(both[1]))
    with pytest.raises(ConfigError, match=r"config\.toml: ofline: unknown key"):
        load()
