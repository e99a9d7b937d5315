"""``layercache manifest``: prints an image's manifest, config or digest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from layercache.cli.command import Command
from layercache.cli.completing import complete_image
from layercache.cli.registry_options import registry_options
from layercache.errors import NotFoundError

if TYPE_CHECKING:
    from layercache.cache import Cache
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("image", shell_complete=complete_image)
@click.option("--config", is_flag=True, help="Print the config instead.")
@click.option("--digest", is_flag=True, help="Print the digest instead: of the manifest, or of the config.")
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Print the manifest of this platform. Default: what the name leads to, which may be an index.",
)
@registry_options
@click.pass_obj
def manifest(
    session: Session, /, image: str, config: bool, digest: bool, platform: str | None, **registries: Any
) -> None:
    """Print the manifest of an image, byte for byte.

    The documents are fetched if they are not cached, layers are not. An image of several platforms has an
    index, which lists a manifest for each.
    """
    with session.cache(creates=True, **registries) as cache:
        name, data = _config(cache, image, platform) if config else _manifest(cache, image, platform)
    if sys.stdout is not None:
        sys.stdout.flush()
        sys.stdout.buffer.write(f"{name}\n".encode() if digest else data)


def _manifest(cache: Cache, name: str, platform: str | None) -> tuple[str, bytes]:
    """The digest and the bytes of what a name leads to, or of its manifest for a platform."""
    if platform is None:
        descriptor, data = cache.manifest(name)
        return descriptor.digest, data
    image = cache.image(name, platform=platform)
    return image.digest, image.raw_manifest


def _config(cache: Cache, name: str, platform: str | None) -> tuple[str, bytes]:
    image = cache.image(name, platform=platform)
    if not image.raw_config:
        raise NotFoundError(f"{image.name} has no config")
    return image.manifest["config"]["digest"], image.raw_config
