"""What a listing of a folder costs, a layer: few calls of the system, and few of Python's functions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.system_calls import system_calls

from layercache.cli.commands.ls import COLUMNS, _cells
from layercache.cli.table import Lines
from layercache.oci.digest import DiffID, Digest
from layercache.tiers import inventory, keys
from layercache.tiers.association import Association
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from layercache.tiers.tier import Tier

LAYERS = 40


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[Tier]:
    """A folder with both forms of some layers."""
    tier = open_tier(f"file://{tmp_path}/cache?sync=false", nearest=True)
    for number in range(LAYERS):
        blob, tar = b"blob %d" % number, b"tar %d" % number
        fact = Association(Digest.of(blob), DiffID.of(tar), len(blob), uncompressed_size=6, computed=True)
        tier.blobs.put(fact.digest, blob)
        tier.blobs.put(fact.diff_id, tar)
        tier.facts.record(fact)
    yield tier
    tier.close()


def calls(work: Callable[[], object]) -> int:
    """Calls of functions that are written in Python, resumed generators among them."""
    count = 0

    def watch(_frame: object, event: str, _called: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def listed(tier: Tier) -> list[inventory.CachedLayer]:
    return list(inventory.layers(tier))


def test_each_layer_is_listed_once_and_two_records_are_read_and_two_blobs_looked_at(tier: Tier) -> None:
    found = listed(tier)
    assert len({held.digest for held in found}) == len(found) == LAYERS
    assert {held.forms for held in found} == {"both"}
    counted = system_calls(lambda: listed(tier))
    for name in ("open", "read", "close", "stat"):
        assert 2 * LAYERS <= counted[name] <= 2 * LAYERS + 5, counted


def test_a_layer_is_listed_in_46_calls_and_printed_in_13(
    tier: Tier, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listed(tier)

    def print_all() -> None:
        with Lines(COLUMNS, whole=True) as lines:
            for held in found:
                lines.add(*_cells(held, lines))

    print_all()
    assert calls(lambda: listed(tier)) <= 46 * LAYERS
    assert calls(print_all) <= 13 * LAYERS
    assert len(capsys.readouterr().out.splitlines()) == 2 * LAYERS


def test_layers_are_counted_without_a_second_look_at_their_blobs(tier: Tier) -> None:
    counted = system_calls(lambda: inventory.count(tier))
    for name in ("open", "read", "close", "stat"):
        assert 2 * LAYERS <= counted[name] <= 2 * LAYERS + 20, counted
    assert calls(lambda: inventory.count(tier)) <= 48 * LAYERS


@pytest.mark.parametrize("remembered", [0, 7, 2 * LAYERS - 2, inventory.REMEMBERED])
def test_counts_are_right_however_many_blobs_are_remembered(
    tier: Tier, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr(inventory, "REMEMBERED", remembered)
    blob_only, tar_only, neither = listed(tier)[:3]
    for name in (blob_only.diff_id, tar_only.digest, neither.digest, neither.diff_id):
        tier.blobs.delete(name)
    found = inventory.count(tier)
    forms = (found.both_forms, found.compressed_only, found.uncompressed_only, found.no_form)
    assert (found.blobs, found.layers, forms) == (2 * LAYERS - 4, LAYERS, (LAYERS - 3, 1, 1, 1))


def test_a_record_that_somebody_wrote_with_spaces_is_listed_too(tier: Tier, tmp_path: Path) -> None:
    held = listed(tier)[0]
    path = tmp_path / "cache" / keys.record(held.digest)
    path.write_bytes(path.read_bytes().replace(b'":', b'" : ').replace(b',"', b' , "'))
    path = tmp_path / "cache" / keys.record(listed(tier)[1].digest)
    path.write_bytes(path.read_bytes().replace(b'"facts"', b'"other":null,"facts"'))
    assert len(listed(tier)) == LAYERS
