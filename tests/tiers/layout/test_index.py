"""index.json: a true view of what the cache holds, written apart from requests; what others add is kept."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import Caller
from servers.images import make_image, make_index, make_layer, sample_layers, write_layout
from tiers.layout.caches import DIFF_ID, DIGEST, REF_NAME, add_entry, adopted, index_of, layers, named, view

import layercache
from layercache.tiers.layout import index_writer, refresher

if TYPE_CHECKING:
    from pathlib import Path

NAME = "registry.example/team/app:1"
OCI = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"


def test_both_forms_of_a_layer_are_listed_and_name_each_other(tmp_path: Path) -> None:
    layer = make_layer({"etc/name": b"listed"})
    with layercache.open(tmp_path) as cache:
        cache.put(io.BytesIO(layer.blob))
    assert layers(tmp_path) == {
        layer.digest: {
            "mediaType": f"{OCI}+gzip",
            "digest": layer.digest,
            "size": len(layer.blob),
            "annotations": {DIFF_ID: layer.diff_id},
        },
        layer.diff_id: {
            "mediaType": OCI,
            "digest": layer.diff_id,
            "size": len(layer.tar),
            "annotations": {DIGEST: layer.digest},
        },
    }


def test_a_docker_layer_is_listed_with_dockers_types(tmp_path: Path) -> None:
    layer = make_layer({"etc/name": b"docker"}, docker=True)
    with layercache.open(tmp_path) as cache:
        cache.layer(layer.digest, media_type=layer.media_type, fetch=lambda _: io.BytesIO(layer.blob)).fill(
            "both"
        )
    assert layers(tmp_path)[layer.digest]["mediaType"] == f"{DOCKER}.gzip"
    assert layers(tmp_path)[layer.diff_id]["mediaType"] == DOCKER


def test_a_tar_has_a_descriptor_for_each_digest_that_leads_to_it(tmp_path: Path) -> None:
    files = {"etc/name": b"two"}
    made = [make_layer(files), make_layer(files, "zstd")]
    with layercache.open(tmp_path) as cache:
        for layer in made:
            cache.put(io.BytesIO(layer.blob))
    tars = [entry for entry in index_of(tmp_path) if entry["digest"] == made[0].diff_id]
    assert {entry["annotations"][DIGEST] for entry in tars} == {layer.digest for layer in made}


def test_what_is_deleted_is_listed_no_more(tmp_path: Path) -> None:
    layer = make_layer({"etc/name": b"gone"})
    with layercache.open(tmp_path) as cache:
        cache.put(io.BytesIO(layer.blob))
    with layercache.open(tmp_path) as cache:
        cache.delete(layer.digest)
    assert index_of(tmp_path) == []


def test_what_is_pruned_is_listed_no_more(tmp_path: Path) -> None:
    layer = make_layer({"etc/name": b"pruned"})
    with layercache.open(tmp_path) as cache:
        cache.put(io.BytesIO(layer.blob))
    Caller(f"file://{tmp_path}")("prune", "--max-size", "1")
    assert index_of(tmp_path) == []


def test_an_image_is_listed_while_one_whole_platform_of_it_is_there(tmp_path: Path) -> None:
    made = make_index([make_image(sample_layers(1)), make_image(sample_layers(2), "linux/arm64")])
    adopted(tmp_path, {NAME: made})
    assert named(tmp_path) == {NAME: made.descriptor.digest}
    with layercache.open(tmp_path) as cache:
        cache.delete(made.images[0].layers[0].digest, force=True)
    assert named(tmp_path) == {NAME: made.descriptor.digest}
    with layercache.open(tmp_path) as cache:
        cache.delete(made.images[1].layers[0].digest, force=True)
    assert named(tmp_path) == {}


def test_reading_what_is_there_writes_nothing(tmp_path: Path) -> None:
    layer = make_layer({"etc/name": b"warm"})
    with layercache.open(tmp_path) as cache:
        cache.put(io.BytesIO(layer.blob))
    before = os.stat(tmp_path / "index.json")
    with layercache.open(tmp_path) as cache:
        for name in (layer.digest, layer.diff_id):
            with cache.get(name).uncompressed() as tar:
                tar.read()
            cache.get(name).fill("both")
    after = os.stat(tmp_path / "index.json")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_it_is_written_while_the_cache_is_open_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresher.IndexRefresher.__init__, "__kwdefaults__", {"pause": 0.01})
    written = threading.Event()
    write = index_writer.write_index

    def told(*arguments: object, **options: object) -> tuple[int, int]:
        counts = write(*arguments, **options)  # type: ignore[arg-type]  # passed on as they are
        if counts == (0, 2):
            written.set()
        return counts

    monkeypatch.setattr(index_writer, "write_index", told)
    with layercache.open(tmp_path) as cache:
        cache.put(io.BytesIO(make_layer({"etc/name": b"open"}).blob))
        assert written.wait(60)
        assert len(index_of(tmp_path)) == 2


def test_layers_are_left_out_where_they_are_many_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_writer, "LAYERS_MAX", 2)
    with layercache.open(tmp_path, verify="size") as cache:
        cache.put(io.BytesIO(make_layer({"name": b"1"}).blob))
        assert view(cache) == (0, 2)
        cache.put(io.BytesIO(make_layer({"name": b"2"}).blob))
        assert view(cache) == (0, 0)
        assert view(cache, layers=True) == (0, 4)
        assert view(cache, layers=False) == (0, 0)


def test_an_image_that_another_tool_added_becomes_one_of_the_cache(tmp_path: Path) -> None:
    cache_folder = adopted(tmp_path / "cache", {NAME: make_image(sample_layers(1))})
    other = make_image(sample_layers(5))
    write_layout(tmp_path / "other", {"mine": other})
    for name in (tmp_path / "other" / "blobs" / "sha256").iterdir():
        name.rename(cache_folder / "blobs" / "sha256" / name.name)
    (entry,) = index_of(tmp_path / "other")
    entry["annotations"]["org.example.note"] = "kept"
    add_entry(cache_folder, entry)
    with layercache.open(cache_folder, offline=True) as cache:
        cache.put(io.BytesIO(make_layer({"name": b"a change"}).blob))
    assert set(named(cache_folder)) == {NAME, "mine"}
    with layercache.open(cache_folder, offline=True) as cache:
        assert cache.image("localhost/imported:mine").digest == other.descriptor.digest
        assert cache.get(other.layers[0].diff_id).digest == other.layers[0].digest
        cache.put(io.BytesIO(make_layer({"name": b"another change"}).blob))
    kept = [entry for entry in index_of(cache_folder) if entry["digest"] == other.descriptor.digest]
    assert [entry["annotations"]["org.example.note"] for entry in kept] == ["kept"]


def test_an_image_that_is_forgotten_does_not_come_back(tmp_path: Path) -> None:
    adopted(tmp_path, {NAME: make_image(sample_layers(1)), "mine": make_image(sample_layers(2))})
    with layercache.open(tmp_path) as cache:
        cache.forget_image(NAME)
        cache.forget_image("localhost/imported:mine")
    assert named(tmp_path) == {}


def test_a_layer_that_another_tool_listed_is_found_by_its_diff_id(tmp_path: Path) -> None:
    layer = make_layer({"name": b"listed by others"})
    with layercache.open(tmp_path) as cache:
        view(cache)
    blob = tmp_path / "blobs" / "sha256" / layer.digest.hex
    blob.parent.mkdir(parents=True)
    blob.write_bytes(layer.blob)
    add_entry(
        tmp_path,
        {
            "mediaType": layer.media_type,
            "digest": layer.digest,
            "size": len(layer.blob),
            "annotations": {DIFF_ID: layer.diff_id},
        },
    )
    with layercache.open(tmp_path) as cache:
        view(cache)
        assert cache.get(layer.diff_id).digest == layer.digest


def test_entries_that_nobody_understands_stay_as_they_are(tmp_path: Path) -> None:
    with layercache.open(tmp_path) as cache:
        view(cache)
        strange = {"mediaType": "application/x-strange", "digest": "md5:1", "size": -1, "more": [1]}
        add_entry(tmp_path, strange)
        view(cache)
    assert index_of(tmp_path) == [strange]


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"manifests": 3}'])
def test_a_torn_index_is_written_anew(tmp_path: Path, torn: bytes) -> None:
    layer = make_layer({"name": b"torn"})
    with layercache.open(tmp_path) as cache:
        cache.put(io.BytesIO(layer.blob))
    (tmp_path / "index.json").write_bytes(torn)
    with layercache.open(tmp_path) as cache:
        view(cache)
    assert set(layers(tmp_path)) == {layer.digest, layer.diff_id}


_WRITERS = """
import io, os, sys
import layercache
from servers.images import make_layer
for seed in range(20):
    if not os.fork():
        break
