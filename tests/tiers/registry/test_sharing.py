"""What a cache in a registry is for: sharing, on little traffic; and what it survives."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from servers.cutting import CuttingProxy
from servers.images import make_layer, noise
from servers.lying import LyingRegistry, status, wrong_bytes
from servers.programs import skopeo_copy
from servers.registry import PASSWORD, USER, Registry
from servers.tokens import TokenServer
from tiers.contract import GZIP, PLAIN, copy, fact_of, read

import layercache
from layercache.errors import BackendError, ConfigError, LayercacheError, NotFoundError
from layercache.oci.descriptor import OCI_MANIFEST, Descriptor, encode
from layercache.oci.digest import Digest
from layercache.registry import upload
from layercache.registry.settings import RegistrySettings
from layercache.tiers import keys
from layercache.tiers.association import Association
from layercache.tiers.opening import open_tier
from layercache.tiers.registry.record import image_record, image_tag_of
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers.certificates import Certificate
    from servers.images import Sample

    from layercache.cache import Cache
    from layercache.tiers.tier import Tier

CACHE = "team/cache"
FROM_ANOTHER_MACHINE = """
import sys, layercache
near, far, name, form, target = sys.argv[1:]
with layercache.open([near, far], offline=True) as cache, open(target, "wb") as file:
    layer = cache.get(name)
    with layer.compressed() if form == "compressed" else layer.uncompressed() as stream:
        while data := stream.read(1 << 16):
            file.write(data)
