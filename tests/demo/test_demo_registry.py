from __future__ import annotations

import json
import shutil
import socket
import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from servers.programs import requires, run, skopeo_copy

from layercache.demo.image import BuiltImage, build_image
from layercache.demo.registry import LayoutRegistry
from layercache.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from layercache.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse
    from pathlib import Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BuiltImage]:
    folder = tmp_path_factory.mktemp("layout")
    return folder, build_image(str(folder))


@pytest.fixture
def registry(built: tuple[Path, BuiltImage]) -> Iterator[LayoutRegistry]:
    with LayoutRegistry(str(built[0])) as registry:
        yield registry


@pytest.fixture
def image(built: tuple[Path, BuiltImage]) -> BuiltImage:
    return built[1]


@pytest.fixture
def small(image: BuiltImage) -> Digest:
    """The digest of the smallest layer."""
    return min((layer.descriptor for layer in image.layers), key=lambda item: item.size).digest


@pytest.fixture
def client(registry: LayoutRegistry) -> Iterator[HTTPConnection]:
    connection = HTTPConnection(registry.host, timeout=60)
    yield connection
    connection.close()


def ask(
    client: HTTPConnection, method: str, path: str, headers: Mapping[str, str] | None = None
) -> tuple[HTTPResponse, bytes]:
    client.request(method, path, headers=headers or {})
    response = client.getresponse()
    return response, response.read()


def error_code(body: bytes) -> str:
    (error,) = json.loads(body)["errors"]
    assert error["message"]
    code: str = error["code"]
    return code


def test_it_says_that_it_speaks_the_protocol(client: HTTPConnection) -> None:
    response, _ = ask(client, "GET", "/v2/")
    assert response.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_manifest_is_served_by_tag_and_by_digest(
    client: HTTPConnection, image: BuiltImage, method: str
) -> None:
    for reference in ("latest", image.manifest.digest):
        response, body = ask(client, method, f"/v2/demo/manifests/{reference}")
        assert response.status == 200
        assert response.headers["Content-Type"] == OCI_MANIFEST
        assert response.headers["Docker-Content-Digest"] == image.manifest.digest
        assert response.headers["Content-Length"] == str(image.manifest.size)
        assert body == b"" if method == "HEAD" else Digest.of(body) == image.manifest.digest


def test_a_blob_is_served_whole(client: HTTPConnection, image: BuiltImage) -> None:
    for layer in image.layers:
        response, body = ask(client, "GET", f"/v2/demo/blobs/{layer.descriptor.digest}")
        assert response.status == 200
        assert response.headers["Docker-Content-Digest"] == layer.descriptor.digest
        assert Digest.of(body) == layer.descriptor.digest


def test_the_head_of_a_blob_tells_its_size_and_sends_nothing(
    client: HTTPConnection, registry: LayoutRegistry, image: BuiltImage
) -> None:
    blob = image.layers[0].descriptor
    response, body = ask(client, "HEAD", f"/v2/demo/blobs/{blob.digest}", {"Range": "bytes=0-1"})
    assert (response.status, response.headers["Content-Length"], body) == (200, str(blob.size), b"")
    assert registry.served.gets.total() == 0
    assert registry.served.sent.total() == 0


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-0", 0, 1), ("5-9", 5, 10), ("100-", 100, None), ("-7", -7, None), ("3-99999999999", 3, None)],
)
def test_a_range_of_a_blob_is_served(
    client: HTTPConnection, small: Digest, asked: str, start: int, stop: int | None
) -> None:
    _, whole = ask(client, "GET", f"/v2/demo/blobs/{small}")
    response, body = ask(client, "GET", f"/v2/demo/blobs/{small}", {"Range": f"bytes={asked}"})
    assert response.status == 206
    assert body == whole[start:stop]
    first = range(len(whole))[start]
    assert response.headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=1-0", "bytes=-", "bytes=0-1,3-4", "lines=0-1"])
def test_a_range_that_is_none_is_ignored(client: HTTPConnection, small: Digest, asked: str) -> None:
    response, body = ask(client, "GET", f"/v2/demo/blobs/{small}", {"Range": asked})
    assert response.status == 200
    assert Digest.of(body) == small


