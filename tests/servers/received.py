"""Answers of a mirror's service in this process, received as its server would send them."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from servers.asking import Fields

from layercache.cache import Cache
from layercache.registry.settings import RegistrySettings
from layercache.serve.messages import EventsAnswer, FileAnswer, Later, Request, StreamAnswer
from layercache.serve.service import Service
from layercache.serve.settings import ServeSettings
from layercache.tiers.opening import open_tier
from layercache.transfer.share import Share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from servers.images import Image
    from servers.lying import LyingRegistry

    from layercache.serve.messages import AnyAnswer


class Received(NamedTuple):
    """What a client gets. ``kind``: the class of the answer that it was sent by."""

    status: int
    headers: dict[str, str]
    body: bytes
    kind: str


def open_service(*urls: str, upstream: str, redirect: bool = False) -> Service:
    """The service of a mirror over tiers, with ``upstream`` as its default."""
    tiers = [open_tier(url, nearest=not number) for number, url in enumerate(urls)]
    settings = ServeSettings(default_upstream=upstream, redirect=redirect)
    registries = RegistrySettings(retries=1)
    return Service(Cache(tiers, registries=lambda: registries, finish=Share.parse("always")), settings)


@contextmanager
def mirror_of(upstream: LyingRegistry, image: Image, cache: Path) -> Iterator[Service]:
    """A mirror with an empty cache, which has asked for the manifest of the image ``app:1``."""
    upstream.add_image("1", image)
    with closing(open_service(f"file://{cache}", upstream=upstream.host)) as running:
        receive(running, "/v2/app/manifests/1")
        yield running


def begin(
    service: Service, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> AnyAnswer:
    """Ask, and wait for the answer's first bytes."""
    answer = service.answer(Request(method, path, {}, Fields(headers or {})))
    while isinstance(answer, Later):
        answer = answer.find()
    return answer


def rest(answer: StreamAnswer) -> bytes:
    """Read a body to its end. Raises what it breaks off with."""
    with closing(answer.rest):
        return b"".join([answer.first, *iter(answer.rest.read, b"")])


def receive(
    service: Service, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> Received:
    """Ask, and read the answer to its end."""
    answer = begin(service, path, headers, method)
    assert not isinstance(answer, Later | EventsAnswer)
    if isinstance(answer, FileAnswer):
        with open(answer.path, "rb") as file:
            file.seek(answer.start)
            body = file.read(answer.end - answer.start)
    elif isinstance(answer, StreamAnswer):
        body = rest(answer)
    else:
        body = answer.body
    found = {name.lower(): value for name, value in answer.headers}
    return Received(answer.status, found, body, type(answer).__name__)
