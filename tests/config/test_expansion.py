"""Variables in a file's strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layercache.config.variables import expand

HELD = {"A": "one", "EMPTY": "", "DOLLAR": "${A}"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("$${A}", "${A}"),
        ("$$$$", "$$"),
        ("$$${A}", "$one"),
        ("${EMPTY}", ""),
        ("${EMPTY:-two}", "two"),
        ("${ABSENT:-two}", "two"),
        ("${ABSENT:-}", ""),
        ("${A:-two}", "one"),
        ("${ABSENT:-s3://b?x=1}", "s3://b?x=1"),
        ("${DOLLAR}", "${A}"),
    ],
)
def test_variables_are_put_in(text: str, expanded: str) -> None:
    assert expand(text, HELD.get) == expanded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${ABSENT}", "ABSENT is not set"),
        ("a$", "write"),
        ("$A", "write"),
        ("${}", "write"),
        ("${A", "write"),
        ("${1}", "write"),
        ("${A-x}", "write"),
    ],
)
def test_what_cannot_be_put_in_is_an_error(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand(text, HELD.get)


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    assert expand(text.replace("$", "$$"), HELD.get) == text
    assert expand("${X}", {"X": text}.get) == text
