"""Every object name that the cache uses is made here, and taken apart here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layercache.oci.digest import Digest, Hash

if TYPE_CHECKING:
    from layercache.oci.reference import Reference

OCI_LAYOUT = "oci-layout"
INDEX = "index.json"
BLOBS = "blobs/"
RECORDS = "records/"
IMAGES = "images/"
DERIVED = "derived/"
QUARANTINE = "quarantine/"
UNSENT = "unsent/"
LEASES = "leases/"
UPLOADS = ".uploads"
"""The folder, in a cache on disk, of what is being pushed to a mirror. Nothing in it has a key."""

_KIND = r"[a-z][a-z0-9-]{0,63}"


def blob(name: Hash) -> str:
    """Either form of a layer, a manifest, a config: bytes under their own hash, as in an OCI layout."""
    return f"{BLOBS}{name.replace(':', '/')}"  # no call for it: a listing asks for a million names


def blob_name(key: str) -> Hash | None:
    """The hash that a blob's key stands for; None for any other key."""
    return _hash_of(key[len(BLOBS) :]) if key.startswith(BLOBS) else None


def record(name: Hash) -> str:
    """All that is known of a name, as a digest and as a diff ID."""
    return f"{RECORDS}{name.replace(':', '/')}"


def record_name(key: str) -> Hash | None:
    """The name that a record's key stands for; None for any other key."""
    return _hash_of(key[len(RECORDS) :]) if key.startswith(RECORDS) else None


def derived(kind: str, name: Hash) -> str:
    """What was computed from a blob. ``kind`` is lower-case letters, digits and "-", the version last.

    Raises `ValueError` for another kind.
    """
    if not re.fullmatch(_KIND, kind):
        raise ValueError(f"not a kind of derived object: {kind!r}")
    return f"{derived_of(name)}{kind}"


def derived_of(name: Hash) -> str:
    """The folder of what was computed from a blob."""
    return f"{DERIVED}{_as_path(name)}/"


def derived_name(key: str) -> tuple[str, Hash] | None:
    """Kind and blob of a derived object's key; None for other keys."""
    match key.split("/"):
        case ["derived", *blob, kind] if re.fullmatch(_KIND, kind) and (name := _hash_of("/".join(blob))):
            return kind, name
    return None


def image_folder(registry: str, repository: str) -> str:
    """The folder of the images of a repository, with a "/" at its end."""
    return _repository(registry, repository)


def image_tag(registry: str, repository: str, tag: str) -> str:
    return f"{_repository(registry, repository)}_tags/{tag}"


def image_digest(registry: str, repository: str, digest: Digest) -> str:
    return f"{_repository(registry, repository)}_digests/{_joined(digest)}"


def image_key(reference: Reference) -> str:
    """The key of a reference: by digest if it has one, else by tag."""
    from layercache.oci.reference import DEFAULT_TAG

    if reference.digest:
        return image_digest(reference.registry, reference.repository, reference.digest)
    return image_tag(reference.registry, reference.repository, reference.tag or DEFAULT_TAG)


def image_key_by_digest(key: str, digest: Digest) -> str:
    """The key by a digest in the repository of another image's key."""
    return f"{key.rpartition('/')[0].rpartition('/')[0]}/_digests/{_joined(digest)}"


def quarantine(key: str) -> str:
    """Where an object is kept that was found wrong."""
    return f"{QUARANTINE}{key}"


def is_image(key: str) -> bool:
    """Whether a key is one of `image_tag` or `image_digest`."""
    return key.startswith(IMAGES) and key.split("/")[-2] in ("_tags", "_digests")


def unsent(tier: str, key: str) -> str:
    """The note that an object was not sent to a tier; with an empty key, the folder of that tier's notes."""
    return f"{UNSENT}{Digest.of(tier.encode()).hex[:16]}/{key}"


def lease(name: Digest) -> str:
    """By whom a blob is being fetched for all machines."""
    return f"{LEASES}{_as_path(name)}"


def image_name(key: str) -> str:
    """The reference that an image's key stands for."""
    repository, _, name = key.removeprefix(IMAGES).rpartition("/")
    if repository.endswith("/_digests"):
        return f"{_with_brackets(repository.removesuffix('/_digests'))}@{name.replace('-', ':', 1)}"
    return f"{_with_brackets(repository.removesuffix('/_tags'))}:{name}"


def digest_in(key: str) -> str:
    """The digest that an image's key ends in; nothing where it ends in a tag."""
    folder, _, name = key.rpartition("/")
    return name.replace("-", ":", 1) if folder.endswith("/_digests") else ""


def image_repository(key: str) -> str:
    """The repository of an image's key, without its registry."""
    return key.removeprefix(IMAGES).rpartition("/")[0].rpartition("/")[0].partition("/")[2]


def _with_brackets(repository: str) -> str:
    host, slash, path = repository.partition("/")
    if host.startswith("_"):
        host = host.replace("_", "[", 1).replace("_", "]", 1)
    return f"{host}{slash}{path}"


def _repository(registry: str, repository: str) -> str:
    # An IPv6 literal's brackets are not key characters; no host name contains a "_".
    host = registry.replace("[", "_").replace("]", "_")
    return f"{IMAGES}{host}/{repository}/"


def _as_path(name: Hash) -> str:
    return name.replace(":", "/")


def _joined(name: Hash) -> str:
    return name.replace(":", "-")


def _hash_of(path: str) -> Hash | None:
    try:
        return None if ":" in path else Hash(path.replace("/", ":", 1))
    except ValueError:
        return None
