"""Leases as they stand in a store, honest ones and others."""

from __future__ import annotations

import json
import threading
import time

import pytest
from fixtures.stores import write

from layercache.backend import BackendURL, Leftover
from layercache.errors import ConfigError, FormatError
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.lease import Lease
from layercache.tiers.leftovers import count_leftovers
from layercache.tiers.policy import Policy, take_policy
from layercache_backends.memory import MemoryBackend

NAME = Digest.of(b"a blob")
SIZE = 100 << 20


@pytest.fixture
def tier() -> BackendTier:
    return BackendTier(MemoryBackend(), Policy(lease=True))


def plant(tier: BackendTier, data: bytes) -> None:
    write(tier, keys.lease(NAME), data)


def document(**changes: object) -> bytes:
    fields = {
        "host": "host-a",
        "process": 7,
        "token": "0123456789abcdef",
        "size": 5,
        "received": 3,
        "sent": 1,
    }
    return json.dumps({**fields, **changes}).encode()


def test_a_lease_comes_back_as_it_was_written(tier: BackendTier) -> None:
    lease = Lease.of_this_process(SIZE)
    assert tier.leases.works()
    assert tier.leases.read(NAME).version is None
    assert tier.leases.write(NAME, lease, None)
    assert tier.leases.read(NAME).lease == lease
    assert len(lease.encode()) < 300


def test_one_of_many_gets_it_and_one_of_many_takes_it_over(tier: BackendTier) -> None:
    taken: list[int] = []
    together = threading.Barrier(16)

    def take(version: str | None) -> None:
        lease = Lease.of_this_process(SIZE)
        together.wait()
        if tier.leases.write(NAME, lease, version):
            taken.append(1)

    for round_ in range(1, 4):
        version = tier.leases.read(NAME).version
        threads = [threading.Thread(target=take, args=(version,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == round_


def test_each_renewal_is_another_object_even_without_progress(tier: BackendTier) -> None:
    lease, versions = Lease.of_this_process(SIZE), set()
    for _ in range(3):
        assert tier.leases.write(NAME, lease, tier.leases.read(NAME).version)
        versions.add(tier.leases.read(NAME).version)
        lease = lease.renewed(0, 0)
    assert len(versions) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        document(host="evil\x1b[2J"),
        document(host="h" * 65),
        document(host=""),
        document(process=-1),
        document(process="7"),
        document(size=1 << 70),
        document(received=-5),
        document(token="x"),
        document(token=None),
        document(more="x" * 2000),
    ],
)
def test_what_is_not_a_lease_is_free_to_be_taken(tier: BackendTier, data: bytes) -> None:
    plant(tier, data)
    found = tier.leases.read(NAME)
    assert found.lease is None
    assert tier.leases.write(NAME, Lease.of_this_process(SIZE), found.version)


def test_a_huge_object_is_not_read(tier: BackendTier) -> None:
    plant(tier, bytes(20 << 20))
    with pytest.raises(FormatError):
        tier.leases.read(NAME)


def test_fields_of_a_later_version_are_ignored(tier: BackendTier) -> None:
    plant(tier, document(since="2030"))
    lease = tier.leases.read(NAME).lease
    assert lease
    assert (lease.host, lease.process, lease.received) == ("host-a", 7, 3)


@pytest.mark.parametrize(
    ("received", "sent", "done"), [(0, 0, 0), (100, 0, 50), (100, 60, 80), (999, 999, 100)]
)
def test_what_is_done_is_fetched_and_then_sent(received: int, sent: int, done: int) -> None:
    lease = Lease(host="a", process=1, token="0" * 16, size=100, received=received, sent=sent)
    assert lease.done == done


@pytest.mark.parametrize(
    ("policy", "remote", "offered"),
    [
        (Policy(), False, False),
        (Policy(lease=True), False, True),
        (Policy(lease=True, readonly=True), False, False),
        (Policy(lease=False), False, False),
    ],
)
def test_a_store_on_this_machine_has_leases_if_that_is_said(
    policy: Policy, remote: bool, offered: bool
) -> None:
    tier = BackendTier(MemoryBackend(), policy)
    assert (tier.remote, tier.leases.offered) == (remote, offered)


@pytest.mark.parametrize(("text", "lease"), [("?lease=true", True), ("?lease=false", False), ("", None)])
def test_the_url_says_whether_a_tier_has_leases(text: str, lease: bool | None) -> None:
    policy, rest = take_policy(BackendURL.parse(f"s3://team/prod{text}"), nearest=False)
    assert policy.lease is lease
    assert rest.query == {}
    with pytest.raises(ConfigError, match="lease=perhaps"):
        take_policy(BackendURL.parse("s3://team?lease=perhaps"), nearest=False)


def test_leases_are_counted_with_the_leftovers_of_a_store() -> None:
    class Counted(MemoryBackend):
        def leftovers(self) -> list[Leftover]:
            return [Leftover(time.time() - 60, 10)]

    tier = BackendTier(Counted(), Policy(lease=True))
    assert str(count_leftovers(tier.backend)) == "1, 0.0 MB, the oldest begun 1m ago"
    plant(tier, document())
    found = count_leftovers(tier.backend)
    assert found
    assert (found.count, found.bytes) == (2, 10 + len(document()))
