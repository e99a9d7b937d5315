"""Parses names of sources: a transport's prefix, as in skopeo, or a registry's reference."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from layercache.errors import ConfigError, InvalidNameError
from layercache.oci.digest import Digest
from layercache.oci.reference import DEFAULT_REGISTRY, Reference, without_user

if TYPE_CHECKING:
    from collections.abc import Callable


LAYOUT = "oci:"
OCI_ARCHIVE = "oci-archive:"
ARCHIVE = "docker-archive:"
REGISTRY = "docker://"
KNOWN = (
    "[docker://]REGISTRY/REPOSITORY[:TAG][@DIGEST]",
    "oci:PATH[:REF][@DIGEST]",
    "oci-archive:PATH[:REF][@DIGEST]",
    "docker-archive:PATH[:REF]",
)

# containers-transports(5), and other tools' prefixes: what would else be read as an image of that name.
OTHERS = re.compile(
    r"(?:containers-storage|dir|docker-daemon|oci-layout|ostree|sif|tarball|containerd|podman):"
    r"|[a-z][a-z0-9+.-]*://"
)
_AT_DIGEST = re.compile(r"(.*?)@((?:sha256|sha512):[0-9a-f]+)", re.DOTALL)


def registry_reference(name: str) -> Reference | None:
    """Parse a registry's reference; None for the name of an OCI layout or an archive.

    Raises `ConfigError` for an unknown transport, `InvalidNameError` for what is not a reference.
    """
    if name.startswith((LAYOUT, OCI_ARCHIVE, ARCHIVE)):
        return None
    text = name.removeprefix(REGISTRY)
    if OTHERS.match(text):
        transport = text.partition(":")[0]
        raise ConfigError(
            f"unknown transport {transport}: in {without_user(name)!r}", hint=f"known are {', '.join(KNOWN)}"
        )
    return Reference.parse(text)


def registry_hint(text: str) -> str:
    """A hint for the path of a missing OCI layout that looks like a registry's image; "" for any other.

    Helm and this cache's own tiers write ``oci://HOST/REPOSITORY``.
    """
    try:
        reference = Reference.parse(text.removeprefix("//"))
    except InvalidNameError:
        return ""
    if text.startswith("//") or reference.registry != DEFAULT_REGISTRY:
        return f"an image in a registry has no prefix: {text.removeprefix('//')}"
    return ""


def split_path(text: str, is_there: Callable[[str], bool]) -> tuple[str, str]:
    """Split a path from what follows its ":" ("" for nothing), which may contain more of them.

    The path ends at the first ":", as with skopeo; but where nothing is there, it goes on to the first
    ":" (or the end) up to which something is. So ``/a:b/layout`` can be named too. No shell expands a "~"
    that follows a prefix, so this does.
    """
    text = os.path.expanduser(text)
    ends = [match.start() for match in re.finditer(":", text)] + [len(text)]
    end = next((each for each in ends if is_there(text[:each])), ends[0])
    return text[:end], text[end + 1 :]


def split_digest(text: str) -> tuple[str, Digest | None]:
    """Split a name from the digest after its last "@", if there is one. Raises `InvalidNameError`."""
    found = _AT_DIGEST.fullmatch(text)
    return (found[1].removesuffix(":"), Digest(found[2])) if found else (text, None)
