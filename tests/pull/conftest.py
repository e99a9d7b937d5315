"""What tests of pulls by several processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bucket(
    seaweedfs_endpoint: str, seaweedfs_bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of a prefix of this test's own in a real object store."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "any")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    prefix = f"{tmp_path.parent.name}-{tmp_path.name}"
    return f"s3://{seaweedfs_bucket_name}/{prefix}?endpoint_url={seaweedfs_endpoint}&timeout=60"