def test_a_range_of_another_version_is_ignored(client: HTTPConnection, small: Digest) -> None:
    path, part = f"/v2/demo/blobs/{small}", {"Range": "bytes=0-1"}
    response, _ = ask(client, "GET", path, part)
    same, _ = ask(client, "GET", path, {**part, "If-Range": response.headers["ETag"]})
    other, _ = ask(client, "GET", path, {**part, "If-Range": '"another"'})
    assert (same.status, other.status) == (206, 200)


def test_a_range_past_the_end_is_refused_with_the_size(
    client: HTTPConnection, image: BuiltImage, small: Digest
) -> None:
    size = min(layer.descriptor.size for layer in image.layers)
    for asked in (f"bytes={size}-", "bytes=-0"):
        response, body = ask(client, "GET", f"/v2/demo/blobs/{small}", {"Range": asked})
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{size}"
        assert error_code(body) == "RANGE_INVALID"


NOWHERE = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/demo/manifests/v9", 404, "MANIFEST_UNKNOWN"),
        ("GET", f"/v2/demo/manifests/{NOWHERE}", 404, "MANIFEST_UNKNOWN"),
        ("GET", f"/v2/demo/blobs/{NOWHERE}", 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/demo/blobs/..%2f..%2findex.json", 400, "DIGEST_INVALID"),
        ("GET", f"/v2/other/blobs/{NOWHERE}", 404, "NAME_UNKNOWN"),
        ("GET", "/index.json", 404, "UNSUPPORTED"),
        ("POST", "/v2/demo/blobs/uploads/", 405, "UNSUPPORTED"),
        ("DELETE", "/v2/demo/manifests/latest", 405, "UNSUPPORTED"),
    ],
)
def test_what_is_not_served_is_refused_in_the_form_of_the_spec(
    client: HTTPConnection, method: str, path: str, status: int, code: str
) -> None:
    response, body = ask(client, method, path)
    assert (response.status, error_code(body)) == (status, code)
    after, _ = ask(client, "GET", "/v2/")
    assert after.status == 200


@pytest.mark.parametrize("path", ["/v2/", "/v2/demo/manifests/latest", f"/v2/demo/blobs/{NOWHERE}"])
def test_an_answer_to_head_has_no_body(registry: LayoutRegistry, path: str) -> None:
    assert raw(registry, f"HEAD {path} HTTP/1.1\r\nConnection: close\r\n\r\n").endswith("\r\n\r\n")


def test_what_cannot_be_pushed_is_not_taken_for_the_next_request(registry: LayoutRegistry) -> None:
    pushed = "GET /v2/ HTTP/1.1\r\n\r\n"
    answer = raw(registry, f"PUT /v2/demo/x HTTP/1.1\r\nContent-Length: {len(pushed)}\r\n\r\n{pushed}")
    assert answer.startswith("HTTP/1.1 405 ")
    assert answer.count("HTTP/1.1") == 1


def raw(registry: LayoutRegistry, request: str) -> str:
    """Everything that comes back until the registry closes the connection."""
    host, _, port = registry.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_a_manifest_whose_blob_is_gone_is_unknown(tmp_path: Path, built: tuple[Path, BuiltImage]) -> None:
    (tmp_path / "index.json").write_bytes((built[0] / "index.json").read_bytes())
    with LayoutRegistry(str(tmp_path)) as registry:
        client = HTTPConnection(registry.host, timeout=60)
        response, body = ask(client, "GET", "/v2/demo/manifests/latest")
        client.close()
    assert (response.status, error_code(body)) == (404, "MANIFEST_UNKNOWN")


def test_a_layer_is_no_manifest(client: HTTPConnection, small: Digest) -> None:
    response, _ = ask(client, "GET", f"/v2/demo/manifests/{small}")
    assert response.status == 404


