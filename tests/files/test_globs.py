"""Patterns of paths: what they match, and that no name makes them slow."""

from __future__ import annotations

import fnmatch
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


PARTS = st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=5)
PATTERNS = st.lists(st.sampled_from(["**", "*", "a", "b", "a*", "?b", "[ab]"]), min_size=2, max_size=5)


@settings(max_examples=40)
@given(parts=PARTS, pattern=PATTERNS)
def test_folders_match_as_a_regular_expression_says(parts: list[str], pattern: list[str]) -> None:
    *folders, last = [*pattern, "*"] if pattern[-1] == "**" else pattern
    text = "".join(
        "(?:[^/]+/)*" if part == "**" else f"{fnmatch.translate(part)[4:-3].replace('.', '[^/]')}/"
        for part in folders
    )
    expected = re.fullmatch(text + fnmatch.translate(last)[4:-3].replace(".", "[^/]"), "/".join(parts))
    assert Glob("/".join(pattern)).matches("/".join(parts)) == bool(expected)


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
