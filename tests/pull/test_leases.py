"""Machines, each with its own disk, that share a store: each big layer is fetched once for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from servers.images import Image, make_image, make_layer, noise, write_layout

import layercache
from layercache.tiers import keys
from layercache.upkeep import stores_of

if TYPE_CHECKING:
    from pathlib import Path

    from servers.registry import Registry

FLEET = 8
MB = 1 << 20

MACHINE = """
import sys
from layercache.cli import main
from layercache.resolver import lease_renewal
from layercache.tiers import lease_watch
if hurry := float(sys.argv.pop(1)):
    lease_watch.SILENCE /= hurry
    lease_renewal.RENEWED_EVERY /= hurry
sys.exit(main())
"""
"""The command, in a world in which leases are renewed and given up faster."""

LEADER = """
import sys, time, layercache
cache = layercache.open(sys.argv[1:3])
stream = cache.image(sys.argv[3]).layers[0].compressed()
stream.read(1 << 20)
print("leads", flush=True)
time.sleep(200)
"""


@pytest.fixture(scope="module")
def image() -> Image:
    """Two layers for which a lease is taken, and one for which none is."""
    layers = [make_layer({"noise": noise(5 * MB, seed)}) for seed in (1, 2)]
    return make_image([*layers, make_layer({"small": noise(MB)})])


@pytest.fixture
def name(registry: Registry, image: Image, tmp_path: Path) -> str:
    return registry.push(f"oci:{write_layout(tmp_path / 'layout', {'big': image})}:big", "team/app:1")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder on a network disk, as it were."""
    return f"file://{tmp_path}/shared?keep=compressed&lease=true"


def fleet(
    name: str, shared: str, tmp_path: Path, *, count: int = FLEET, hurry: int = 1
) -> list[subprocess.Popen[str]]:
    """Machines that pull the image at once."""
    return [
        subprocess.Popen(
            [sys.executable, "-c", MACHINE, str(hurry), "--cache", f"file://{tmp_path}/disk-{number}",
             "--cache", shared, "pull", "--json", name],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(count)
    ]  # fmt: skip


def finish(machines: list[subprocess.Popen[str]], *, warnings: bool = False) -> None:
    for machine in machines:
        out, err = machine.communicate(timeout=200)
        assert machine.returncode == 0, err
        assert warnings or "warning" not in err
        assert json.loads(out)["failed"] == 0


def assert_whole(image: Image, tmp_path: Path) -> None:
    """Every disk has every layer, and every blob is what its name says."""
    for disk in tmp_path.glob("disk-*"):
        with layercache.open(disk, verify="always", offline=True) as cache:
            for layer in image.layers:
                with cache.get(layer.digest).compressed() as blob:
                    assert blob.read() == layer.blob


def fetches(registry: Registry, image: Image) -> list[int]:
    return [registry.fetches(layer.digest) for layer in image.layers]


@pytest.mark.slow
def test_eight_machines_fetch_each_big_layer_once(
    registry: Registry, image: Image, name: str, bucket: str, tmp_path: Path
) -> None:
    finish(fleet(name, bucket, tmp_path))
    assert_whole(image, tmp_path)
    big, other, small = fetches(registry, image)
    assert (big, other) == (1, 1)
    assert small <= FLEET
    with layercache.open(bucket) as cache:
        (tier,) = stores_of(cache.tiers, everyone=True)
        assert [*tier.backend.scan(keys.LEASES)] == [], "no lease is left"


@pytest.mark.slow
def test_at_a_store_without_conditional_writes_each_machine_fetches_for_itself(
    registry: Registry, image: Image, name: str, folder: str, tmp_path: Path
) -> None:
    # Those that send one blob at once replace each other's there, which who reads it may notice.
    shared = folder.replace("file://", "fsspec+local://").replace("&lease=true", "")
    finish(fleet(name, shared, tmp_path), warnings=True)
    assert_whole(image, tmp_path)
    assert max(fetches(registry, image)) <= FLEET


def outlive_leader(image: Image, name: str, shared: str, tmp_path: Path, *, hurry: int) -> float:
    """Kill the machine that fetches a layer; seconds from its last sign of life until all others are done."""
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER, f"{tmp_path}/leader", shared, name], stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout
    assert leader.stdout.readline() == "leads\n"
    machines = fleet(name, shared, tmp_path, count=3, hurry=hurry)
    time.sleep(1)
    os.kill(leader.pid, signal.SIGKILL)
    leader.communicate()
    last_sign = os.stat(tmp_path / "shared" / keys.lease(image.layers[0].digest)).st_mtime
    finish(machines)
    return time.time() - last_sign


def test_a_leader_that_is_killed_half_way_is_replaced_by_one_machine(
    registry: Registry, image: Image, name: str, folder: str, tmp_path: Path
) -> None:
    outlive_leader(image, name, folder, tmp_path, hurry=10)
    assert_whole(image, tmp_path)
    assert fetches(registry, image)[:2] == [2, 1], "the leader, and one for all others"


@pytest.mark.slow
def test_a_leader_that_is_killed_half_way_costs_the_others_20_seconds(
    image: Image, name: str, folder: str, tmp_path: Path
) -> None:
    waited, begun = outlive_leader(image, name, folder, tmp_path, hurry=1), time.monotonic()
    finish(fleet(name, folder, tmp_path / "usual", count=3))
    usual = time.monotonic() - begun  # on a busy machine nothing is done at once
    assert waited < 20 + usual
    assert_whole(image, tmp_path)
