"""Patterns of repositories: which of them a name matches."""

from __future__ import annotations

import pytest

from layercache.errors import InvalidNameError
from layercache.oci.reference import Reference
from layercache.oci.repository_pattern import RepositoryPattern, any_matches


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("ghcr.io", "ghcr.io/team/app"),
        ("ghcr.io/team/*", "ghcr.io/team/app/more"),
        ("ghcr.io/team/app", "ghcr.io/team/app"),
        ("ghcr.io/*app*", "ghcr.io/my/app/x"),
        ("*", "quay.io/any/thing"),
        ("*.example.com", "a.b.example.com/x"),
        ("*.example.com:5000/x", "a.example.com:5000/x"),
        ("localhost:*", "localhost:5000/x"),
        ("[::1]:5000", "[::1]:5000/x"),
        ("docker.io/library/*", "alpine"),
        ("GHCR.io", "ghcr.io/team/app"),
        ("ghcr.io", "GHCR.IO/team/app"),
    ],
)
def test_a_pattern_matches_whole_names_with_stars_for_any_characters(pattern: str, name: str) -> None:
    assert RepositoryPattern.parse(pattern).matches(Reference.parse(name))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("ghcr.io", "ghcr.io:5000/team/app"),
        ("ghcr.io", "xghcr.io/team/app"),
        ("ghcr.io/team/*", "ghcr.io/teams/app"),
        ("ghcr.io/team/app", "ghcr.io/team/app2"),
        ("ghcr.io/a*a", "ghcr.io/a"),
        ("ghcr.io/a*bc*c", "ghcr.io/abc"),
        ("*.example.com", "example.com/x"),
        ("*.example.com", "evil.com/a.example.com"),
        ("*.example.com", "example.com.evil.com/x"),
        ("localhost:*", "localhost/x.y"),
        ("docker.io", "ghcr.io/docker.io/x"),
    ],
)
def test_a_pattern_matches_nothing_else(pattern: str, name: str) -> None:
    assert not any_matches([RepositoryPattern.parse(pattern)], Reference.parse(name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/team",
        "https://ghcr.io",
        "ghcr.io/Team",
        "ghcr.io/te am",
        "ghcr.io/",
        "a@b",
        "ghcr.io:99999999",
        "-x",
    ],
)
def test_what_is_not_a_pattern_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError, match="not a pattern of repositories"):
        RepositoryPattern.parse(text)


def test_many_stars_take_no_longer_than_the_text_is_long() -> None:
    pattern = RepositoryPattern.parse("ghcr.io/" + "*a" * 100 + "b")
    assert not pattern.matches(Reference("ghcr.io", "a" * 250, "tag"))


def test_a_registry_is_named_in_full_or_not() -> None:
    assert RepositoryPattern.parse("ghcr.io/team/*").names_registry
    assert not RepositoryPattern.parse("*.io/team").names_registry
