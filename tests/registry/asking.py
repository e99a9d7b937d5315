"""How the tests of registries ask a lying one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layercache.oci.reference import Reference
from layercache.registry.repository import Repository
from layercache.registry.settings import RegistrySettings
from layercache.sources.registry import RegistryClient, RegistrySource

if TYPE_CHECKING:
    from servers.lying import LyingRegistry

    from layercache.oci.descriptor import Descriptor


class Waits(list[float]):
    """Instead of sleeping: what would have been slept."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def source_of(lying: LyingRegistry, waits: Waits, tag: str = "1", **settings: Any) -> RegistrySource:
    client = RegistryClient(RegistrySettings(**{"read_timeout": 20, **settings}), sleep=waits)
    return RegistrySource(client, Reference.parse(f"{lying.host}/app:{tag}"))


def repository_of(lying: LyingRegistry, waits: Waits, **settings: Any) -> Repository:
    client = RegistryClient(RegistrySettings(**{"read_timeout": 20, **settings}), sleep=waits)
    return Repository(client, lying.host, "app")


def read(source: RegistrySource, descriptor: Descriptor, start: int = 0) -> bytes:
    with source.open_blob(descriptor, start) as reader:
        return reader.read()


def ranges(lying: LyingRegistry) -> list[str | None]:
    """The ranges of blobs that were asked for, in order."""
    return [request.headers.get("range") for request in lying.asked("GET /v2/app/blobs/")]
