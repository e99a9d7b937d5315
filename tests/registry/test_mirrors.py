"""Mirrors are asked first, and the registry itself wherever they do not serve."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Literal

import pytest
from servers.lying import LyingRegistry, status, wrong_bytes
from servers.pulling import pulled
from servers.registry import Registry

import layercache
from layercache.errors import SourceError
from layercache.oci.reference import Reference
from layercache.registry.credential import Credential
from layercache.registry.credentials import find_login
from layercache.registry.retry import TransientError
from layercache.registry.settings import RegistrySettings
from layercache.sources.registry import RegistryClient, RegistrySource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.certificates import Certificate
    from servers.images import Sample

    from layercache.events import Event


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "mirror") as running:
        yield running


def settings(registry: Registry, *mirrors: str) -> RegistrySettings:
    return RegistrySettings(mirrors={registry.host: mirrors}, retries=0)


class Listener(list[str]):
    """The mirrors that failed."""

    def __call__(self, mirror: str, _error: object) -> None:
        self.append(mirror)


def test_a_mirror_serves_all_of_an_image(registry: Registry, mirror: Registry, sample: Sample) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    mirror.push(f"oci:{sample.layout}:image", "hub/app:1")
    before = len(registry.accesses())
    client = RegistryClient(settings(registry, f"{mirror.host}/hub"))
    source = RegistrySource(client, Reference.parse(name))
    assert pulled(source) == sample.image.blobs
    assert source.name == f"{registry.host}/app"
    assert registry.accesses()[before:] == []
    assert [mirror.fetches(digest) for digest in sample.image.blobs] == [1] * len(sample.image.blobs)


def test_a_mirror_that_lacks_the_image_or_a_layer_is_passed_over_in_silence(
    registry: Registry, mirror: Registry, sample: Sample
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    listener = Listener()
    client = RegistryClient(settings(registry, mirror.host), passed_over=listener)
    assert pulled(RegistrySource(client, Reference.parse(name))) == sample.image.blobs
    mirror.push(f"oci:{sample.layout}:image", "app:1")
    lost = sample.image.layers[0].digest
    mirror.forget(lost)
    fetched = registry.fetches(lost), registry.fetches(sample.image.layers[1].digest)
    assert pulled(RegistrySource(client, Reference.parse(name))) == sample.image.blobs
    assert registry.fetches(lost) == fetched[0] + 1
    assert registry.fetches(sample.image.layers[1].digest) == fetched[1]
    assert listener == []


def test_a_mirror_that_is_down_is_passed_over_with_one_warning_and_counted(
    registry: Registry, mirror: Registry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    mirror.stop()
    events: list[Event] = []
    with (
        layercache.open(tmp_path / "cache", registries=settings(registry, mirror.host)) as cache,
        cache.watch(events.append),
    ):
        for layer in cache.image(name).layers:
            layer.fill()
        assert cache.counters.failed == 1
    (failed,) = [event for event in events if event.kind == "failed"]
    assert (failed.name, failed.where) == (None, f"{mirror.host}/app")
    assert "Connection refused" in failed.note


def test_the_next_mirror_serves_where_the_first_is_down(
    registry: Registry, mirror: Registry, sample: Sample
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    mirror.push(f"oci:{sample.layout}:image", "app:1")
    before = len(registry.accesses())
    client = RegistryClient(settings(registry, "127.0.0.1:1", mirror.host))
    assert pulled(RegistrySource(client, Reference.parse(name))) == sample.image.blobs
    assert registry.accesses()[before:] == []


def test_a_mirror_alone_is_enough_where_the_registry_cannot_be_reached(
    registry: Registry, mirror: Registry, sample: Sample
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    mirror.push(f"oci:{sample.layout}:image", "app:1")
    registry.stop()
    mirror.stop()
    client = RegistryClient(
        RegistrySettings(mirrors={registry.host: (mirror.host,)}, retries=1), sleep=lambda _: mirror.start()
    )
    assert pulled(RegistrySource(client, Reference.parse(name))) == sample.image.blobs


def test_a_manifest_with_wrong_bytes_is_had_from_the_registry(
    registry: Registry, lying: LyingRegistry, sample: Sample
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    listener = Listener()
    client = RegistryClient(settings(registry, lying.host), passed_over=listener)
    digest = sample.image.descriptor.digest
    lying.on(f"/v2/app/manifests/{digest}", status(200, sample.image.manifest[:-1] + b" "))
    source = RegistrySource(client, Reference.parse(name))
    assert source.document(sample.image.descriptor) == sample.image.manifest
    assert listener == [f"{lying.host}/app"]


@pytest.mark.parametrize("form", ["compressed", "both"])
def test_layers_with_wrong_bytes_are_had_from_the_registry_and_the_mirror_is_left_alone(
    registry: Registry,
    lying: LyingRegistry,
    sample: Sample,
    tmp_path: Path,
    form: Literal["compressed", "both"],
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    digests = [made.digest for made in sample.image.layers]
    for made in sample.image.layers:
        lying.add_blob(made.blob)
        lying.on(f"/blobs/{made.digest}", *[wrong_bytes] * 9)
    events: list[Event] = []
    with (
        layercache.open(tmp_path / "cache", registries=settings(registry, lying.host)) as cache,
        cache.watch(events.append),
    ):
        for layer in cache.image(name).layers:
            layer.fill(form)
        for made in sample.image.layers:
            with cache.get(made.digest).compressed() as reader:
                assert reader.read() == made.blob
    (failed,) = [event for event in events if event.kind == "failed"]
    assert failed.where == f"{lying.host}/app"
    assert [len(lying.asked(f"/blobs/{digest}")) for digest in digests] == [1, 0, 0]
    assert [registry.fetches(digest) for digest in digests] == [1, 1, 1]


def test_who_reads_along_gets_the_right_bytes_from_the_next_place(
    registry: Registry, lying: LyingRegistry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    lying.on(f"/blobs/{lying.add_blob(sample.image.layers[0].blob).digest}", wrong_bytes)
    with layercache.open(tmp_path / "cache", registries=settings(registry, lying.host)) as cache:
        layer = cache.image(name).layers[0]
        with layer.compressed() as reader:
            assert reader.read() == sample.image.layers[0].blob


def test_a_config_with_wrong_bytes_is_had_from_the_registry(
    registry: Registry, lying: LyingRegistry, sample: Sample, tmp_path: Path
) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    lying.on(f"/blobs/{lying.add_blob(sample.image.config).digest}", wrong_bytes)
    with layercache.open(tmp_path / "cache", registries=settings(registry, lying.host)) as cache:
        assert cache.image(name).layers[0].diff_id == sample.image.layers[0].diff_id
        assert cache.counters.failed == 1


def test_wrong_bytes_everywhere_are_an_error(lying: LyingRegistry, sample: Sample, tmp_path: Path) -> None:
    with LyingRegistry() as mirror:
        name = lying.add_image("1", sample.image)
        blob = sample.image.layers[0].digest
        mirror.add_blob(sample.image.layers[0].blob)
        for each in (mirror, lying):
            each.on(f"/blobs/{blob}", *[wrong_bytes] * 9)
        own = RegistrySettings(mirrors={lying.host: (mirror.host,)}, retries=0)
        with layercache.open(tmp_path / "cache", registries=own) as cache:
            layer = cache.image(name).layers[0]
            with pytest.raises(layercache.DigestMismatchError):
                layer.fill("compressed")
        assert [len(each.asked(f"GET /v2/app/blobs/{blob}")) for each in (mirror, lying)] == [1, 1]


def test_a_mirror_that_fails_rests_for_a_while_and_one_with_wrong_bytes_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("layercache.registry.mirrors.MIRROR_REST", 0.0)
    names = ("down.example", "wrong.example")
    client = RegistryClient(RegistrySettings(mirrors={"registry.example": names}, retries=0))
    asked: list[str] = []

    def answer(place: Reference) -> str:
        asked.append(place.registry)
        if place.registry == "down.example":
            raise TransientError("it cannot be reached")
        if place.registry == "wrong.example":
            raise layercache.DigestMismatchError("other bytes")
        return place.registry

    for _ in range(2):
        assert client.mirrors.ask(Reference.parse("registry.example/app:1"), answer) == "registry.example"
    assert asked == ["down.example", "wrong.example", "registry.example", "down.example", "registry.example"]


def test_a_registry_has_certificates_of_its_own(
    tmp_path: Path, certificate: Certificate, sample: Sample
) -> None:
    with Registry(tmp_path / "secure", tls=certificate) as secure:
        name = secure.push(f"oci:{sample.layout}:image", "app:1")
        for host, trusted in ((secure.host, True), ("127.0.0.1", True), ("other.example", False)):
            own = RegistrySettings(ca_files={host: str(certificate.authority)}, retries=0)
            source = RegistrySource(RegistryClient(own), Reference.parse(name))
            if trusted:
                assert pulled(source) == sample.image.blobs
            else:
                with pytest.raises(SourceError, match="not trusted"):
                    source.root()


def test_a_helper_that_is_named_for_a_registry_is_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker-credential-ours"
    program.write_text('#!/bin/sh\necho \'{"Username": "me", "Secret": "x"}\'\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    named = RegistrySettings(credential_helpers={"a.example": "ours", "b.example": "absent"})
    assert find_login(named, "a.example").credential == Credential("me", "x")
    assert find_login(named, "c.example").looked_in == ()
    login = find_login(named, "b.example")
    assert login.credential is None
    (problem,) = login.problems
    assert "docker-credential-absent" in problem.message
    assert "the configuration of b.example" in problem.hint