"""


def shipped(registry: Registry, folder: Path, *options: str) -> Cache:
    """A cache in a folder, in front of the registry."""
    far = f"oci://{registry.host}/{CACHE}{'?' if options else ''}{'&'.join(options)}"
    return layercache.open([f"file://{folder}", far])


def far_tier(host: str, *, settings: RegistrySettings | None = None, options: str = "") -> Tier:
    """In the registry at this host."""
    return open_tier(
        f"oci://{host}/{CACHE}{options}", nearest=False, registries=lambda: settings or impatient()
    )


def impatient(**more: object) -> RegistrySettings:
    return RegistrySettings(retries=2, **more)  # type: ignore[arg-type]  # fields of it


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(upload, "UPLOAD_PIECE", 64 << 10)
    return upload.UPLOAD_PIECE


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
@pytest.mark.parametrize("by", ["digest", "diff_id"])
def test_another_machine_gets_a_layer_by_either_name_with_one_manifest_and_one_blob(
    registry: Registry, tmp_path: Path, by: str, form: str
) -> None:
    blob = tmp_path / "layer.tar.gz"
    blob.write_bytes(GZIP.blob)
    with shipped(registry, tmp_path / "first") as cache:
        cache.put(blob)
    before = len(registry.accesses())
    target = tmp_path / "out"
    name = GZIP.digest if by == "digest" else GZIP.diff_id
    far = f"oci://{registry.host}/{CACHE}"
    subprocess.run(
        [sys.executable, "-c", FROM_ANOTHER_MACHINE, f"file://{tmp_path}/second", far, name, form, target],
        check=True,
        timeout=60,
    )
    assert target.read_bytes() == (GZIP.blob if form == "compressed" else GZIP.tar)
    asked = [access for access in registry.accesses()[before:] if access.method == "GET"]
    given = [access.path for access in asked if access.status == 200 and access.path != "/v2/"]
    assert sum("/blobs/" in path for path in given) == 1
    assert sum("/manifests/" in path for path in given) <= 1
    assert not [access for access in registry.accesses()[before:] if access.method not in ("GET", "HEAD")]


@pytest.mark.parametrize("computed", [True, False], ids=["computed", "claimed"])
def test_a_blob_that_was_planted_under_a_diff_id_is_fetched_once_and_not_given(
    registry: Registry, tmp_path: Path, *, computed: bool
) -> None:
    tier = far_tier(registry.host)
    copy(tier, PLAIN.blob)
    tier.facts.record(replace(fact_of(GZIP, computed=computed), digest=PLAIN.digest, size=len(PLAIN.blob)))
    with shipped(registry, tmp_path / "near", "readonly=true") as cache:
        before = len(registry.accesses())
        for _ in range(2):
            with pytest.raises(LayercacheError):
                cache.get(GZIP.diff_id).compressed().read()
        with cache.get(PLAIN.digest).compressed() as blob:
            assert blob.read() == PLAIN.blob
    got = [each for each in registry.accesses()[before:] if (each.method, each.status) == ("GET", 200)]
    assert sum("/blobs/" in each.path for each in got) == 1


def test_an_image_that_one_machine_pulled_is_there_offline_on_another(
    registry: Registry, tmp_path: Path, sample: Sample
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    with shipped(registry, tmp_path / "first") as cache:
        for layer in cache.image(name).layers:
            layer.fill("compressed")
    with layercache.open(
        [f"file://{tmp_path}/second", f"oci://{registry.host}/{CACHE}"], offline=True
    ) as cache:
        image = cache.image(name)
        assert image.digest == sample.image.descriptor.digest
        for layer, wanted in zip(image.layers, sample.image.layers, strict=True):
            with layer.uncompressed() as stream:
                assert stream.read() == wanted.tar


def keep_image(tier: Tier, image: object, key: str) -> None:
    """All of an image, as a copy of a cache brings it: blobs, then facts, then what refers to them."""
    from servers.images import Image, ImageIndex

    assert isinstance(image, Image | ImageIndex)
    for data in image.blobs.values():
        copy(tier, data)
    for _, document in image.documents.values():
        tier.blobs.put(Digest.of(document), document)
    for each in image.images if isinstance(image, ImageIndex) else [image]:
        for layer in each.layers:
            tier.facts.record(fact_of(layer))
    tier.images.tag(key, image.descriptor)


def assert_whole(tier: Tier, image: object, key: str) -> None:
    from servers.images import ImageIndex

    assert isinstance(image, ImageIndex)
    assert tier.images.get(key) == image.descriptor
    for digest, data in image.blobs.items():
        assert read(tier, digest) == data
    for digest, (_, document) in image.documents.items():
        assert read(tier, digest) == document
    for layer in (layer for each in image.images for layer in each.layers):
        assert fact_of(layer) in tier.facts.made_from(layer.diff_id)


@pytest.mark.parametrize("untagged", [False, True])
def test_a_shipped_cache_survives_the_registrys_garbage_collection(
    registry: Registry, sample: Sample, tmp_path: Path, untagged: bool
) -> None:
    key = keys.image_tag("docker.io", "library/sample", "1")
    tier = far_tier(registry.host)
    keep_image(tier, sample.index, key)
    tier.blobs.put(Digest.of(PLAIN.blob), PLAIN.blob)
    tier.close()
    registry.stop()
    registry.collect_garbage(untagged=untagged)
    registry.start()
    assert_whole(tier, sample.index, key)
    assert read(tier, PLAIN.digest) == PLAIN.blob
    tier.close()
    for image in sample.index.images:
        skopeo_copy(
            f"docker://{registry.host}/{CACHE}@{image.descriptor.digest}",
            f"dir:{tmp_path}/{image.platform.architecture}",
            ["--src-tls-verify=false"],
        )


def test_other_tools_pull_an_image_out_of_the_cache_by_its_digest(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    tier = far_tier(registry.host)
    keep_image(tier, sample.index, keys.image_tag("docker.io", "library/sample", "1"))
    tier.close()
    skopeo_copy(
        f"docker://{registry.host}/{CACHE}@{sample.index.descriptor.digest}",
        f"dir:{tmp_path}/out",
        ["--src-tls-verify=false"],
    )
    assert (tmp_path / "out" / "manifest.json").read_bytes() == sample.index.manifest


def test_what_is_there_already_is_not_sent_again(registry: Registry, tmp_path: Path) -> None:
    blob = tmp_path / "layer.tar.gz"
    blob.write_bytes(GZIP.blob)
    with shipped(registry, tmp_path / "first") as cache:
        cache.put(blob)
    before = len(registry.accesses())
    with shipped(registry, tmp_path / "second") as cache:
        cache.put(blob)
    methods = {access.method for access in registry.accesses()[before:]}
    assert methods <= {"GET", "HEAD"}


def test_a_layer_is_mounted_from_the_repository_that_its_image_was_pulled_from(
    registry: Registry, sample: Sample
) -> None:
    registry.push(f"oci:{sample.layout}:image", "team/app:1")
    before = len(registry.accesses())
    tier = far_tier(registry.host)
    tier.images.tag(keys.image_tag(registry.host, "team/app", "1"), sample.image.descriptor)
    for layer in sample.image.layers:
        copy(tier, layer.blob)
        assert read(tier, layer.digest) == layer.blob
    tier.close()
    mounted = [access for access in registry.accesses()[before:] if "from=team%2Fapp" in access.path]
    assert [(access.method, access.status) for access in mounted] == [("POST", 201)] * 3


def test_both_forms_are_kept_where_the_url_says_so(registry: Registry, tmp_path: Path) -> None:
    blob = tmp_path / "layer.tar.gz"
    blob.write_bytes(GZIP.blob)
    with shipped(registry, tmp_path / "near", "keep=both") as cache:
        cache.put(blob)
        cache.flush()
        assert {name for name, _ in cache.tiers[1].blobs.scan()} == {GZIP.digest, GZIP.diff_id}


def test_a_sha512_name_is_told_from_another_with_the_same_beginning(registry: Registry) -> None:
    data = noise(100)
    name = Digest.of(data, "sha512")
    other = Digest(f"sha512:{name.hex[:64]}{'0' * 64}")
    tier = far_tier(registry.host)
    copy(tier, data, name)
    assert tier.facts.about(other) == ([], [])
    assert not tier.blobs.has(other)
    said = Association(other, GZIP.diff_id, 100)
    tier.facts.record(said)
    assert tier.facts.inflates_to(other) == [said]
    tier.close()


# Ways that uploads break


def test_a_large_blob_is_sent_in_pieces(registry: Registry, small_pieces: int) -> None:
    data = noise(3 * small_pieces + 100)
    tier = far_tier(registry.host)
    copy(tier, data)
    assert read(tier, Digest.of(data)) == data
    assert sum(access.method == "PATCH" for access in registry.accesses()) == 4
    tier.close()


@pytest.mark.parametrize("cut", [1000, 30_000, 100_000, 150_000])
def test_an_upload_that_is_cut_goes_on_or_begins_anew(
    registry: Registry, small_pieces: int, cut: int, tmp_path: Path
) -> None:
    data = noise(3 * small_pieces)
    with CuttingProxy(registry.port, cut) as proxy:
        tier = far_tier(proxy.host)
        (tmp_path / "blob").write_bytes(data)
        with (tmp_path / "blob").open("rb", buffering=0) as file:
            tier.blobs.copy(Digest.of(data), file)  # type: ignore[arg-type]  # a file is a reader without a size
        assert proxy.cuts == []
        assert read(tier, Digest.of(data)) == data
        tier.close()


def test_an_upload_that_cannot_be_had_once_more_fails_and_the_next_one_works(
    registry: Registry, small_pieces: int
) -> None:
    data = noise(3 * small_pieces)
    with CuttingProxy(registry.port, *range(90_000, 4_000_000, 20_000)) as proxy:
        tier = far_tier(proxy.host)
        with pytest.raises(BackendError, match=r"broke off|forgot|cannot connect|no answer"):
            copy(tier, data)
        assert not far_tier(registry.host).blobs.has(Digest.of(data))
        proxy.cuts.clear()
        copy(tier, data)
        assert read(tier, Digest.of(data)) == data
        tier.close()


def test_a_push_that_is_killed_leaves_nothing_and_the_next_one_works(
    registry: Registry, tmp_path: Path
) -> None:
    data = make_layer({"noise": noise(400_000)}, "none").blob
    (tmp_path / "layer.tar").write_bytes(data)
    program = """
