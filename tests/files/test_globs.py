"""Patterns of paths: what they match, and that no name makes them slow."""

from __future__ import annotations

import fnmatch
import re
import sys
from itertools import product

import pytest

from layercache.files.globs import Glob

PATHS = [
    "etc",
    "etc/passwd",
    "etc/ssl/certs/ca.pem",
    "usr/lib/python3/site-packages/a.dist-info/METADATA",
    "usr/etc/passwd",
    ".hidden",
    "a\nb/c",
    "",
]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("passwd", {"etc/passwd", "usr/etc/passwd"}),
        ("/passwd", set()),
        ("/etc/passwd", {"etc/passwd"}),
        ("etc/passwd", {"etc/passwd"}),
        ("./etc//passwd", {"etc/passwd"}),
        ("**/passwd", {"etc/passwd", "usr/etc/passwd"}),
        ("**/etc/passwd", {"etc/passwd", "usr/etc/passwd"}),
        ("etc/*", {"etc/passwd"}),
        ("etc/**", {"etc/passwd", "etc/ssl/certs/ca.pem"}),
        ("etc/", {"etc/passwd", "etc/ssl/certs/ca.pem"}),
        ("etc/**/*.pem", {"etc/ssl/certs/ca.pem"}),
        ("etc/**/certs/*.pem", {"etc/ssl/certs/ca.pem"}),
        ("**/site-packages/*.dist-info/METADATA", {PATHS[3]}),
        ("*.p[de]m", {"etc/ssl/certs/ca.pem"}),
        ("?hidden", {".hidden"}),
        ("a*/c", {"a\nb/c"}),
        ("**", set(PATHS) - {""}),
        ("/", set(PATHS) - {""}),
        ("*", set(PATHS) - {""}),
        ("", set()),
        ("passwd/**", set()),
        ("etc/**/**/passwd", {"etc/passwd"}),
    ],
)
def test_a_pattern_matches_names_in_any_folder_or_whole_paths(pattern: str, matched: set[str]) -> None:
    assert {path for path in PATHS if Glob(pattern).matches(path)} == matched


TOKENS = ("**", "*", "a", "a*", "?b", "[ab]")


def expression(pattern: tuple[str, ...]) -> re.Pattern[str]:
    """What a pattern of several parts means, as a regular expression."""
    *folders, last = (*pattern, "*") if pattern[-1] == "**" else pattern
    parts = [fnmatch.translate(part)[4:-3].replace(".", "[^/]") for part in (*folders, last)]
    above = [
        "(?:[^/]+/)*" if part == "**" else f"{text}/" for part, text in zip(folders, parts, strict=False)
    ]
    return re.compile("".join([*above, parts[-1]]))


def test_folders_match_as_a_regular_expression_says() -> None:
    paths = ["/".join(parts) for depth in (1, 2, 3) for parts in product(("a", "b", "ab"), repeat=depth)]
    for pattern in (each for depth in (2, 3) for each in product(TOKENS, repeat=depth)):
        glob, expected = Glob("/".join(pattern)), expression(pattern)
        assert [path for path in paths if glob.matches(path)] == [
            path for path in paths if expected.fullmatch(path)
        ], glob


def test_no_name_makes_a_pattern_slow() -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    path, pattern = "/".join("a" * 500), "/".join(["**", "a"] * 10 + ["b"])
    sys.setprofile(count)
    try:
        assert not Glob(pattern).matches(path)
    finally:
        sys.setprofile(None)
    assert calls < 30 * len(path)
    assert not Glob("*a*a*a*a*a*a*a*a*a*b").matches("a" * 4000)
