"""Lists the tags of a repository: those of its registry, or those that are cached."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from layercache.errors import InvalidNameError, NotFoundError
from layercache.oci.reference import Reference
from layercache.sources.names import REGISTRY, registry_reference
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from layercache.oci.digest import Digest
    from layercache.registry.client import RegistryClient
    from layercache.sources.origin import BlobSource
    from layercache.tiers.tier import Tier


def repository_of(name: str) -> Reference:
    """Parse the name of a repository in a registry, which has neither tag nor digest.

    Raises `InvalidNameError`, and `ConfigError` for a path or another transport.
    """
    if (reference := registry_reference(name)) is None:
        raise InvalidNameError(
            f"not a repository in a registry: {name!r}",
            hint="only registries list tags: debian, ghcr.io/team/app",
        )
    name = name.removeprefix(REGISTRY)
    if "@" in name or ":" in name.rpartition("/")[2]:
        raise InvalidNameError(
            f"not a repository: {name!r}", hint="leave out the tag and the digest: debian, ghcr.io/team/app"
        )
    return reference


def blob_source(
    digest: Digest,
    size: int | None,
    fetch: Callable[[Digest], BinaryIO] | None,
    repository: str | None,
    client: Callable[[], RegistryClient],
) -> BlobSource:
    """Where a blob comes from: a program's function, or a registry's repository, which ``client`` reaches.

    Raises `InvalidNameError`, `ConfigError`.
    """
    if fetch:
        from layercache.sources.function import FunctionSource

        return FunctionSource(digest, fetch)
    from layercache.sources.registry import RepositoryBlob

    assert repository is not None, "one of both is given"
    return RepositoryBlob(client(), repository_of(repository), digest, size)


def tags_in_registry(client: RegistryClient, reference: Reference) -> list[str]:
    """Return the tags of a reference's repository, sorted: registries list them in any order.

    A registry can list anything: what is not a valid tag is left out. Raises `NotFoundError` if there is no
    tag, `SourceError`.
    """
    from layercache.registry.repository import Repository

    listed = Repository(client, reference.registry, reference.repository).tags()
    tags = sorted({tag for tag in listed if _is_valid(reference, tag)})
    if not tags:
        raise NotFoundError(
            f"{reference.name} has no tags",
            looked_in=[reference.registry],
            hint="the repository is empty, or does not exist",
        )
    return tags


def cached_tags(tiers: Iterable[Tier], reference: Reference) -> list[str]:
    """Return the tags of a reference's repository that were pulled, sorted. Raises `NotFoundError`."""
    tiers = list(tiers)
    folder = keys.image_tag(reference.registry, reference.repository, "")
    found = {key.removeprefix(folder) for tier in tiers for key in tier.images.listed(folder)}
    if not found:
        raise NotFoundError(
            f"no tag of {reference.name} is cached",
            looked_in=[tier.name for tier in tiers],
            hint="pull one, or list those of the registry while online",
        )
    return sorted(found)


def _is_valid(reference: Reference, tag: str) -> bool:
    with suppress(InvalidNameError):
        return bool(Reference(reference.registry, reference.repository, tag))
    return False
