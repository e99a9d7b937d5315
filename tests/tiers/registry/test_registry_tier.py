"""The tier in a registry: the promises of every tier, on a real one."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from servers.images import noise
from servers.lying import LyingRegistry, cut_off, ignoring_range, status
from servers.odd_answers import part, to_ranges
from servers.registry import Registry
from tiers.contract import TierContract, copy, read

from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers.lying import Fault

    from layercache.oci.digest import Hash
    from layercache.tiers.tier import Tier

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for all; each test uses another repository."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def url(server: Registry) -> str:
    return f"oci://{server.host}/team/cache{next(_numbers)}"


def fetches(server: Registry, name: Hash) -> list[int]:
    """How many bytes each GET of a blob was answered with."""
    return [
        access.sent
        for access in server.accesses()
        if access.method == "GET" and access.path.endswith(f"/blobs/{name}")
    ]


@pytest.mark.parametrize(("start", "end"), [(0, 100), (400_000, 500_000), (999_990, 2_000_000)])
def test_a_range_costs_one_request_and_its_own_bytes(
    server: Registry, url: str, start: int, end: int
) -> None:
    data = noise(1_000_000, start)
    with closing(open_tier(url, nearest=False)) as tier:
        name = copy(tier, data)
        before = len(fetches(server, name))
        with tier.blobs.open(name, start, end) as reader:
            assert reader.read() == data[start:end]
    assert fetches(server, name)[before:] == [len(data[start:end])]


def test_ranges_one_after_the_other_use_one_connection(lying: LyingRegistry) -> None:
    data = noise(1_000_000)
    name = lying.add_blob(data).digest
    with closing(open_tier(f"oci://{lying.host}/team/app", nearest=False)) as tier:
        for start in range(0, len(data), 250_000):
            assert read(tier, name, start, start + 250_000) == data[start : start + 250_000]
    assert lying.connections == 1


def test_a_range_that_breaks_off_goes_on_to_its_end_and_not_beyond(lying: LyingRegistry) -> None:
    data = noise(700_000)
    name = lying.add_blob(data).digest
    lying.on("/blobs/", cut_off(100_000))
    with closing(open_tier(f"oci://{lying.host}/team/app", nearest=False)) as tier:
        assert read(tier, name, 200_000, 600_000) == data[200_000:600_000]
    assert [each.headers.get("range") for each in lying.asked("/blobs/") if each.method == "GET"] == [
        "bytes=200000-599999",
        "bytes=300000-599999",
    ]


@pytest.mark.parametrize("fault", [ignoring_range, to_ranges(status(416)), part(0, 700_000)])
def test_a_registry_that_knows_no_ranges_gives_the_bytes_of_the_range_all_the_same(
    lying: LyingRegistry, fault: Fault
) -> None:
    data = noise(700_000)
    name = lying.add_blob(data).digest
    lying.on("/blobs/", *[fault] * 4)
    with closing(open_tier(f"oci://{lying.host}/team/app", nearest=False)) as tier:
        assert read(tier, name, 200_000, 600_000) == data[200_000:600_000]


class TestInRegistry(TierContract):
    @pytest.fixture
    def tier(self, url: str) -> Iterator[Tier]:
        tier = open_tier(url, nearest=False)
        yield tier
        tier.close()

    @pytest.fixture
    def read_only(self, url: str) -> Iterator[Tier]:
        tier = open_tier(f"{url}?readonly=true", nearest=False)
        yield tier
        tier.close()

    @pytest.fixture
    def reopen(self, url: str) -> Iterator[Callable[[], Tier]]:
        opened = []

        def reopen() -> Tier:
            opened.append(open_tier(url, nearest=False))
            return opened[-1]

        yield reopen
        for tier in opened:
            tier.close()
