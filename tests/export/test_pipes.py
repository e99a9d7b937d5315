"""Archives that go through pipes: without seeking, without a temporary file, and never wrong but complete."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from export.kept import damage, keep
from servers.images import make_image, make_layer, noise, sample_layers

import layercache
from layercache.errors import ConfigError, DigestMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Image, Sample

    from layercache.cache import Cache

ARCHIVES = ["docker-archive:", "oci-archive:"]


@contextmanager
def pipe() -> Iterator[tuple[str, list[bytes]]]:
    """The name of a pipe, and a list that has all that was written into it after the block."""
    reader, writer = os.pipe()
    found: list[bytes] = []

    def read() -> None:
        with open(reader, "rb") as file:
            found.append(file.read())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield f"/dev/fd/{writer}", found
    finally:
        os.close(writer)
        thread.join()


def piped(cache: Cache, name: str, transport: str) -> bytes:
    """What an export writes into a pipe."""
    with pipe() as (path, found):
        cache.export(name, f"{transport}{path}", platform="linux/amd64")
    return found[0]


def complete(archive: bytes) -> dict[str, bytes]:
    """The members of an archive. Raises `tarfile.ReadError` unless it is complete."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: b"" if not (file := tar.extractfile(info)) else file.read() for info in tar}


@pytest.mark.parametrize("transport", ARCHIVES)
@pytest.mark.parametrize("tars_are_there", [True, False])
def test_a_pipe_gets_what_a_file_gets(
    cache: Cache, tmp_path: Path, sample: Sample, transport: str, tars_are_there: bool
) -> None:
    name = keep(cache, sample.image)
    if tars_are_there:
        for layer in cache.image(name, platform="linux/amd64").layers:
            layer.fill("uncompressed")
    found = piped(cache, name, transport)
    cache.export(name, f"{transport}{tmp_path}/file.tar", platform="linux/amd64")
    assert found == (tmp_path / "file.tar").read_bytes()
    assert "manifest.json" in complete(found)


def test_an_archive_of_a_layout_has_every_blob_byte_for_byte(cache: Cache, sample: Sample) -> None:
    members = complete(piped(cache, keep(cache, sample.image), "oci-archive:"))
    for digest, data in [
        *sample.image.blobs.items(),
        (sample.image.descriptor.digest, sample.image.manifest),
    ]:
        assert members[f"blobs/{digest.algorithm}/{digest.hex}"] == data
    (entry,) = json.loads(members["index.json"])["manifests"]
    assert entry["digest"] == sample.image.descriptor.digest
    assert entry["annotations"] == {
        "org.opencontainers.image.ref.name": "1",
        "io.containerd.image.name": "docker.io/library/app:1",
    }
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert cache.counters.inflated == 0


def test_a_tar_whose_size_is_known_is_inflated_once(tmp_path: Path) -> None:
    """A tier that keeps blobs alone: what an earlier pass has counted is not counted again."""
    image = make_image(sample_layers(3)[:1])
    with layercache.open(f"file://{tmp_path}/cache?keep=compressed", offline=True) as cache:
        name = keep(cache, image)
        for times in (2, 1, 1):
            before = cache.counters.inflated
            piped(cache, name, "docker-archive:")
            assert cache.counters.inflated - before == times


