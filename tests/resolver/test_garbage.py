"""Bytes that are no JSON where a document, a tag or a fact should be: only a request for themselves fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from fixtures.layers import put, read, sample
from fixtures.stores import Fetch, content, open_cache, write

from layercache import FormatError, LayercacheError
from layercache.cli.program import program
from layercache.oci.descriptor import (
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    decode,
    decode_object,
    encode,
    media_type_of,
)
from layercache.oci.digest import Digest
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.policy import Policy
from layercache.tiers.record import Record
from layercache.upkeep import prune, verify
from layercache_backends.local import LocalBackend
from layercache_backends.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

    from layercache.tiers.tier import Tier

LAYER, OTHER = sample(1), sample(2)
TAG = "images/registry.example/app/_tags/1"
CONFIG = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
MANIFEST = encode(
    Manifest(
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=Digest.of(CONFIG), size=len(CONFIG)),
    )
)


def as_field(value: bytes) -> bytes:
    return b'{"schemaVersion": 2, "x": %s}' % value


GARBAGE = {
    "not UTF-8": as_field(b'"\xe5"'),
    "not UTF-8 in a name": b'{"\xff": 1}',
    "half a surrogate": as_field(b'"\\ud800"'),
    "a number of 5,000 digits": as_field(b"9" * 5000),
    "nested 100,000 deep": b"[" * 100_000,
    "objects nested 100,000 deep": b'{"a":' * 100_000,
    "nothing": b"",
    "zeros": bytes(100),
    "not a number": as_field(b"NaN"),
    "a list": b"[]",
    "null": b"null",
    "gzip": LAYER.blob[:300],
    "cut": MANIFEST[:-1],
}  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("kind", [Descriptor, Manifest, Index, ImageConfig])
def test_whatever_bytes_are_decoded_the_only_error_is_that_of_a_format(garbage: str, kind: type) -> None:
    data = GARBAGE[garbage]
    for read_it in (
        lambda: decode(data, kind, "it"),
        lambda: decode_object(data, "it"),
        lambda: media_type_of(data, "", "it"),
        lambda: Record.decode(data, LAYER.digest),
    ):
        try:
            read_it()
        except FormatError:
            continue
        except LayercacheError as error:
            pytest.fail(f"{error!r}")


def spoil(tier: Tier, garbage: bytes, where: str) -> None:
    """An image's documents and tag, and a layer's facts, of which one is garbage."""
    descriptor = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(MANIFEST), size=len(MANIFEST))
    objects = {
        TAG: encode(descriptor),
        keys.blob(descriptor.digest): MANIFEST,
        keys.blob(Digest.of(CONFIG)): CONFIG,
        keys.record(LAYER.digest): b"",
        keys.record(LAYER.diff_id): b"",
    }
    spoilt = {
        "tag": [TAG],
        "manifest": [keys.blob(descriptor.digest)],
        "config": [keys.blob(Digest.of(CONFIG))],
        "fact": list(objects)[3:],
    }[where]
    for key, data in objects.items():
        if data or key in spoilt:
            write(tier, key, garbage if key in spoilt else data)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("where", ["tag", "manifest", "config", "fact"])
def test_garbage_breaks_no_request_for_anything_else(garbage: str, where: str) -> None:
    tier = BackendTier(MemoryBackend(), Policy(trusted=True, max_size=40_000))
    with open_cache(tier, offline=True) as cache:
        spoil(tier, GARBAGE[garbage], where)
        for seed in range(3, 9):
            layer = put(cache, sample(seed, size=10_000).blob)  # more than the limit: some must go
            assert layer.diff_id
        assert read(put(cache, LAYER.blob).uncompressed()) == LAYER.tar
        assert read(cache.get(LAYER.diff_id).compressed()) == LAYER.blob
        cache.delete(LAYER.digest)
        try:
            cache.image("registry.example/app:1")
        except LayercacheError:
            pass
        else:
            assert where == "fact"
        prune(tier, max_size=1000, forget=True)
        list(verify(tier))
        for key in list(content(tier)):
            assert not key.startswith("blobs/") or keys.blob_name(key)
    with open_cache(tier) as cache:
        fetched = cache.layer(OTHER.digest, diff_id=OTHER.diff_id, fetch=Fetch(OTHER.blob))
        assert read(fetched.uncompressed()) == OTHER.tar


@pytest.mark.parametrize("garbage", ["not UTF-8", "a number of 5,000 digits", "nested 100,000 deep"])
def test_no_command_is_brought_down_by_a_rotten_manifest(garbage: str, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/cache"
    file = tmp_path / "layer"
    file.write_bytes(LAYER.blob)
    for command in (
        ["ls"], ["images"], ["info", str(Digest.of(CONFIG))], ["stats"], ["index"], ["put", str(file)],
        ["prune", "--max-size", "10"], ["verify"], ["copy", url, f"file://{tmp_path}/other"],
        ["info", str(Digest.of(MANIFEST))], ["rm", str(Digest.of(CONFIG))],
    ):  # fmt: skip
        tier = BackendTier(LocalBackend(str(tmp_path / "cache"), sync=False), Policy(trusted=True))
        spoil(tier, GARBAGE[garbage], "manifest")
        done = CliRunner().invoke(program, ["--cache", url, *command])
        assert done.exit_code in (0, 1, 2, 3), (command, done.output)
        assert done.exception is None or isinstance(done.exception, SystemExit), command