else:
    sys.exit(any([os.wait()[1] for _ in range(20)]))
with layercache.open(sys.argv[1]) as cache:
    for number in range(3):
        cache.put(io.BytesIO(make_layer({"name": f"{seed} {number}".encode()}).blob))
"""


def test_twenty_processes_write_and_the_last_view_has_it_all(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = subprocess.Popen([sys.executable, "-c", _WRITERS, str(tmp_path)], env=environment)
    seen = 0
    while writers.poll() is None:
        if (tmp_path / "index.json").exists():
            seen = max(seen, len(json.loads((tmp_path / "index.json").read_bytes())["manifests"]))
        time.sleep(0.01)
    assert writers.returncode == 0
    assert len(layers(tmp_path)) == 20 * 3 * 2 >= seen
    assert all(REF_NAME not in entry["annotations"] for entry in index_of(tmp_path))


def test_a_mislabelled_layer_is_listed_as_what_it_is_once_its_bytes_were_seen(tmp_path: Path) -> None:
    layer = make_layer({"etc/name": b"mislabelled"})
    with layercache.open(tmp_path) as cache:
        asked = cache.layer(
            layer.digest,
            diff_id=layer.diff_id,
            media_type=f"{DOCKER}.zstd",
            fetch=lambda _: io.BytesIO(layer.blob),
        )
        asked.fill("compressed")
        view(cache)
        assert layers(tmp_path)[layer.digest]["mediaType"] == f"{DOCKER}.zstd", "as is claimed"
        asked.fill("uncompressed")
        for _ in range(2):
            view(cache)
            assert layers(tmp_path)[layer.digest]["mediaType"] == f"{DOCKER}.gzip"
            assert layers(tmp_path)[layer.diff_id]["mediaType"] == DOCKER
