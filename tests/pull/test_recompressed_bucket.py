"""Two machines, a registry and a bucket: a plain layer takes a third of the room in the bucket."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from fixtures.calling import PROGRAM, Caller
from servers.images import make_image, make_layer, noise, write_layout

import layercache
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    from pathlib import Path

    from servers.registry import Registry

    from layercache.tiers.association import Association

pytestmark = pytest.mark.slow

PLAIN = make_layer({"text": b"a line of text\n" * 20_000, "noise": noise(3000)}, "none")
GZIP = make_layer({"other": b"another line\n" * 900})
IMAGE = make_image([PLAIN, GZIP])


@pytest.fixture
def bucket(
    seaweedfs_endpoint: str, seaweedfs_bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """As a user names it: a bucket keeps plain tars as zstd unless told otherwise."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    return f"s3://{seaweedfs_bucket_name}/{tmp_path.name}?endpoint_url={seaweedfs_endpoint}&timeout=60"


@pytest.fixture
def name(registry: Registry, tmp_path: Path) -> str:
    return registry.push(f"oci:{write_layout(tmp_path / 'in', {'image': IMAGE})}:image", "team/app:1")


def blobs(bucket: str) -> dict[str, int]:
    tier = open_tier(bucket, nearest=False)
    try:
        return {str(name): entry.size for name, entry in tier.blobs.scan()}
    finally:
        tier.close()


def facts(bucket: str) -> list[Association]:
    tier = open_tier(bucket, nearest=False)
    try:
        return list(tier.facts.scan())
    finally:
        tier.close()


def machine(folder: Path, bucket: str, *arguments: str) -> str:
    """The program on another machine: a separate folder, and behind it the bucket."""
    tiers = ["--cache", f"file://{folder}", "--cache", bucket]
    done = subprocess.run(
        [*PROGRAM, *tiers, *arguments], capture_output=True, text=True, timeout=100, check=True
    )
    assert "warning" not in done.stderr
    return done.stdout


def test_what_one_machine_pulled_another_has_from_the_bucket_byte_for_byte(
    bucket: str, name: str, registry: Registry, tmp_path: Path
) -> None:
    machine(tmp_path / "one", bucket, "pull", name)
    there = blobs(bucket)
    assert PLAIN.digest not in there
    others = {GZIP.digest, IMAGE.config_digest, IMAGE.descriptor.digest}
    (zstd,) = set(there) - others
    assert there[zstd] < len(PLAIN.tar) / 3
    asked = len(registry.accesses())
    pulled = json.loads(machine(tmp_path / "two", bucket, "pull", "--json", name))
    (image,) = pulled["images"]
    assert {layer["from"] for layer in image["layers"]} == {bucket.partition("?")[0]}
    assert [access for access in registry.accesses()[asked:] if "/blobs/" in access.path] == []
    with layercache.open(f"file://{tmp_path}/two", offline=True) as cache:
        for made, layer in zip(IMAGE.layers, cache.image(name).layers, strict=True):
            with layer.compressed() as blob, layer.uncompressed() as tar:
                assert (blob.read(), tar.read()) == (made.blob, made.tar)
    machine(tmp_path / "three", bucket, "--offline", "get", PLAIN.digest, "-o", str(tmp_path / "tar"))
    assert (tmp_path / "tar").read_bytes() == PLAIN.tar


def test_upkeep_of_such_a_bucket(bucket: str, name: str, tmp_path: Path) -> None:
    machine(tmp_path / "one", bucket, "pull", name)
    (zstd,) = set(blobs(bucket)) - {GZIP.digest, IMAGE.config_digest, IMAGE.descriptor.digest}
    cli = Caller(bucket)
    cli("verify", "--deep")
    listed = json.loads(cli("images", "--json").stdout)
    assert listed["platforms"] == ["linux/amd64"], "the image is complete"
    assert listed["size"] == sum(blobs(bucket).values())
    cli("prune", "--forget")
    assert layercache.Digest(PLAIN.digest) in {fact.digest for fact in facts(bucket)}
    assert cli("rm", zstd, code=5).exit_code == 5
    cli("copy", bucket, f"file://{tmp_path}/folder", "--image", name)
    folder = tmp_path / "folder" / "blobs" / "sha256"
    assert (folder / PLAIN.digest.hex).read_bytes() == PLAIN.blob
    cli("rm", "--image", name, "--blobs")
    assert blobs(bucket) == {}


def test_it_can_be_switched_off(bucket: str, name: str, tmp_path: Path) -> None:
    machine(tmp_path / "one", f"{bucket}&recompress=false", "pull", name)
    assert PLAIN.digest in blobs(bucket)
