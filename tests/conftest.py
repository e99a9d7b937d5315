"""Fixtures that any test may use: real registries, a lying one, object stores, sample images."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from fixtures.preloaded import preloaded
from fixtures.proxied import proxied
from hypothesis import HealthCheck, settings
from servers.certificates import Certificate, make_certificate
from servers.fake_gcs import FakeGCS
from servers.images import Sample, write_layout
from servers.lying import LyingRegistry
from servers.registry import Registry
from servers.stores import make_bucket, moto, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["proxied"]

# So that a broken promise shows its values.
pytest.register_assert_rewrite("layercache.testing", "fixtures.local_backend", "upkeep.upgrading")

os.environ["LAYERCACHE_CONFIG"] = (
    os.devnull
)  # for this process and its children: no file of the machine counts

# A busy machine is no failure. A fixture is for all examples of a test: a folder, a module that is hidden.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")

# Nor does a test add to the user's statistics.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="layercache-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

# Hundreds of programs are started by tests: each would compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Users do not set this, and it hides in which order lines appear.
os.environ.pop("PYTHONUNBUFFERED", None)

# A run in the background ignores the interrupt key, and so would each program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave out of each later collection of garbage what lives to the end: ten thousand tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def cli(tmp_path: Path) -> Caller:
    """The program on a cache of this test's own."""
    return Caller(f"file://{tmp_path}/cache")


@pytest.fixture(scope="session")
def program() -> Iterator[list[str]]:
    """The words that call the program without its imports: see `fixtures.preloaded`."""
    with preloaded() as words:
        yield words


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """An OCI image, a Docker one and an index of two platforms; ``layout`` holds the first and the last.

    In the layout they are named ``image`` and ``index``. Do not change its files: it serves the session.
    """
    made = Sample()
    made.layout = write_layout(tmp_path_factory.mktemp("sample"), {"image": made.image, "index": made.index})
    return made


@pytest.fixture
def layout(sample: Sample) -> str:
    """An image of three layers, as `pull` takes it: gzip, zstd, plain."""
    return f"oci:{sample.layout}:image"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A TLS certificate for loopback, signed by an authority that nobody knows."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A docker-registry of this test's own: empty, plain HTTP, no authentication."""
    with Registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def lying() -> Iterator[LyingRegistry]:
    """A registry that misbehaves as it is told, and remembers what it was asked."""
    with LyingRegistry() as running:
        yield running


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """moto's S3, of this worker's own. Slow at ranges: judge no rate on it."""
    with moto() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def seaweedfs_endpoint(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """S3 of a SeaweedFS that the whole run shares."""
    folder = tmp_path_factory.getbasetemp()
    with seaweedfs((folder if worker_id == "master" else folder.parent) / "seaweedfs") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def seaweedfs_bucket_name(seaweedfs_endpoint: str) -> str:
    """A bucket for all tests, each with a prefix of its own: SeaweedFS reserves volumes for each bucket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        return make_bucket(seaweedfs_endpoint)


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[FakeGCS]:
    """A server of Google Cloud Storage's API. Make a bucket of your own: it serves the session."""
    with FakeGCS() as running:
        yield running
