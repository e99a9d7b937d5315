"""``layercache info``: shows what the cache knows about a layer, a blob or an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.command import Command
from layercache.cli.completing import complete_name
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.registry_options import registry_options
from layercache.cli.short_hashes import full_name, looks_like_hash
from layercache.cli.terminal import echo

if TYPE_CHECKING:
    from layercache.cache.layer_info import LayerInfo
    from layercache.cli.session import Session


@click.command(cls=Command)
@click.argument("name", metavar="HASH|IMAGE", shell_complete=complete_name)
@click.option(
    "--platform",
    metavar="OS/ARCH[/VARIANT]",
    help="Platform of the image. Default: Linux on this machine's architecture.",
)
@registry_options
@json_option
@no_trunc_option
@click.pass_obj
def info(
    session: Session, /, name: str, platform: str | None, as_json: bool, no_trunc: bool, **registries: Any
) -> None:
    """Show what the cache knows about a layer, a blob or an image.

    For a layer, shows both names, sizes, the forms that each tier holds, and the images that use it. For
    these, remote tiers behind the nearest one are not searched.
    An association is computed if the blob was inflated and both forms were hashed, and claimed if only an
    image's config states it. Associations are shown even if neither form is cached any more.

    For an image, shows its documents and layers as they were last pulled, with the command that made each
    layer, and what is cached. If it is not cached, its documents are fetched; its layers are not.
    """
    from layercache.cache.layer_info import LayerInfo

    with session.cache(creates=not looks_like_hash(name), **registries) as cache:
        found = cache.info(full_name(cache, name) if looks_like_hash(name) else name, platform=platform)
    if as_json:
        output.document(found)
    elif isinstance(found, LayerInfo):
        _print(found)
    else:
        from layercache.cli import image_info

        image_info.show(found, whole=no_trunc)


def _print(info: LayerInfo) -> None:
    if info.diff_id:
        _field("diff ID", info.diff_id, _size(info.uncompressed_size))
    for blob in info.blobs:
        state = "no diff ID" if info.diff_id is None else "computed" if blob.computed else "claimed"
        _field("digest", blob.digest, f"{_size(blob.size)}, {blob.media_type}, {state}")
    for place in info.tiers:
        forms = (("compressed", bool(place.compressed)), ("uncompressed", place.uncompressed))
        _field("tier", place.tier, " and ".join(form for form, held in forms if held) or "not cached here")
    for image in info.images:
        _field("image", image)


def _field(title: str, value: str, more: str = "") -> None:
    echo(f"{title:<8} {value}")
    if more:
        echo(f"{'':<8} {more}")


def _size(size: int | None) -> str:
    return "size unknown" if size is None else f"{size} bytes ({output.human(size)})"
