"""Sizes and ages as people write them."""

from __future__ import annotations

import pytest

from layercache.units import parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234", 1234),
        ("20GB", 20 * 10**9),
        ("20gb", 20 * 10**9),
        ("20 GB", 20 * 10**9),
        ("1.5TiB", 3 << 39),
        ("512MiB", 512 << 20),
        ("64k", 64_000),
        ("10B", 10),
    ],
)
def test_a_size_is_read_in_powers_of_1000_or_with_an_i_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1", "1,5GB", "20 gigabytes", "1e9", "5iB", "inf", "٣", "9" * 5000, "9999999TB"]
)
def test_an_invalid_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="expected 20GB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("30s", 30), ("90m", 5400), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)],
)
def test_an_age_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["30", "0.5", " 7 "])
def test_a_number_without_a_unit_is_refused_since_days_are_meant_as_often_as_seconds(text: str) -> None:
    with pytest.raises(ValueError, match=r"unit of .* is missing: .*d is days"):
        parse_age(text)


@pytest.mark.parametrize("text", ["", "d", "-1d", "30 days", "1y", "1:30", "9" * 5000 + "d", "9" * 20 + "d"])
def test_an_invalid_age_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="expected 30d"):
        parse_age(text)
