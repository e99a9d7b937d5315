"""Parses names of sources: a transport's prefix, as in skopeo, or a registry's reference."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from layercache.errors import ConfigError, InvalidNameError, wrong_type
from layercache.oci.digest import Digest
from layercache.oci.reference import DEFAULT_REGISTRY, Reference, without_user

if TYPE_CHECKING:
    from collections.abc import Callable


LAYOUT = "oci:"
OCI_ARCHIVE = "oci-archive:"
ARCHIVE = "docker-archive:"
REGISTRY = "docker://"
IMAGE_NAME = "the name of an image, a str (alpine:3.20, oci:PATH)"
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
_TAR = re.compile(r".*\.(?:tar(?:\.(?:gz|zst|xz|bz2))?|tgz|tzst)", re.DOTALL)
_AT_DIGEST = re.compile(r"(.*?)@((?:sha256|sha512):[0-9a-f]+)", re.DOTALL)


def registry_reference(name: str) -> Reference | None:
    """Parse a registry's reference; None for the name of an OCI layout or an archive.

    Raises `ConfigError` for an unknown transport and for the path of a file or folder, `InvalidNameError` for
    what is not a reference.
    """
    if not isinstance(name, str):
        raise wrong_type(IMAGE_NAME, name)
    if name.startswith((LAYOUT, OCI_ARCHIVE, ARCHIVE)):
        return None
    text = name.removeprefix(REGISTRY)
    if OTHERS.match(text):
        transport, _, rest = text.partition(":")
        raise ConfigError(
            f"unknown transport {transport}: in {without_user(name)!r}",
            hint=_transport_hint(transport, without_user(rest.removeprefix("//"))),
        )
    if looks_like_path(name):
        raise ConfigError(f"{name} is a path, not an image in a registry", hint=_path_hint(name))
    return Reference.parse(text)


def looks_like_path(name: str) -> bool:
    """Whether a name is more likely the path of a file or folder than that of an image."""
    return name.startswith(("/", "./", "../", "~")) or name in (".", "..") or bool(_TAR.fullmatch(name))


def _path_hint(path: str) -> str:
    found = os.path.expanduser(path)
    if os.path.isdir(found):
        return f"an OCI layout is named {LAYOUT}{path}"
    if os.path.isfile(found) or _TAR.fullmatch(path):
        return f"an archive of docker save is named {ARCHIVE}{path}"
    return f"write {LAYOUT}{path} for an OCI layout, {ARCHIVE}{path} for an archive of docker save"


def _transport_hint(transport: str, rest: str) -> str:
    """What to write instead of another tool's transport."""
    if transport == "https":
        return f"leave out https://: {rest}"
    if transport == "http":
        return (
            f"leave out http://, and connect without TLS with --plain-http {rest.partition('/')[0]}: {rest}"
        )
    known = f"known are {', '.join(KNOWN)}"
    match transport:
        case "dir" | "containers-storage" | "ostree" | "sif":
            return f"{known}; convert it first: skopeo copy {transport}:{rest} {LAYOUT}FOLDER:TAG"
        case "docker-daemon" | "podman" | "containerd":
            save = "podman save" if transport == "podman" else "docker save"
            return f"{known}; save it first: {save} -o FILE {rest}, and name that: {ARCHIVE}FILE"
        case _:
            return known


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
