"""Which tiers store plain tars as zstd, and how a URL says so."""

from __future__ import annotations

import pytest

from layercache.backend import BackendURL
from layercache.errors import ConfigError
from layercache.streams.compress import Compression
from layercache.tiers.policy import take_policy

ZSTD = Compression("zstd", 3)


@pytest.mark.parametrize(
    ("url", "nearest", "found"),
    [
        ("s3://bucket", False, ZSTD),
        ("gs://bucket", False, ZSTD),
        ("s3://bucket?keep=both", False, None),
        ("s3://bucket", True, None),
        ("file:///folder", False, None),
        ("memory://", False, None),
        ("oci://registry/repository", False, None),
        ("s3://bucket?recompress=false", False, None),
        ("s3://bucket?recompress=gzip:9", False, Compression("gzip", 9)),
        ("oci://registry/repository?recompress=zstd", False, ZSTD),
        ("file:///folder?recompress=zstd:19", True, Compression("zstd", 19)),
    ],
)
def test_buckets_behind_a_nearer_tier_recompress(url: str, nearest: bool, found: Compression | None) -> None:
    policy, rest = take_policy(BackendURL.parse(url), nearest=nearest)
    assert policy.recompress == found
    assert "recompress" not in rest.query


@pytest.mark.parametrize("value", ["true", "xz", "zstd:0", ""])
def test_another_value_is_refused_with_what_is_allowed(value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        take_policy(BackendURL.parse(f"s3://bucket?recompress={value}"), nearest=False)
    assert "false, zstd, gzip" in refused.value.hint
