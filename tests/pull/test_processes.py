"""Processes that share a disk, and a bucket: each blob is fetched once, by whoever leads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import layercache

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.registry import Registry

CROWD = 20


@pytest.fixture
def name(registry: Registry, sample: Sample) -> str:
    return registry.push(f"oci:{sample.layout}:image", "team/app:1")


def pull(program: list[str], name: str, *caches: str) -> subprocess.Popen[str]:
    """The command, begun."""
    tiers = [part for cache in caches for part in ("--cache", cache)]
    command = [*program, "pull", "--json", "--form", "both", *tiers, name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def warnings_in(err: str) -> list[str]:
    """What a command printed on stderr, without the lines that say every 10 seconds that it works."""
    return [line for line in err.splitlines() if "warning" in line]


def said(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert warnings_in(err) == []
    found: dict[str, object] = json.loads(out)
    return found


def assert_whole(cache: str, sample: Sample) -> None:
    """Every layer is there in both forms, and every blob is what its name says."""
    with layercache.open(cache, verify="always", offline=True) as opened:
        for made in sample.image.layers:
            layer = opened.get(made.diff_id)
            with layer.compressed() as blob, layer.uncompressed() as tar:
                assert blob.read() == made.blob
                assert tar.read() == made.tar


def test_twenty_processes_on_one_disk_fetch_and_inflate_each_layer_once(
    registry: Registry, sample: Sample, name: str, program: list[str], tmp_path: Path
) -> None:
    cache = f"file://{tmp_path}/cache"
    found = [said(process) for process in [pull(program, name, cache) for _ in range(CROWD)]]
    assert_whole(cache, sample)
    for made in sample.image.layers:
        assert registry.fetches(made.digest) == 1
    inflated = [process["inflated"] for process in found]
    assert sum(inflated) == 2, "the gzip and the zstd layer, by whichever process came first"  # type: ignore[arg-type]
    assert [*(tmp_path / "cache" / "locks").glob("layer-*")] == [], "no layer's lock has a file"


def test_a_leader_that_is_killed_is_replaced(
    registry: Registry, sample: Sample, name: str, program: list[str], tmp_path: Path
) -> None:
    cache = f"file://{tmp_path}/cache"
    holding = (
        "import sys, time, layercache\n"
        "cache = layercache.open(sys.argv[1])\n"
        "stream = cache.image(sys.argv[2]).layers[0].uncompressed()\n"
        "print('leads', flush=True)\n"
        "time.sleep(100)\n"
    )
    leader = subprocess.Popen([sys.executable, "-c", holding, cache, name], stdout=subprocess.PIPE, text=True)
    assert leader.stdout
    assert leader.stdout.readline() == "leads\n"
    follower = pull(program, name, cache)
    with pytest.raises(subprocess.TimeoutExpired):
        follower.wait(1)
    os.kill(leader.pid, signal.SIGKILL)
    leader.communicate()
    said(follower)
    assert_whole(cache, sample)


def test_who_reads_two_layers_crosswise_waits_for_nobody_for_long(
    registry: Registry, sample: Sample, name: str, tmp_path: Path
) -> None:
    """Two processes that each are in the midst of what the other wants next: both get on."""
    crossing = (
        "import sys, layercache\n"
        "with layercache.open(sys.argv[1]) as cache:\n"
        "    layers = cache.image(sys.argv[2]).layers[:2]\n"
        "    first, second = layers if sys.argv[3] == '0' else layers[::-1]\n"
        "    with first.compressed() as stream:\n"
        "        print('ready', flush=True); sys.stdin.readline()\n"
        "        with second.compressed() as other:\n"
        "            other.read()\n"
        "        print('done', flush=True); sys.stdin.readline()\n"
        "        stream.read()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", crossing, f"file://{tmp_path}/cache", name, order],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for order in "01"
    ]  # fmt: skip
    for word in ("ready\n", "done\n"):
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == word
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0


# A bucket behind the disks


def test_a_second_machine_takes_everything_from_the_bucket(
    registry: Registry, sample: Sample, name: str, program: list[str], bucket: str, tmp_path: Path
) -> None:
    said(pull(program, name, f"file://{tmp_path}/one", bucket))
    blobs = [layercache.Digest.of(sample.image.config), *(made.digest for made in sample.image.layers)]
    assert [registry.fetches(digest) for digest in blobs] == [1, 1, 1, 1]
    found = said(pull(program, name, f"file://{tmp_path}/two", bucket))
    assert [registry.fetches(digest) for digest in blobs] == [1, 1, 1, 1], (
        "the second took them from the bucket"
    )
    assert found["inflated"] == 2
    assert_whole(f"file://{tmp_path}/two", sample)


@pytest.mark.slow
def test_twenty_processes_on_one_disk_and_one_bucket_leave_every_entry_right(
    registry: Registry, sample: Sample, name: str, program: list[str], bucket: str, tmp_path: Path
) -> None:
    cache = f"file://{tmp_path}/cache"
    processes = [pull(program, name, cache, bucket) for _ in range(CROWD)]
    ended = [(*process.communicate(timeout=100), process.returncode) for process in processes]
    assert {(code, *warnings_in(err)) for _, err, code in ended} == {(0,)}
    assert_whole(cache, sample)
    for made in sample.image.layers:
        assert registry.fetches(made.digest) == 1
    with layercache.open([f"file://{tmp_path}/other", bucket], offline=True) as other:
        for made in sample.image.layers:  # of the plain one the bucket has a zstd
            with other.get(made.digest).compressed() as reader:
                assert reader.read() == made.blob
