"""From how much on a transfer goes on without readers: what can be written, and what that means."""

from __future__ import annotations

import pytest

import layercache
from layercache import ConfigError
from layercache.config.configuration import DEFAULTS
from layercache.transfer.share import Share

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "size", "limit"),
    [
        ("25%,64MiB", 100 * MIB, 25 * MIB),
        ("64MiB,25%", 1000 * MIB, 64 * MIB),
        ("25%", 1000 * MIB, 250 * MIB),
        ("12.5%", 800 * MIB, 100 * MIB),
        (" 64MiB ", 1000 * MIB, 64 * MIB),
        ("25%,64MiB", None, 64 * MIB),
        ("always", 1000 * MIB, 0),
        ("always", None, 0),
        ("0%", 1000 * MIB, 0),
    ],
)
def test_more_than_the_share_or_the_size_is_enough_whichever_is_less(
    text: str, size: int | None, limit: int
) -> None:
    share = Share.parse(text)
    assert (share.is_exceeded(limit, size), share.is_exceeded(limit + 1, size)) == (False, True)


@pytest.mark.parametrize(("text", "size"), [("never", 100), ("never", None), ("25%", None), ("1TB", 100)])
def test_never_is_never_and_a_share_of_an_unknown_size_is_not_known(text: str, size: int | None) -> None:
    assert not Share.parse(text).is_exceeded(size or 1 << 50, size)


def test_the_default_is_a_quarter_or_64_mib() -> None:
    assert Share.parse(str(DEFAULTS["finish"])) == Share() == Share.parse("25%,64MiB")


@pytest.mark.parametrize("text", ["", "soon", "-1%", "101%", "nan%", "%", "25%,25%", "1,2,3", "1MB,2MB"])
def test_anything_else_is_refused_with_what_can_be_written(text: str) -> None:
    with pytest.raises(ConfigError, match="finish=") as caught:
        layercache.open("memory://", finish=text)
    assert "always, never" in caught.value.hint
