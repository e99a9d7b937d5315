"""A registry that breaks or lies, and a process that is killed: no entry is wrong, and the next try works."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from servers.images import make_image, make_layer, noise, write_layout
from servers.lying import LyingRegistry, cut_off, ignoring_range, short, status, without_length, wrong_bytes

import layercache
from layercache.oci.digest import DiffID
from layercache.registry.settings import RegistrySettings
from layercache.tiers.keys import blob_name

if TYPE_CHECKING:
    from pathlib import Path

    from servers.lying import Fault
    from servers.registry import Registry

    from layercache.layer import Forms

IMAGE = make_image([make_layer({"small": noise(3000)}), make_layer({"large": noise(1_500_000, 2)}, "zstd")])
IMPATIENT = RegistrySettings(retries=0, connect_timeout=5, read_timeout=5)


def assert_sound(folder: Path) -> int:
    """Every published blob has the hash of its name; how many there are."""
    count = 0
    for path in (folder / "blobs").glob("*/*"):
        name = blob_name(f"blobs/{path.parent.name}/{path.name}")
        assert name is not None
        assert type(name).of(path.read_bytes(), name.algorithm) == name
        count += 1
    return count


def pull(cache: layercache.Cache, name: str, form: Forms = "both") -> None:
    for layer in cache.image(name).layers:
        layer.fill(form)


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ([cut_off(1_000)], layercache.SourceError),
        ([short(10)], (layercache.SourceError, layercache.DigestMismatchError)),
        ([without_length(missing=10)], (layercache.SourceError, layercache.DigestMismatchError)),
        ([without_length(b"more")], layercache.DigestMismatchError),
        ([wrong_bytes], layercache.DigestMismatchError),
        ([status(500)], layercache.SourceError),
        ([status(404)], layercache.SourceError),
    ],
    ids=["cut", "short", "short without a length", "long", "wrong bytes", "500", "404 that nobody wrote"],
)
@pytest.mark.parametrize("form", ["compressed", "both"])
def test_a_layer_that_comes_wrong_is_not_kept_and_the_next_try_works(
    lying: LyingRegistry, tmp_path: Path, faults: list[Fault], error: type[Exception], form: Forms
) -> None:
    name = lying.add_image("1", IMAGE)
    for made in IMAGE.layers:
        lying.on(f"/blobs/{made.digest}", *faults)
    with layercache.open(tmp_path, registries=IMPATIENT) as cache:
        for layer in cache.image(name).layers:
            with pytest.raises(error):
                layer.fill(form)
        assert not any(made.digest in cache or made.diff_id in cache for made in IMAGE.layers)
        assert assert_sound(tmp_path) == 2, "manifest and config, and no layer"
        pull(cache, name)
        for made in IMAGE.layers:
            with cache.get(made.diff_id).uncompressed() as tar:
                assert tar.read() == made.tar


def test_a_download_that_is_cut_off_again_and_again_goes_on_where_it_was(
    lying: LyingRegistry, tmp_path: Path
) -> None:
    name = lying.add_image("1", IMAGE)
    made = IMAGE.layers[1]
    lying.on(f"/blobs/{made.digest}", cut_off(400_000), cut_off(300_000), ignoring_range)
    with layercache.open(tmp_path, registries=RegistrySettings(retries=3)) as cache:
        pull(cache, name)
        with cache.get(made.digest).compressed() as blob:
            assert blob.read() == made.blob
    assert assert_sound(tmp_path) == 6, "manifest, config, and both forms of two layers"


def test_a_config_that_lies_about_a_diff_id_is_found_out_and_the_layer_keeps_its_true_one(
    lying: LyingRegistry, tmp_path: Path
) -> None:
    layers, false = IMAGE.layers, DiffID.of(b"never seen")
    rootfs = {"type": "layers", "diff_ids": [layers[0].diff_id, false]}
    name = lying.add_image("1", make_image(layers, rootfs=rootfs))
    with layercache.open(tmp_path) as cache:
        pull(cache, name, "compressed")
        for _ in range(2):
            with pytest.raises(layercache.DigestMismatchError, match="was said to inflate to"):
                pull(cache, name)
            assert false not in cache
            with cache.get(layers[1].digest).uncompressed() as tar:
                assert tar.read() == layers[1].tar
            assert cache.get(layers[1].digest).diff_id == layers[1].diff_id
    assert_sound(tmp_path)


def test_a_registry_that_is_killed_in_mid_pull_leaves_no_wrong_entry(
    registry: Registry, tmp_path: Path
) -> None:
    made = make_image([make_layer({"large": noise(30_000_000, 3)})])
    layout = write_layout(tmp_path / "layout", {"1": made})
    name = registry.push(f"oci:{layout}:1", "team/app:1")
    with layercache.open(tmp_path / "cache", registries=IMPATIENT) as cache:
        (layer,) = cache.image(name).layers
        with layer.uncompressed() as tar:
            assert tar.read(1000) == made.layers[0].tar[:1000]
            registry.stop()
            with suppress(layercache.SourceError):
                while tar.read(1 << 20):
                    pass
        assert_sound(tmp_path / "cache")
        registry.start()
        pull(cache, name)
        assert_sound(tmp_path / "cache")
        with cache.get(made.layers[0].diff_id).uncompressed() as tar:
            assert tar.read() == made.layers[0].tar


def test_a_pull_that_is_killed_at_any_moment_leaves_only_whole_entries(
    registry: Registry, tmp_path: Path
) -> None:
    layers = [make_layer({f"noise {number}": noise(600_000, number)}) for number in range(12)]
    layout = write_layout(tmp_path / "layout", {"1": make_image(layers)})
    name = registry.push(f"oci:{layout}:1", "team/app:1")
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "layercache", "--cache", str(cache), "pull", "--form", "both", name]
    dice = random.Random(7)
    killed = 0
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.1, 0.6))
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert_sound(cache)
        assert not list((cache / "tmp").glob("*")), "what was unfinished had no name"
    assert killed, "no process was killed while it pulled"
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    with layercache.open(cache) as opened:
        for made in layers:
            with opened.get(made.diff_id).uncompressed() as tar:
                assert tar.read() == made.tar
