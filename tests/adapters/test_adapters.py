"""The adapters, each with the real library, against a registry or a daemon on this machine."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from servers.daemons import dockerd
from servers.images import make_image, make_layer, noise
from servers.lying import status, wrong_bytes

import layercache
from layercache import Digest, DigestMismatchError, NotFoundError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from servers.lying import LyingRegistry
    from starlette.requests import Request
    from starlette.responses import Response

    from layercache import Cache

    Fetch = Callable[[Digest], BinaryIO]
    Maker = Callable[[LyingRegistry], AbstractContextManager[Fetch]]

LAYER = make_layer({"file": noise(200_000)})


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with layercache.open(tmp_path / "cache") as cache:
        yield cache


@contextmanager
def by_requests(registry: LyingRegistry) -> Iterator[Fetch]:
    requests = pytest.importorskip("requests")
    from layercache.adapters.requests import fetch_from

    with requests.Session() as session:
        yield fetch_from(session, f"http://{registry.host}/v2/app")


@contextmanager
def by_httpx(registry: LyingRegistry) -> Iterator[Fetch]:
    httpx = pytest.importorskip("httpx")
    from layercache.adapters.httpx import fetch_from

    with httpx.Client() as client:
        yield fetch_from(client, f"http://{registry.host}/v2/app")


@contextmanager
def by_oras(registry: LyingRegistry) -> Iterator[Fetch]:
    oras = pytest.importorskip("oras.client")
    from layercache.adapters.oras import fetch_from

    client = oras.OrasClient(hostname=registry.host, insecure=True)
    with client.session:
        yield fetch_from(client, f"{registry.host}/app")


@pytest.mark.parametrize("make", [by_requests, by_httpx, by_oras])
def test_a_layer_comes_by_another_client_once(make: Maker, cache: Cache, lying: LyingRegistry) -> None:
    digest = lying.add_blob(LAYER.blob).digest
    with make(lying) as fetch:
        for _ in range(2):
            with cache.layer(digest, diff_id=LAYER.diff_id, fetch=fetch).uncompressed() as tar:
                assert tar.read() == LAYER.tar
    (request,) = lying.asked(f"/blobs/{digest}")
    assert request.headers.get("accept-encoding", "identity") == "identity" or make is by_oras
    assert cache.counters.fetched == 1


@pytest.mark.parametrize("make", [by_requests, by_httpx, by_oras])
def test_what_another_client_brings_is_checked_and_its_errors_are_those_of_a_source(
    make: Maker, cache: Cache, lying: LyingRegistry
) -> None:
    digest = lying.add_blob(LAYER.blob).digest
    with make(lying) as fetch:
        layer = cache.layer(digest, fetch=fetch)
        lying.on("/blobs/", wrong_bytes)
        with pytest.raises(DigestMismatchError):
            layer.fill("compressed")
        lying.on("/blobs/", status(404))
        with pytest.raises(SourceError, match="404"):
            layer.fill("compressed")
    assert digest not in cache


@pytest.mark.slow
def test_layers_come_out_of_a_docker_daemon(cache: Cache, lying: LyingRegistry) -> None:
    docker = pytest.importorskip("docker")
    from layercache.adapters.docker import DaemonImage

    layers = [LAYER, make_layer({"upper": b"upper"})]
    name = lying.add_image("1", make_image(layers))
    with dockerd() as host:
        client: Any = docker.DockerClient(base_url=host)
        cache.pull(name, platform="linux/amd64", form="both")
        load(cache, name, client)
        with (
            layercache.open("memory://other") as other,
            DaemonImage(client, client.images.list()[0].id) as image,
        ):
            assert image.diff_ids == [layer.diff_id for layer in layers]
            for layer in layers:
                with other.layer(str(layer.diff_id), fetch=image.fetch).uncompressed() as tar:
                    assert tar.read() == layer.tar
            assert other.counters.fetched == 2
            with pytest.raises(NotFoundError, match="is not a layer of"):
                image.fetch(layer.digest)
        client.close()


def test_an_image_whose_saving_broke_off_is_saved_again_from_its_start(
    cache: Cache, lying: LyingRegistry, tmp_path: Path
) -> None:
    from layercache.adapters.docker import DaemonImage

    name = lying.add_image("1", make_image([LAYER]))
    cache.pull(name, platform="linux/amd64", form="both")
    cache.export(name, f"docker-archive:{tmp_path}/a.tar:app:1", platform="linux/amd64")
    archive = (tmp_path / "a.tar").read_bytes()

    class Saved:
        """What docker-py has for an image: a connection that breaks at first."""

        attrs: ClassVar = {"RootFS": {"Layers": [str(LAYER.diff_id)]}}
        short_id = "app"
        tries = 0

        def save(self) -> Iterator[bytes]:
            self.tries += 1
            yield archive[:100_000]
            if self.tries == 1:
                raise ConnectionError("the daemon has gone")
            yield archive[100_000:]

    client: Any = SimpleNamespace(images=SimpleNamespace(get=lambda _: Saved()))
    with DaemonImage(client, "app") as image:
        with pytest.raises(ConnectionError):
            image.fetch(Digest(LAYER.diff_id))
        with image.fetch(Digest(LAYER.diff_id)) as tar:
            assert tar.read() == LAYER.tar


def load(cache: Cache, name: str, client: Any) -> None:
    import io
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache.export(name, f"docker-archive:{folder}/a.tar:app:1", platform="linux/amd64")
        with open(f"{folder}/a.tar", "rb") as file:
            client.images.load(io.BytesIO(file.read()))


def test_passes_are_spans_below_the_span_that_asked_for_them(cache: Cache, lying: LyingRegistry) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from layercache.adapters.otel import traced

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    name = lying.add_image("1", make_image([LAYER, make_layer({"upper": b"upper"})]))
    with traced(cache, tracer), tracer.start_as_current_span("job") as job:
        cache.pull(name, platform="linux/amd64", form="both")
        cache.get(LAYER.digest).fill("compressed")
    wrong = cache.layer(lying.add_blob(b"other").digest, repository=f"{lying.host}/app")
    lying.on("/blobs/", *[wrong_bytes] * 9)
    with traced(cache, tracer), pytest.raises(DigestMismatchError):
        wrong.fill("compressed")
    spans = exporter.get_finished_spans()
    passes = [span for span in spans if span.name != "job" and span.parent]
    assert (
        sorted(span.name for span in passes)
        == ["layercache.compressed"] * 2 + ["layercache.uncompressed"] * 2
    )
    assert {span.parent.span_id for span in passes if span.parent} == {job.get_span_context().span_id}
    (fetched,) = [
        span for span in passes if span.attributes and span.attributes["layercache.hash"] == LAYER.digest
    ]
    assert fetched.attributes is not None
    assert fetched.attributes["layercache.size"] == len(LAYER.blob)
    assert fetched.attributes["layercache.place"] == "registry"
    ended = next(span for span in spans if span.name == "job")
    assert "layercache.hit" in {event.name for event in ended.events}
    (failed,) = [span for span in spans if not span.status.is_ok and span.status.description]
    assert wrong.digest in str(failed.status.description)


def test_starlette_answers_with_a_layer_or_a_part_of_it(tmp_path: Path) -> None:
    """Over a socket: tests/examples."""
    pytest.importorskip("starlette")
    httpx = pytest.importorskip("httpx")
    from starlette.applications import Starlette
    from starlette.routing import Route

    from layercache import aio
    from layercache.adapters.starlette import layer_response

    (tmp_path / "layer").write_bytes(LAYER.blob)

    async def answer(request: Request) -> Response:
        form = request.query_params.get("form", "compressed")
        return await layer_response(request, request.app.state.cache, request.path_params["name"], form)

    async def main() -> None:
        app = Starlette(routes=[Route("/{name}", answer)])
        transport = httpx.ASGITransport(app)
        async with (
            aio.open(tmp_path / "cache") as app.state.cache,
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            await app.state.cache.put(tmp_path / "layer")

            async def get(name: str, ranges: str = "", condition: str = "") -> Any:
                given = {"range": ranges, "if-range": condition}
                return await client.get(
                    f"/{name}", headers={key: each for key, each in given.items() if each}
                )

            whole = await get(LAYER.digest)
            tag = whole.headers["etag"]
            assert (whole.status_code, whole.content, tag) == (200, LAYER.blob, f'"{LAYER.digest}"')
            for ranges, part in {"0-9": LAYER.blob[:10], "5-": LAYER.blob[5:], "-3": LAYER.blob[-3:]}.items():
                found = await get(LAYER.digest, f"bytes={ranges}", tag)
                assert (found.status_code, found.content) == (206, part)
            for ranges, condition in (("bytes=0-1", '"other"'), ("bytes=0-1,5-6", ""), ("lines=1-2", "")):
                assert (await get(LAYER.digest, ranges, condition)).content == LAYER.blob, "all of it"
            beyond = await get(LAYER.digest, f"bytes={len(LAYER.blob)}-")
            assert (beyond.status_code, beyond.headers["content-range"]) == (
                416,
                f"bytes */{len(LAYER.blob)}",
            )
            head = await client.head(f"/{LAYER.digest}")
            assert (head.status_code, head.content) == (200, b"")
            same = "etag", "content-length", "accept-ranges", "content-type"
            assert [head.headers[key] for key in same] == [whole.headers[key] for key in same]
            inflated = app.state.cache.sync.counters.inflated
            assert (await client.head(f"/{LAYER.diff_id}?form=uncompressed")).status_code == 200
            assert app.state.cache.sync.counters.inflated == inflated, "a HEAD reads nothing"
            tar = await get(f"{LAYER.diff_id}?form=uncompressed", "bytes=512-1023")
            assert (tar.status_code, tar.content) == (206, LAYER.tar[512:1024])
            wrong = f"{LAYER.digest}?form=zip", "alpine", "sha256:" + 64 * "0"
            assert [(await get(name)).status_code for name in wrong] == [400, 400, 404]

    asyncio.run(main())