import os, signal, sys
from layercache.registry import upload
import layercache
upload.UPLOAD_PIECE = 64 << 10
sent = upload.Upload._send_piece
def send_and_die(self, piece):
    sent(self, piece)
    os.kill(os.getpid(), signal.SIGKILL)
upload.Upload._send_piece = send_and_die
with layercache.open([sys.argv[1], sys.argv[2]]) as cache:
    cache.put(sys.argv[3])
"""
    far = f"oci://{registry.host}/{CACHE}"
    arguments = [f"file://{tmp_path}/near", far, f"{tmp_path}/layer.tar"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    tier = far_tier(registry.host)
    assert list(tier.blobs.scan()) == []
    with shipped(registry, tmp_path / "near") as cache:
        cache.put(tmp_path / "layer.tar")
    assert read(tier, Digest.of(data)) == data
    tier.close()


def test_two_that_push_the_same_at_once_both_succeed(
    registry: Registry, tmp_path: Path, sample: Sample
) -> None:
    key = keys.image_tag("docker.io", "library/sample", "1")
    failures: list[Exception] = []

    def push() -> None:
        tier = far_tier(registry.host)
        try:
            keep_image(tier, sample.index, key)
        except Exception as error:
            failures.append(error)
        tier.close()

    threads = [threading.Thread(target=push) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    tier = far_tier(registry.host)
    assert tier.images.get(key) == sample.index.descriptor
    for digest, data in sample.index.blobs.items():
        assert read(tier, digest) == data
    tier.close()


def test_of_many_that_begin_a_cache_at_once_each_finds_its_blob_listed(registry: Registry) -> None:
    blobs = [noise(100, seed) for seed in range(16)]
    begin = threading.Barrier(len(blobs))

    def push(data: bytes) -> None:
        tier = far_tier(registry.host)
        begin.wait()
        tier.blobs.put(Digest.of(data), data)
        tier.close()

    threads = [threading.Thread(target=push, args=[data]) for data in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tier = far_tier(registry.host)
    assert {name for name, _ in tier.blobs.scan()} == {Digest.of(data) for data in blobs}
    tier.close()


def test_what_is_known_of_a_blob_is_kept_when_the_registry_has_lost_it(registry: Registry) -> None:
    tier = far_tier(registry.host)
    copy(tier, GZIP.blob)
    registry.forget(GZIP.digest)
    tier.facts.record(fact_of())
    assert tier.facts.made_from(GZIP.diff_id) == [fact_of()]
    copy(tier, GZIP.blob)
    assert read(tier, GZIP.digest) == GZIP.blob
    assert tier.facts.inflates_to(GZIP.digest) == [fact_of()]
    tier.close()


# Who may


def credentials(folder: Path, host: str) -> str:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return str(folder / "config.json")


def test_a_password_opens_it_and_nothing_less(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", basic_auth=True) as registry:
        settings = impatient(auth_files=(credentials(tmp_path / "docker", registry.host),))
        tier = far_tier(registry.host, settings=settings)
        copy(tier, GZIP.blob)
        tier.facts.record(fact_of())
        assert read(tier, GZIP.digest) == GZIP.blob
        stranger = far_tier(registry.host)
        for attempt in (lambda: copy(stranger, GZIP.blob), lambda: stranger.facts.about(GZIP.digest)):
            with pytest.raises(BackendError, match="user and password"):
                attempt()
        tier.close()
        stranger.close()


def test_a_token_to_push_is_asked_for_when_it_is_needed(tmp_path: Path) -> None:
    with (
        TokenServer(tmp_path / "tokens") as tokens,
        Registry(tmp_path / "registry", token_auth=tokens.registry_options) as registry,
    ):
        settings = impatient(auth_files=(credentials(tmp_path / "docker", registry.host),))
        tier = far_tier(registry.host, settings=settings)
        assert not tier.blobs.has(GZIP.digest)
        copy(tier, GZIP.blob)
        tier.facts.record(fact_of())
        tier.blobs.delete(PLAIN.digest)
        assert any("push" in scope for request in tokens.requests for scope in request.scopes)
        stranger = far_tier(registry.host)
        assert read(stranger, GZIP.digest) == GZIP.blob
        assert stranger.facts.made_from(GZIP.diff_id) == [fact_of()]
        with pytest.raises(BackendError, match="refuses to change"):
            copy(stranger, PLAIN.blob)
        tier.close()
        stranger.close()


def test_tls_is_checked_by_the_authority_that_the_url_names(tmp_path: Path, certificate: Certificate) -> None:
    with Registry(tmp_path / "registry", tls=certificate) as registry:
        tier = far_tier(registry.host, options=f"?ca_file={certificate.authority}")
        copy(tier, GZIP.blob)
        assert read(tier, GZIP.digest) == GZIP.blob
        unchecked = far_tier(registry.host, options="?insecure=true")
        assert unchecked.blobs.has(GZIP.digest)
        stranger = far_tier(registry.host)
        with pytest.raises(BackendError, match="not trusted"):
            stranger.blobs.has(GZIP.digest)
        for each in (tier, unchecked, stranger):
            each.close()


def test_a_registry_that_allows_no_deletes_is_an_error_that_says_so(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", deletes=False) as registry:
        tier = far_tier(registry.host)
        copy(tier, GZIP.blob)
        with pytest.raises(BackendError, match="does not allow") as caught:
            tier.blobs.delete(GZIP.digest)
        assert "switched off" in caught.value.hint
        assert read(tier, GZIP.digest) == GZIP.blob
        tier.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("oci://localhost:5000/team/cache:1", "not a repository"),
        ("oci://localhost:5000/Team", "lower case"),
        ("oci://localhost:5000", "not a"),
        ("oci:///team/cache", "not a registry"),
        ("oci://user:secret@localhost:5000/a", "must not hold credentials"),
        ("oci://localhost:5000/a?password=secret", "unknown option"),
        ("oci://localhost:5000/a?timeout=soon", "timeout"),
        ("ocy://localhost:5000/a", "known schemes: .*oci"),
    ],
)
def test_a_wrong_url_is_refused_before_anything_is_asked(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_tier(url, nearest=False)
    assert "secret" not in str(caught.value)


# Registries that lie


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


def test_a_forked_child_has_connections_of_its_own(registry: Registry) -> None:
    tier = far_tier(registry.host)
    copy(tier, GZIP.blob)
    child = os.fork()
    if not child:
        os._exit(0 if read(tier, GZIP.digest) == GZIP.blob else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert read(tier, GZIP.digest) == GZIP.blob
    tier.close()
