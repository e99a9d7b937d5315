"""How a path of a file system is split into the name of an image or a layer and a path inside."""

from __future__ import annotations

from layercache.errors import InvalidNameError
from layercache.oci.digest import Hash
from layercache.oci.reference import Reference


def split_image(path: str) -> tuple[str, str]:
    """Split ``ghcr.io/team/app:1.2/etc/os-release`` into the image and the path inside, without "/" around.

    An image has a tag or a digest there, and its name ends with that. So that no registry needs to be asked,
    a port is taken for a tag, unless its host has a "." or a capital, or is ``localhost``. Raises
    `InvalidNameError`.
    """
    parts = path.split("/")
    for at, part in enumerate(parts):
        if "@" in part or (":" in part and not (at == 0 and len(parts) > 1 and _is_registry(part))):
            name = "/".join(parts[: at + 1])
            Reference.parse(name)
            return name, "/".join(parts[at + 1 :]).strip("/")
    raise InvalidNameError(
        f"image://{path} does not show where the image's name ends",
        hint="write a tag or a digest, image://alpine:latest/etc/os-release, or open"
        ' fsspec.filesystem("image", image="alpine")',
    )


def split_layer(path: str) -> tuple[str, str]:
    """Split ``sha256:…/etc/os-release`` into the hash and the path inside. Raises `InvalidNameError`."""
    name, _, inside = path.partition("/")
    try:
        return Hash(name), inside.strip("/")
    except InvalidNameError as error:
        raise InvalidNameError(
            f"layer://{path} does not begin with a digest or a diff ID",
            hint="wanted layer://sha256:<64 hex digits>/PATH",
        ) from error


def _is_registry(part: str) -> bool:
    host = part.partition(":")[0]
    return host == "localhost" or "." in host or host.startswith("[") or host != host.lower()
