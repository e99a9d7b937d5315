"""Images go into podman's storage by a program: what it gets, and what becomes of its answer.

The programs here are scripts that do as podman and skopeo do; `test_programs.py` has the real ones.
"""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from export.kept import damage, keep
from servers.images import make_image, make_layer, noise

from layercache.errors import ConfigError, DigestMismatchError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample

    from layercache.cache import Cache

RECORDS = 'echo "$@" > "$0.called"; cat > "$0.stdin"'
COPIES = 'echo "$@" > "$0.called"; cp "${3#*:}" "$0.stdin"'


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs which come before all others, and in place of podman and skopeo."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "cp", "head"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def index_of(path: Path) -> dict[str, object]:
    with tarfile.open(path) as tar:
        member = tar.extractfile("index.json")
        assert member is not None
        (entry,) = json.load(member)["manifests"]
        return {"digest": entry["digest"], **entry["annotations"]}


def test_podman_gets_an_oci_archive_through_a_pipe(cache: Cache, programs: Path, sample: Sample) -> None:
    program(programs / "podman", RECORDS)
    program(programs / "skopeo", RECORDS)
    cache.export(keep(cache, sample.image), "containers-storage:other:2", platform="linux/amd64")
    assert (programs / "podman.called").read_text() == "load --quiet\n"
    name = "docker.io/library/other:2"
    found = index_of(programs / "podman.stdin")
    assert found == {"digest": sample.image.descriptor.digest, "io.containerd.image.name": name}
    assert not (programs / "skopeo.called").exists()


def test_podman_gets_an_image_of_docker_as_docker_saves_it(
    cache: Cache, programs: Path, sample: Sample
) -> None:
    program(programs / "podman", RECORDS)
    cache.export(keep(cache, sample.docker), "containers-storage:", platform="linux/amd64")
    with tarfile.open(programs / "podman.stdin") as tar:
        assert "index.json" not in tar.getnames()
        assert "manifest.json" in tar.getnames()


def test_skopeo_gets_a_file_that_is_removed(cache: Cache, programs: Path, sample: Sample) -> None:
    program(programs / "skopeo", COPIES)
    cache.export(keep(cache, sample.image), "containers-storage:", platform="linux/amd64")
    called = (programs / "skopeo.called").read_text().split()
    assert called[:2] == ["copy", "--quiet"]
    assert called[3] == "containers-storage:docker.io/library/app:1"
    assert index_of(programs / "skopeo.stdin")["digest"] == sample.image.descriptor.digest
    assert not (programs.parent / called[2].removeprefix("oci-archive:")).exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("cat >/dev/null; echo no space; exit 125", "no space"),
        ("echo at once; exit 3", "at once"),
        ("head -c 100 >/dev/null; echo early >&2; exit 1", "early"),
        ("exit 1", "it printed no reason"),
        ("exit 0", "it printed no reason"),
    ],
)
def test_a_program_that_fails_is_reported_in_its_words(
    cache: Cache, programs: Path, script: str, words: str
) -> None:
    program(programs / "podman", script)
    name = keep(cache, make_image([make_layer({"noise": noise(3 << 20)})]))
    with pytest.raises(SourceError, match=f"podman did not load docker.io/library/app:1: {words}"):
        cache.export(name, "containers-storage:", platform="linux/amd64")


def test_without_a_program_the_way_around_is_named(cache: Cache, programs: Path, sample: Sample) -> None:
    assert programs.exists()
    with pytest.raises(SourceError, match="needs podman or skopeo") as caught:
        cache.export(keep(cache, sample.image), "containers-storage:", platform="linux/amd64")
    assert "oci-archive:" in caught.value.hint


def test_a_program_never_sees_the_end_of_a_corrupt_image(
    cache: Cache, tmp_path: Path, programs: Path
) -> None:
    program(programs / "podman", f'{RECORDS}; echo done > "$0.ended"')
    image = make_image([make_layer({"noise": noise(3 << 20)})])
    name = keep(cache, image)
    damage(cache, tmp_path, image.layers[0].digest)
    with pytest.raises(DigestMismatchError):
        cache.export(name, "containers-storage:", platform="linux/amd64")
    assert not (programs / "podman.ended").exists()


def test_what_cannot_go_there_starts_no_program(cache: Cache, programs: Path, sample: Sample) -> None:
    program(programs / "podman", RECORDS)
    name = keep(cache, sample.index)
    with pytest.raises(ConfigError, match="one platform"):
        cache.export(name, "containers-storage:", platform="all")
    with pytest.raises(ConfigError, match="not a repository"):
        cache.export(name, "containers-storage:--root")
    assert not (programs / "podman.called").exists()
