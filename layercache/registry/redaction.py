"""Other people's words without our secrets: a server may repeat what it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "***"

PART = 8
"""Characters in a row that are a part of a secret and no accident."""


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text with each secret, or part of one, hidden. A secret shorter than `PART` is hidden whole."""
    for secret in filter(None, secrets):
        length = min(PART, len(secret))
        hidden = [False] * len(text)
        for start in range(len(text) - length + 1):
            if text[start : start + length] in secret:
                hidden[start : start + length] = [True] * length
        text = "".join(
            "" if covered and hidden[place - 1] and place else HIDDEN if covered else letter
            for place, (letter, covered) in enumerate(zip(text, hidden, strict=True))
        )
    return text
