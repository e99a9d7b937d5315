"""Google Cloud Storage, against fake-gcs-server."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from layercache.backend import Backend, open_backend
from layercache.testing import BackendContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.fake_gcs import FakeGCS


def url_of(server: FakeGCS, bucket: str, prefix: str = "a/prefix") -> str:
    return f"gs://{bucket}/{prefix}?endpoint_url={server.url}&token=anon"


class TestGCS(BackendContract):
    shared_between_processes = True

    @pytest.fixture
    def url(self, fake_gcs: FakeGCS) -> str:
        return url_of(fake_gcs, fake_gcs.bucket())

    @pytest.fixture
    def backend(self, url: str) -> Iterator[Backend]:
        self.used = url
        with closing(open_backend(url)) as backend:
            yield backend

    def reopen(self, backend: Backend) -> Backend:
        return open_backend(self.used)
