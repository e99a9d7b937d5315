"""WWW-Authenticate headers are read as RFC 9110 writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layercache.registry.auth import Challenge, parse_challenges

words = st.from_regex(r"[a-z0-9!#$%&'*+.^_`|~-]{1,8}", fullmatch=True)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@pytest.mark.parametrize(
    ("value", "challenges"),
    [
        ("", []),
        ("Basic", [Challenge("basic")]),
        ('Basic realm="a b"', [Challenge("basic", {"realm": "a b"})]),
        (
            'Bearer realm="https://auth/token",service="a, b",scope="repository:x:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://auth/token", "service": "a, b", "scope": "repository:x:pull,push"},
                )
            ],
        ),
        (
            'Negotiate, NTLM TlRMTVNTUA==, Basic realm=x , Bearer Realm = "y", error="z"',
            [
                Challenge("negotiate"),
                Challenge("ntlm"),
                Challenge("basic", {"realm": "x"}),
                Challenge("bearer", {"realm": "y", "error": "z"}),
            ],
        ),
        (r'Basic realm="a \"quoted\" \\ one"', [Challenge("basic", {"realm": r'a "quoted" \ one'})]),
        ('Basic realm="never closed', [Challenge("basic"), Challenge("realm")]),
        ('"odd"', []),
    ],
)
def test_challenges_are_taken_apart(value: str, challenges: list[Challenge]) -> None:
    assert parse_challenges([value])[: len(challenges)] == challenges
    assert parse_challenges([value, "Digest"])[-1] == Challenge("digest")


@given(st.lists(st.tuples(words, st.dictionaries(words, texts, max_size=3)), max_size=3))
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    header = ", ".join(
        f"{scheme} {', '.join(f'{name}={quoted(text)}' for name, text in parameters.items())}"
        for scheme, parameters in challenges
    )
    assert parse_challenges([header]) == [Challenge(*challenge) for challenge in challenges]


@given(st.text(max_size=60))
def test_any_header_ends(value: str) -> None:
    parse_challenges([value])
