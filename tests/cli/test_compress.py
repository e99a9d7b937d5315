from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.blobs import inflate

from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller
    from servers.images import Layer


@pytest.fixture
def stored(cli: Caller, file: Path) -> Caller:
    """A cache that has the layer."""
    cli("put", str(file))
    return cli


@pytest.mark.parametrize("kind", ["zstd", "gzip"])
def test_a_layer_is_compressed_again(stored: Caller, layer: Layer, kind: str) -> None:
    digest, diff_id, size, tar_size = stored("compress", layer.digest, "--as", kind).stdout.split()
    assert (diff_id, tar_size) == (layer.diff_id, str(len(layer.tar)))
    blob = stored("get", digest).stdout_bytes
    assert (Digest.of(blob), len(blob)) == (digest, int(size))
    assert inflate(blob, kind) == layer.tar
    found = stored.json("info", digest)
    assert found["diff_id"] == layer.diff_id
    (made,) = [each for each in found["blobs"] if each["digest"] == digest]
    assert (made["computed"], made["media_type"].rpartition("+")[2]) == (True, kind)
    assert layer.digest in {each["digest"] for each in found["blobs"]}


def test_either_name_and_either_cache_give_the_same_bytes(cli: Caller, tmp_path: Path, layer: Layer) -> None:
    (tmp_path / "plain.tar").write_bytes(layer.tar)
    cli("put", str(tmp_path / "plain.tar"))
    first = cli("compress", layer.diff_id, "--as", "zstd:1").stdout
    other = type(cli)(f"file://{tmp_path}/other?keep=compressed")
    other("put", "-", stdin=layer.blob)
    assert other("compress", layer.digest[:20], "--as", "zstd:1").stdout == first
    assert other("get", layer.diff_id).stdout_bytes == layer.tar


def test_json_says_how(stored: Caller, layer: Layer) -> None:
    made = json.loads(stored("compress", "--json", "--as", "gzip:9", layer.digest).stdout)
    assert made["compression"] == "gzip:9"
    assert made["media_type"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert (made["diff_id"], made["uncompressed_size"]) == (layer.diff_id, len(layer.tar))


def test_on_a_terminal_the_share_is_shown(stored: Caller, layer: Layer) -> None:
    code, seen = stored.on_terminal("compress", layer.digest, "--as", "zstd")
    assert code == 0
    assert f"diff ID  {layer.diff_id}" in seen
    assert "kB, zstd:3" in seen


@pytest.mark.parametrize("wrong", ["xz", "zstd:99", "gzip:x", ""])
def test_a_compression_that_does_not_exist_is_refused(stored: Caller, layer: Layer, wrong: str) -> None:
    assert "expected" in stored("compress", layer.digest, "--as", wrong, code=2).stderr


def test_if_one_fails_the_others_go_on(stored: Caller, layer: Layer) -> None:
    stored("put", "--any", "-", stdin=b"not a layer")
    missing, opaque = Digest.of(b"missing"), Digest.of(b"not a layer")
    done = stored("compress", "--as", "zstd", missing, opaque, layer.digest, code=1)
    assert layer.diff_id in done.stdout
    first, *_, last = [line for line in done.stderr.splitlines() if line.startswith("layercache")]
    assert first == f"layercache: {missing}: {missing} is not cached"
    assert "is not a layer" in last


def test_a_tar_that_rotted_is_not_compressed(cli: Caller, tmp_path: Path, layer: Layer) -> None:
    cli("put", "-", stdin=layer.blob)
    tar = tmp_path / "cache" / "blobs" / "sha256" / layer.diff_id.hex
    tar.chmod(0o644)
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    digest = cli("compress", layer.digest, "--as", "zstd").stdout.split()[0]
    assert inflate(cli("get", digest).stdout_bytes, "zstd") == layer.tar, "it was made of the blob"
    quarantined = tmp_path / "cache" / "quarantine" / "blobs" / "sha256" / layer.diff_id.hex
    assert quarantined.read_bytes() == data


def test_a_cache_that_keeps_no_blobs_is_refused(tmp_path: Path, cli: Caller, layer: Layer) -> None:
    tars = type(cli)(f"file://{tmp_path}/tars?keep=uncompressed")
    tars("put", "-", stdin=layer.blob)
    assert "keep=" in tars("compress", layer.diff_id, "--as", "zstd", code=2).stderr


PROGRAM = """
import io, random, sys, tarfile
import layercache
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
class Tar(io.RawIOBase):
    # 120 MiB, a third of them noise
    def __init__(self):
        header = tarfile.TarInfo("big"); header.size = 120 << 20
        part = random.Random(1).randbytes(1 << 20) + bytes(2 << 20)
        self.parts, self.rest = iter([header.tobuf(), *[part] * 40, bytes(1024)]), b""
    def readable(self): return True
    def readinto(self, buffer):
        self.rest = self.rest or next(self.parts, b"")
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count
with layercache.open("file://" + sys.argv[1] + "?sync=false") as cache:
    layer = cache.put(Tar())
    before = peak()
    assert layer.compress(sys.argv[2], level=1).size < 45 << 20
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_big_layer_takes_little_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "zstd"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 90 << 20