def test_nothing_is_written_but_the_archive(cli: Caller, tmp_path: Path, sample: Sample) -> None:
    with layercache.open(cli.url, offline=True) as cache:
        name = keep(cache, sample.image)
        for layer in cache.image(name, platform="linux/amd64").layers:
            layer.fill("uncompressed")
    before = sorted((tmp_path / "cache").rglob("*"))
    (tmp_path / "here").mkdir(mode=0o500)
    done = cli.process(
        "export", name, "-", "--platform", "linux/amd64",
        environment={"TMPDIR": f"{tmp_path}/absent"}, cwd=tmp_path / "here",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"exported docker.io/library/app:1 to stdout: 3 layers" in done.stderr
    assert json.loads(complete(done.stdout)["manifest.json"])[0]["RepoTags"] == ["docker.io/library/app:1"]
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("transport", ARCHIVES)
def test_wrong_bytes_end_the_archive_in_the_middle(
    cache: Cache, tmp_path: Path, transport: str, form: str
) -> None:
    image = make_image([make_layer({"noise": noise(3 << 20)}), *sample_layers(5)[:1]])
    name = keep(cache, image)
    for layer in cache.image(name, platform="linux/amd64").layers:
        layer.fill("uncompressed")
    wrong = image.layers[0].digest if form == "compressed" else image.layers[0].diff_id
    damage(cache, tmp_path, wrong)
    if (form == "compressed") != (transport == "oci-archive:"):
        complete(piped(cache, name, transport))  # the other form is not read
        return
    with pipe() as (path, found), pytest.raises(DigestMismatchError, match=str(wrong)) as caught:
        cache.export(name, f"{transport}{path}", platform="linux/amd64")
    assert "export again" in caught.value.hint
    with pytest.raises(tarfile.ReadError):
        complete(found[0])
    if form == "uncompressed":  # which was quarantined, so that the next export makes it again
        complete(piped(cache, name, transport))


@pytest.mark.parametrize(
    "target", ["-", "docker-archive:-", "docker-archive:-:app:2", "oci-archive:/dev/stdout"]
)
def test_stdout_has_the_archive_alone(cli: Caller, sample: Sample, target: str) -> None:
    with layercache.open(cli.url, offline=True) as cache:
        name = keep(cache, sample.image)
    done = cli.process("export", name, target, "--platform", "linux/amd64")
    assert done.returncode == 0, done.stderr
    assert "manifest.json" in complete(done.stdout)
    assert b"json prints to stdout" in cli.process("export", "--json", name, target).stderr


def test_a_program_that_leaves_ends_it_quietly(cli: Caller, tmp_path: Path) -> None:
    with layercache.open(cli.url, offline=True) as cache:
        name = keep(cache, make_image([make_layer({"noise": noise(5 << 20)})]))
    with cli.begin("export", name, "-", "--platform", "linux/amd64") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    "target", ["-", "docker-archive:-", "oci-archive:/dev/stdout", "docker-archive:/dev/tty"]
)
def test_a_terminal_gets_no_archive(cli: Caller, sample: Sample, target: str) -> None:
    with layercache.open(cli.url, offline=True) as cache:
        name = keep(cache, sample.image)
    code, seen = cli.on_terminal("export", name, target, "--platform", "linux/amd64")
    assert code == 2
    assert "refusing to write an archive to a terminal" in seen
    assert "docker load" in seen


@pytest.mark.parametrize("place", ["pipe", "file"])
@pytest.mark.parametrize("transport", ARCHIVES)
def test_progress_is_seen_within_a_layer(cache: Cache, tmp_path: Path, transport: str, place: str) -> None:
    image = make_image([make_layer({"noise": noise(5 << 20)})])
    name = keep(cache, image)
    steps: list[int] = []
    with pipe() as (path, _):
        target = f"{transport}{path if place == 'pipe' else tmp_path / 'a.tar'}"
        cache.export(name, target, progress=lambda done, total: steps.append(done * 100 // total))
    assert steps == sorted(steps)
    assert steps[-1] == 100
    assert len([step for step in steps if 0 < step < 100]) >= 5


def test_a_full_pipe_end_is_an_error_with_a_code(cli: Caller, sample: Sample) -> None:
    with layercache.open(cli.url, offline=True) as cache:
        name = keep(cache, sample.image)
    with open("/dev/full", "wb") as full:
        done = cli.process(
            "export", name, "-", "--platform", "linux/amd64",
            stdout=full, stderr=subprocess.PIPE, capture_output=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr == b"layercache: cannot write stdout: No space left on device\n"


def test_a_folder_is_refused_before_a_layer_is_read(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    name = keep(cache, sample.image)
    (tmp_path / "folder").mkdir()
    for transport in ARCHIVES:
        with pytest.raises(ConfigError, match="it is a folder"):
            cache.export(name, f"{transport}{tmp_path}/folder", platform="linux/amd64")
    assert cache.counters.hits == cache.counters.inflated == 0
    assert sorted(os.listdir(tmp_path)) == ["cache", "folder"]


def test_what_an_export_wrote_can_be_pulled_again(cache: Cache, tmp_path: Path, sample: Sample) -> None:
    image: Image = sample.image
    (tmp_path / "a.tar").write_bytes(piped(cache, keep(cache, image), "docker-archive:"))
    with layercache.open(f"file://{tmp_path}/other") as other:
        found = other.image(f"docker-archive:{tmp_path}/a.tar:app:1")
        assert [layer.diff_id for layer in found.layers] == [layer.diff_id for layer in image.layers]
