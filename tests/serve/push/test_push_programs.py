"""Clients push to a mirror that runs as a process, with two workers: skopeo, buildah, and one that stalls."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.images import noise
from servers.mirror import Mirror
from servers.programs import requires, run, skopeo_copy

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.images import Sample

PATIENCE = 3
"""Seconds after which the mirror gives up a client that sends nothing."""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("writable")
    settings = f"writable = true\nworkers = 2\nstall_timeout = {PATIENCE}\nmax_connections = 50"
    with Mirror(folder, config=settings) as running:
        yield running


def begin(mirror: Mirror) -> str:
    return mirror.request("POST", "/v2/team/app/blobs/uploads/").headers["location"]


def put(mirror: Mirror, location: str, data: bytes) -> int:
    return mirror.request("PUT", f"{location}?digest={Digest.of(data)}").status


def connected(mirror: Mirror, head: str) -> socket.socket:
    """A connection on which the head of a request was sent."""
    connection = socket.create_connection(("127.0.0.1", mirror.port), timeout=60)
    connection.sendall(f"{head}\r\nHost: {mirror.host}\r\n\r\n".encode())
    return connection


def test_skopeo_pushes_images_and_pulls_them_as_they_were(
    mirror: Mirror, sample: Sample, tmp_path: Path
) -> None:
    there = f"docker://{mirror.host}/team/skopeo"
    skopeo_copy(
        f"oci:{sample.layout}:image", f"{there}:image", ["--dest-tls-verify=false", "--preserve-digests"]
    )
    skopeo_copy(f"{there}:image", f"oci:{tmp_path}/back", ["--src-tls-verify=false", "--preserve-digests"])
    for digest in (*sample.image.documents, *sample.image.blobs):
        assert (tmp_path / "back/blobs/sha256" / digest.hex).exists()
    # By that option skopeo 1.9 refuses to push an index; without it plain layers are compressed.
    skopeo_copy(f"oci:{sample.layout}:index", f"{there}:index", ["--dest-tls-verify=false"])
    skopeo_copy(f"{there}:index", f"oci:{tmp_path}/all", ["--src-tls-verify=false"])
    assert len(list((tmp_path / "all/blobs/sha256").iterdir())) >= len(sample.index.documents)


def test_buildah_writes_a_layer_cache_and_another_machine_builds_from_it(
    mirror: Mirror, tmp_path: Path
) -> None:
    requires("buildah")
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY file /a\nCOPY file /b\nLABEL a=b\n")
    (tmp_path / "file").write_text("contents")
    printed = []
    for machine in ("one", "two"):
        storage = ["--root", f"{tmp_path}/{machine}", "--runroot", f"{tmp_path}/run-{machine}"]
        cache = f"{mirror.host}/build-cache/app"
        printed.append(
            run(
                *("buildah", *storage, "--storage-driver", "vfs", "build", "--isolation", "chroot"),
                *("--layers", "--tls-verify=false", "--cache-to", cache, "--cache-from", cache),
                str(tmp_path),
            )
        )
    assert printed[0].count("Pushing cache") == 3
    assert printed[1].count("Cache pulled from remote") == 3
    assert "Pushing cache" not in printed[1]


def test_a_body_of_unknown_size_is_taken_as_it_comes(mirror: Mirror) -> None:
    location, data = begin(mirror), noise(300_000, 1)
    head = f"PATCH {location} HTTP/1.1\r\nTransfer-Encoding: chunked"
    with closing(connected(mirror, head)) as connection:
        for start in range(0, len(data), 1000):
            part = data[start : start + 1000]
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 202 ")
    assert put(mirror, location, data) == 201


def test_a_client_that_stalls_or_hangs_up_is_given_up_and_goes_on_later(mirror: Mirror) -> None:
    data = noise(500_000, 2)
    location = begin(mirror)
    head = f"PATCH {location} HTTP/1.1\r\nContent-Length: {len(data)}"
    with closing(connected(mirror, head)) as connection:
        connection.sendall(data[:1000])
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    with closing(connected(mirror, head)) as connection:
        connection.sendall(data[1000:400_000])
    # The mirror has not begun to read yet, or has not noticed the hang-up.
    deadline = time.monotonic() + 60
    while (status := mirror.get(location)).status == 409 or status.headers["range"] == "0-999":
        assert time.monotonic() < deadline
    came = int(status.headers["range"].removeprefix("0-")) + 1
    sent = {"content-range": f"{came}-{len(data) - 1}"}
    assert mirror.request("PATCH", location, sent, data[came:]).status == 202
    assert put(mirror, location, data) == 201


def test_memory_does_not_grow_with_the_size_of_a_blob(mirror: Mirror) -> None:
    def peak() -> int:
        """KiB of the largest of all its processes."""
        assert mirror.process is not None
        children = Path(f"/proc/{mirror.process.pid}/task/{mirror.process.pid}/children").read_text().split()
        lines = [line for pid in children for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    small, large = os.urandom(1 << 20), os.urandom(64 << 20)
    for _ in range(4):  # both workers have uploaded something
        location = begin(mirror)
        assert mirror.request("PATCH", location, {}, small).status == 202
        assert put(mirror, location, small) == 201
    before = peak()
    location = begin(mirror)
    assert mirror.request("PATCH", location, {}, large).status == 202
    assert put(mirror, location, large) == 201
    assert peak() - before < 24 << 10
