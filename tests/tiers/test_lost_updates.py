"""Many writers of one record: none loses what another has written, where the store has conditional writes."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import put, read, sample
from fixtures.stores import Store, fact, far, near, open_cache

from layercache.backend import BackendURL, open_backend
from layercache.backend.capabilities import Conditional
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.opening import open_tier
from layercache.tiers.policy import Policy
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.fake_gcs import FakeGCS

    from layercache.tiers.tier import Tier

TAR = DiffID(Hash.of(b"tar"))
THREADS, PROCESSES = 6, 4

WRITERS = """
import os, sys
from layercache.oci.digest import DiffID, Digest, Hash
from layercache.tiers.association import Association
from layercache.tiers.opening import open_tier
url, count = sys.argv[1], int(sys.argv[2])
children = []
for number in range(count):
    children.append(os.fork())
    if not children[-1]:
        break
else:
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
tier = open_tier(url + ("" if url.startswith("file:") else "&timeout=60"), nearest=False)
tier.facts.inflates_to(Digest.of(b"nothing"))  # connects, for which a busy machine may need seconds
os.write(1, b"ready\\n")
os.read(0, 1)
for half in "ab":
    digest = Digest.of(f"process {number} {half}".encode())
    tier.facts.record(Association(digest, DiffID(Hash.of(b"tar")), 9, computed=True))
tier.close()
"""


def of_thread(number: int) -> Digest:
    return Digest.of(b"thread %d" % number)


def of_process(number: int, half: str) -> Digest:
    return Digest.of(f"process {number} {half}".encode())


@pytest.fixture(
    params=["folder", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SeaweedFS", "Google"))],
)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store that any number of machines can write to."""
    if request.param == "folder":
        return f"file://{tmp_path}/shared"
    if request.param == "Google":
        server: FakeGCS = request.getfixturevalue("fake_gcs")
        return f"gs://{server.bucket()}/{uuid.uuid4().hex}?endpoint_url={server.url}&token=anon"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    bucket = request.getfixturevalue("seaweedfs_bucket_name")
    return f"s3://{bucket}/{uuid.uuid4().hex}?endpoint_url={request.getfixturevalue('seaweedfs_endpoint')}"


def test_writers_of_one_record_lose_nothing(url: str) -> None:
    """Threads, each with a separate connection as on another machine, and processes."""
    command = [sys.executable, "-c", WRITERS, url, str(PROCESSES)]
    processes = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    tiers = [open_tier(url, nearest=False) for _ in range(THREADS)]

    def write(tier: Tier, number: int) -> None:
        tier.facts.record(fact(of_thread(number), TAR, 9))

    at_once([partial(write, tier, number) for number, tier in enumerate(tiers)], processes)
    found = {each.digest for each in tiers[0].facts.made_from(TAR)}
    wanted = {of_thread(number) for number in range(THREADS)}
    wanted |= {of_process(number, half) for number in range(PROCESSES) for half in "ab"}
    assert found == wanted
    for digest in wanted:
        assert [each.diff_id for each in tiers[1].facts.inflates_to(digest)] == [TAR]
    for tier in tiers:
        tier.close()


def at_once(works: list[Callable[[], object]], processes: subprocess.Popen[bytes]) -> None:
    barrier = threading.Barrier(len(works) + 1)
    failed: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        barrier.wait(60)
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    with processes:
        assert processes.stdin
        assert processes.stdout
        for _ in range(PROCESSES):
            assert processes.stdout.readline() == b"ready\n"
        barrier.wait(60)
        processes.stdin.write(b"x" * PROCESSES)
        processes.stdin.close()
        for thread in threads:
            thread.join(90)
        assert processes.wait(90) == 0
    assert failed == []


def test_a_new_fact_costs_two_requests_and_one_that_is_there_none_more_than_a_look() -> None:
    writes: list[str] = []

    class Counted(MemoryBackend):
        def write_if(self, key: str, data: bytes, version: str | None) -> bool:
            writes.append("write" if version else "create")
            return super().write_if(key, data, version)

        def read_versioned(self, key: str) -> tuple[bytes, str]:
            writes.append("read")
            return super().read_versioned(key)

    tier = BackendTier(Remote(Counted()), Policy())
    assert tier.remote
    tier.facts.record(fact(of_thread(1), TAR, 9))
    assert writes == ["create", "create"]
    writes.clear()
    tier.facts.record(fact(of_thread(2), TAR, 9))
    assert writes == ["create", "read", "write", "create"]
    writes.clear()
    tier.facts.record(fact(of_thread(2), TAR, 9))
    assert writes == ["create", "read"] * 2, "nothing is written that is there"
    writes.clear()
    tier.facts.forget(fact(of_thread(7), TAR, 9))
    assert writes == ["read"] * 2


class Remote(Store):
    """A store whose bytes travel, with conditional writes."""

    def honours_conditions(self) -> bool:
        return self._conditional.honours_conditions()

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        return self._conditional.read_versioned(key)

    def write_if(self, key: str, data: bytes, version: str | None) -> bool:
        return self._conditional.write_if(key, data, version)

    @property
    def _conditional(self) -> Conditional:
        assert isinstance(self.inner, Conditional)
        return self.inner


@pytest.mark.parametrize("ignores", [True, False], ids=["ignores conditions", "has none"])
def test_without_conditional_writes_what_is_lost_is_learned_again(ignores: bool) -> None:
    """Two machines read the same record, and each writes its own: the last one wins."""
    layers = [sample(1, "gzip"), sample(1, "zstd")]
    shared = MemoryBackend()

    class Ignores(Remote):
        def honours_conditions(self) -> bool:
            return False

    both = threading.Barrier(2)

    def racing(action: str, key: str) -> bool:
        if action == "create" and key.endswith(DiffID(layers[0].diff_id).hex) and key.startswith("records/"):
            both.wait(60)  # both have read the record
        return False

    def machine(number: int) -> None:
        store = (Ignores if ignores else Store)(shared, fails=racing)
        with open_cache(near(), far(store)) as cache:
            put(cache, layers[number].blob)

    threads = [threading.Thread(target=machine, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with open_cache(near(), far(Store(shared))) as cache:
        assert len(cache.tiers[1].facts.made_from(DiffID(layers[0].diff_id))) == 1, "one was lost"
        for layer in layers:
            assert read(cache.get(layer.digest).compressed()) == layer.blob
            assert read(cache.get(layer.digest).uncompressed()) == layer.tar
        assert read(cache.get(layers[0].diff_id).uncompressed()) == layers[0].tar
        assert len(cache.tiers[0].facts.made_from(DiffID(layers[0].diff_id))) == 2, "it is known again"


def test_a_record_of_which_everything_was_forgotten_is_gone(tmp_path: Path) -> None:
    for backend in (MemoryBackend(), open_backend(BackendURL.parse(f"file://{tmp_path}/cache"))):
        with closing(backend):
            tier = BackendTier(backend, Policy())
            tier.facts.record(fact(of_thread(1), TAR, 9))
            tier.facts.forget(fact(of_thread(1), TAR, 9))
            assert list(tier.facts.names()) == []
            assert list(tier.facts.scan()) == []
            assert list(backend.scan("records/")) == []
