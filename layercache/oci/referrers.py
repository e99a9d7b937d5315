"""Lists of referrers: what refers to a manifest as its subject (distribution-spec, "Listing Referrers")."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from layercache.errors import FormatError, InvalidNameError
from layercache.oci.descriptor import Descriptor, Manifest, decode, decode_object
from layercache.oci.digest import Digest

Listed = dict[str, Any]
"""A descriptor with all of its fields, as a registry lists it."""

ENTRIES_MAX = 10_000


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    subject: Descriptor | None = None


def fallback_tag(subject: Digest) -> str:
    """The tag of the list in a registry without the API (distribution-spec, "Referrers Tag Schema")."""
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def entries_of(data: bytes, what: str) -> list[Listed]:
    """The descriptors of an index that lists referrers; what is not a descriptor is left out.

    Raises `FormatError`, which calls the index ``what``.
    """
    fields = decode_object(data, what).get("manifests") or []
    if not isinstance(fields, list):
        raise FormatError(f"{what} is not an index: manifests is not an array")
    return [each for each in fields if _is_descriptor(each)][:ENTRIES_MAX]


def referrer(descriptor: Descriptor, data: bytes) -> tuple[Digest, Listed] | None:
    """The subject of a manifest or an index, and how it is listed there; None if it has none."""
    with suppress(FormatError):
        subject = decode(data, _Subject, descriptor.digest).subject
        if subject is None:
            return None
        fields = decode_object(data, descriptor.digest)
        listed = {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
        kind = fields.get("artifactType")
        if not kind:
            with suppress(FormatError):
                kind = decode(data, Manifest, descriptor.digest).config.media_type
        more = {"artifactType": kind, "annotations": fields.get("annotations")}
        return subject.digest, listed | {name: value for name, value in more.items() if value}
    return None


def _is_descriptor(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("mediaType"), str):
        return False
    size, digest = value.get("size"), value.get("digest")
    with suppress(InvalidNameError):
        return type(size) is int and size >= 0 and isinstance(digest, str) and bool(Digest(digest))
    return False
