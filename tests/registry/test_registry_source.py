"""Images are pulled from real registries: docker-registry, filled by skopeo."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from servers.images import write_dir
from servers.pulling import pulled

from layercache.errors import NotFoundError, SourceError
from layercache.oci.descriptor import Index, decode
from layercache.oci.platforms import parse_platform, select
from layercache.oci.reference import Reference
from layercache.registry.settings import RegistrySettings
from layercache.sources.registry import RegistryClient, RegistrySource

if TYPE_CHECKING:
    from pathlib import Path

    from servers.images import Sample
    from servers.lying import LyingRegistry
    from servers.registry import Registry


def source_of(name: str, client: RegistryClient | None = None) -> RegistrySource:
    return RegistrySource(client or RegistryClient(), Reference.parse(name))


def test_an_image_is_pulled_by_its_tag(registry: Registry, sample: Sample) -> None:
    source = source_of(registry.push(f"oci:{sample.layout}:image", "team/app:1"))
    assert source.name == f"{registry.host}/team/app"
    assert source.root() == sample.image.descriptor
    assert source.document(source.root()) == sample.image.manifest
    assert pulled(source) == sample.image.blobs


def test_an_image_is_pulled_by_its_digest_whatever_its_tag_names(registry: Registry, sample: Sample) -> None:
    registry.push(f"oci:{sample.layout}:index", "app:old")
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    digest = sample.index.descriptor.digest
    for text in (f"{registry.host}/app@{digest}", f"{name}@{digest}"):
        assert source_of(text).root() == sample.index.descriptor


def test_a_platform_is_chosen_out_of_an_index(registry: Registry, sample: Sample) -> None:
    source = source_of(registry.push(f"oci:{sample.layout}:index", "app:1"))
    assert source.root() == sample.index.descriptor
    index = decode(source.document(source.root()), Index, "the index")
    chosen = select(index.manifests, parse_platform("linux/arm64"))
    assert pulled(source, chosen) == sample.index.images[1].blobs


def test_a_docker_image_of_schema_2_keeps_its_manifest(
    registry: Registry, sample: Sample, tmp_path: Path
) -> None:
    source = source_of(registry.push(f"dir:{write_dir(tmp_path / 'image', sample.docker)}", "app:1"))
    assert source.root() == sample.docker.descriptor
    assert pulled(source) == sample.docker.blobs


def test_the_root_costs_one_request_and_no_manifest(registry: Registry, sample: Sample) -> None:
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    before = len(registry.accesses())
    client = RegistryClient()
    source_of(name, client).root()
    source_of(name, client).root()
    asked = [(each.method, each.path) for each in registry.accesses()[before:]]
    # The first looks whether a loopback registry wants TLS.
    assert asked == [("GET", "/v2/"), ("HEAD", "/v2/app/manifests/1"), ("HEAD", "/v2/app/manifests/1")]


def test_a_blob_is_read_from_an_offset(registry: Registry, sample: Sample) -> None:
    source = source_of(registry.push(f"oci:{sample.layout}:image", "app:1"))
    layer = sample.image.layers[0]
    for start in (0, 1, 1000, len(layer.blob) - 1, len(layer.blob)):
        with source.open_blob(layer.descriptor, start) as reader:
            assert reader.size == len(layer.blob) - start
            assert reader.read() == layer.blob[start:]
            assert reader.read(10) == b""
    with pytest.raises(ValueError, match="no offset"):
        source.open_blob(layer.descriptor, len(layer.blob) + 1)


def test_a_reader_fills_buffers_and_may_be_left_in_the_middle(registry: Registry, sample: Sample) -> None:
    source = source_of(registry.push(f"oci:{sample.layout}:image", "app:1"))
    layer = sample.image.layers[0]
    buffer = bytearray(1000)
    with source.open_blob(layer.descriptor) as reader:
        assert not reader.seekable()
        assert reader.read(0) == b""
        assert reader.readinto(memoryview(buffer)[:0]) == 0
        assert reader.readinto(buffer) == 1000
        assert buffer == layer.blob[:1000]
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)
    assert pulled(source) == sample.image.blobs


@pytest.mark.parametrize("text", ["absent:1", "app:absent", "app@sha256:" + "0" * 64])
def test_what_the_registry_has_not_is_not_found(text: str, registry: Registry, sample: Sample) -> None:
    registry.push(f"oci:{sample.layout}:image", "app:1")
    with pytest.raises(NotFoundError) as caught:
        source_of(f"{registry.host}/{text}").root()
    assert registry.host in caught.value.looked_in[0]
    assert "manifest unknown" in str(caught.value)


def test_a_blob_that_the_registry_has_lost_is_not_found(registry: Registry, sample: Sample) -> None:
    source = source_of(registry.push(f"oci:{sample.layout}:image", "app:1"))
    layer = sample.image.layers[0]
    registry.forget(layer.digest)
    with pytest.raises(NotFoundError) as caught:
        source.open_blob(layer.descriptor)
    assert layer.digest in caught.value.message


def test_more_streams_than_kept_connections_may_be_open_at_once(registry: Registry, sample: Sample) -> None:
    source = source_of(registry.push(f"oci:{sample.layout}:image", "app:1"))
    layer = sample.image.layers[0]
    readers = [source.open_blob(layer.descriptor) for _ in range(40)]
    try:
        assert all(reader.read() == layer.blob for reader in readers)
    finally:
        for reader in readers:
            reader.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # it is what is tested
def test_a_forked_child_makes_connections_of_its_own(lying: LyingRegistry, sample: Sample) -> None:
    source = source_of(lying.add_image("1", sample.image))
    layer = sample.image.layers[0]
    with source.open_blob(layer.descriptor) as reader:
        reader.read()
        assert lying.connections == 1
        child = os.fork()
        if not child:
            try:
                with source.open_blob(layer.descriptor) as again:
                    os._exit(0 if again.read() == layer.blob else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lying.connections == 2
    assert pulled(source) == sample.image.blobs
    assert lying.connections == 2


def test_a_stopped_registry_is_named_with_host_and_port(registry: Registry, sample: Sample) -> None:
    waits: list[float] = []
    client = RegistryClient(RegistrySettings(retries=2), sleep=waits.append)
    source = source_of(registry.push(f"oci:{sample.layout}:image", "app:1"), client)
    registry.stop()
    with pytest.raises(SourceError, match=f"127.0.0.1:{registry.port}: Connection refused") as caught:
        source.root()
    assert len(waits) == 2
    assert not isinstance(caught.value, NotFoundError)


def test_a_registry_that_comes_back_is_pulled_from(registry: Registry, sample: Sample) -> None:
    def restart(_: float) -> None:
        registry.start()

    client = RegistryClient(sleep=restart)
    name = registry.push(f"oci:{sample.layout}:image", "app:1")
    source = source_of(name, client)
    source.root()
    registry.stop()
    assert pulled(source) == sample.image.blobs


def test_a_host_that_does_not_exist_is_named_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    waits: list[float] = []
    with pytest.raises(SourceError, match=r"no host nowhere\.invalid"):
        source_of("nowhere.invalid/app:1", RegistryClient(sleep=waits.append)).root()
    assert not waits
