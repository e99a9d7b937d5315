"""Registries that lie: an error is not taken for absence, nor another record or other bytes for ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from servers.lying import LyingRegistry, status, wrong_bytes
from tiers.contract import GZIP, PLAIN, fact_of, read
from tiers.registry.caches import CACHE, far_tier

import layercache
from layercache.errors import BackendError, NotFoundError
from layercache.oci.descriptor import OCI_MANIFEST, Descriptor, encode
from layercache.tiers import keys
from layercache.tiers.registry.record import image_record, image_tag_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.registry import Registry

    from layercache.tiers.tier import Tier


@pytest.fixture
def asked(lying: LyingRegistry) -> Callable[[], Tier]:
    lying.add_blob(GZIP.blob)
    return lambda: far_tier(lying.host)


@pytest.mark.parametrize("code", [403, 404, 500, 503])
def test_what_is_no_absence_in_the_registrys_own_words_is_an_error(
    lying: LyingRegistry, asked: Callable[[], Tier], code: int
) -> None:
    tier = asked()
    lying.on("/blobs/", *[status(code, b"<html>a proxy</html>")] * 9)
    lying.on("/manifests/", *[status(code, b"<html>a proxy</html>")] * 9)
    for ask in (
        lambda: tier.blobs.has(GZIP.digest),
        lambda: tier.blobs.open(GZIP.digest),
        lambda: tier.facts.about(GZIP.digest),
        lambda: tier.images.get(keys.image_tag("a.b", "c", "d")),
    ):
        with pytest.raises(BackendError) as caught:
            ask()
        assert not isinstance(caught.value, NotFoundError)
    tier.close()


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"[]",
        b'{"schemaVersion": 2, "manifests": []}',
        json.dumps(
            {
                "schemaVersion": 2,
                "artifactType": "application/vnd.dev.layercache.name.v1+json",
                "config": {"digest": str(GZIP.digest), "size": 1},
                "annotations": {"dev.layercache.name": str(PLAIN.digest), "dev.layercache.computed": "[1]"},
            }
        ).encode(),
        json.dumps(
            {
                "schemaVersion": 2,
                "artifactType": "application/vnd.dev.layercache.name.v1+json",
                "config": {"digest": str(GZIP.digest), "size": 1},
                "annotations": {
                    "dev.layercache.name": str(GZIP.digest),
                    "dev.layercache.computed": f"[1, {encode(fact_of(PLAIN).descriptor()).decode()}]",
                    "org.opencontainers.image.created": "+9999999-01-01",
                },
            }
        ).encode(),
    ],
)
def test_a_record_that_is_none_of_this_name_says_nothing(
    lying: LyingRegistry, asked: Callable[[], Tier], document: bytes
) -> None:
    tier = asked()
    lying.add_manifest(f"sha256-{GZIP.digest.hex}", "application/vnd.oci.image.manifest.v1+json", document)
    assert tier.facts.about(GZIP.digest) == ([], [])
    assert tier.facts.inflates_to(GZIP.digest) == []
    tier.close()


def test_the_record_of_another_image_names_nothing(lying: LyingRegistry, asked: Callable[[], Tier]) -> None:
    tier = asked()
    wanted, other = (keys.image_tag("docker.io", "library/app", tag) for tag in ("1", "2"))
    descriptor = Descriptor(media_type=OCI_MANIFEST, digest=GZIP.digest, size=100)
    record = image_record(other, descriptor)
    for key in (wanted, other):
        lying.add_manifest(image_tag_of(key), OCI_MANIFEST, record)
    assert tier.images.get(other) == descriptor
    with pytest.raises(layercache.NotFoundError, match="another image"):
        tier.images.get(wanted)
    tier.close()


def test_wrong_bytes_are_found_out_and_taken_from_elsewhere(
    registry: Registry, lying: LyingRegistry, tmp_path: Path
) -> None:
    lying.add_blob(GZIP.blob)
    lying.on(f"GET /v2/{CACHE}/blobs/", wrong_bytes)
    with layercache.open([f"file://{tmp_path}/near", f"oci://{lying.host}/{CACHE}"]) as cache:
        layer = cache.get(GZIP.digest)
        with pytest.raises(layercache.DigestMismatchError), layer.compressed() as stream:
            stream.read()
        assert not cache.tiers[0].blobs.has(GZIP.digest)


def test_a_download_that_breaks_goes_on_where_it_was(lying: LyingRegistry, asked: Callable[[], Tier]) -> None:
    from servers.lying import cut_off

    tier = asked()
    lying.on(f"GET /v2/{CACHE}/blobs/", cut_off(after=1000))
    assert read(tier, GZIP.digest) == GZIP.blob
    assert [each.headers.get("range") for each in lying.asked("GET /v2/team")] == [
        None,
        f"bytes=1000-{len(GZIP.blob) - 1}",
    ]
    tier.close()