def test_an_index_and_its_children_are_served(tmp_path: Path, built: tuple[Path, BuiltImage]) -> None:
    shutil.copytree(built[0], tmp_path, dirs_exist_ok=True)
    nested = (tmp_path / "index.json").read_bytes()
    digest = Digest.of(nested)
    (tmp_path / "blobs" / "sha256" / digest.hex).write_bytes(nested)
    entry = {
        "mediaType": OCI_INDEX,
        "digest": digest,
        "size": len(nested),
        "annotations": {"org.opencontainers.image.ref.name": "all"},
    }
    (tmp_path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    with LayoutRegistry(str(tmp_path), "team/demo") as registry:
        client = HTTPConnection(registry.host, timeout=60)
        index, _ = ask(client, "GET", "/v2/team/demo/manifests/all")
        child, _ = ask(client, "GET", f"/v2/team/demo/manifests/{built[1].manifest.digest}")
        inner_tag, _ = ask(client, "GET", "/v2/team/demo/manifests/latest")
        client.close()
    assert (index.status, index.headers["Content-Type"]) == (200, OCI_INDEX)
    assert (child.status, child.headers["Content-Type"]) == (200, OCI_MANIFEST)
    assert inner_tag.status == 404


def test_a_connection_serves_many_requests(client: HTTPConnection, small: Digest) -> None:
    ask(client, "GET", "/v2/")
    connection = client.sock
    ask(client, "GET", f"/v2/demo/blobs/{small}")
    ask(client, "HEAD", f"/v2/demo/blobs/{NOWHERE}")
    ask(client, "GET", f"/v2/demo/blobs/{NOWHERE}")
    ask(client, "GET", "/v2/demo/tags/list")
    assert connection is not None
    assert client.sock is connection


def test_what_was_served_is_counted(
    client: HTTPConnection, registry: LayoutRegistry, image: BuiltImage
) -> None:
    layer = image.layers[0].descriptor
    ask(client, "GET", "/v2/demo/manifests/latest")
    ask(client, "GET", f"/v2/demo/blobs/{layer.digest}")
    ask(client, "GET", f"/v2/demo/blobs/{layer.digest}", {"Range": "bytes=10-19"})
    served = registry.served
    assert served.requests == 3
    assert served.gets == {image.manifest.digest: 1, layer.digest: 2}
    assert served.sent == {image.manifest.digest: image.manifest.size, layer.digest: layer.size + 10}
    ask(client, "GET", "/v2/demo/manifests/latest")
    assert (served.requests, served.gets.total()) == (3, 3), "a copy does not change"


def test_counts_of_many_clients_at_once_are_exact(registry: LayoutRegistry, small: Digest) -> None:
    def get_often() -> None:
        client = HTTPConnection(registry.host, timeout=60)
        for _ in range(20):
            ask(client, "GET", f"/v2/demo/blobs/{small}")
        client.close()

    clients = [threading.Thread(target=get_often) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert registry.served.requests == 160
    assert registry.served.gets == {small: 160}


def test_leaving_it_ends_the_connections_that_are_kept_alive(built: tuple[Path, BuiltImage]) -> None:
    before = threading.active_count()
    with LayoutRegistry(str(built[0])) as registry:
        client = HTTPConnection(registry.host, timeout=60)
        ask(client, "GET", "/v2/")
    assert isinstance(client.sock, socket.socket)
    assert client.sock.recv(1) == b""
    client.close()
    assert threading.active_count() == before


def test_only_what_went_out_to_a_client_that_leaves_is_counted(tmp_path: Path) -> None:
    size = 64 << 20  # more than the sockets' buffers can take
    blob = Digest(NOWHERE)
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    with (tmp_path / "blobs" / "sha256" / blob.hex).open("wb") as sparse:
        sparse.truncate(size)
    (tmp_path / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    with LayoutRegistry(str(tmp_path)) as registry:
        client = HTTPConnection(registry.host, timeout=60)
        client.request("GET", f"/v2/demo/blobs/{blob}")
        client.getresponse().close()
        client.close()
    assert registry.served.gets[blob] == 1
    assert 0 <= registry.served.sent[blob] < size


def test_skopeo_pulls_the_image(registry: LayoutRegistry, image: BuiltImage, tmp_path: Path) -> None:
    options = ["--src-tls-verify=false"]
    skopeo_copy(f"docker://{registry.host}/demo:latest", f"oci:{tmp_path}:it", options)
    (listed,) = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    assert listed["digest"] == image.manifest.digest
    for layer in image.layers:
        assert registry.served.gets[layer.descriptor.digest] == 1
        assert registry.served.sent[layer.descriptor.digest] == layer.descriptor.size


def test_skopeo_inspects_the_image(registry: LayoutRegistry, image: BuiltImage) -> None:
    requires("skopeo")
    found = json.loads(
        run("skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/demo:latest")
    )
    assert found["Digest"] == image.manifest.digest
    assert found["RepoTags"] == ["latest"]
    assert found["Layers"] == [layer.descriptor.digest for layer in image.layers]
