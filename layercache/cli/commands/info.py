"""``layercache info``: shows what the cache knows about a layer, a blob or an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from layercache.cli import output
from layercache.cli.cached_images import image_named, images_using, listed
from layercache.cli.command import Command
from layercache.cli.completing import complete_name
from layercache.cli.output_options import json_option, no_trunc_option
from layercache.cli.registry_options import registry_options
from layercache.cli.short_hashes import full_name, looks_like_hash
from layercache.cli.terminal import echo
from layercache.errors import NotFoundError
from layercache.value import Value, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layercache.cache import Cache
    from layercache.cli.session import Session
    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.tiers.association import Association
    from layercache.tiers.tier import Tier


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
    from layercache.cli import image_info

    if looks_like_hash(name):
        with session.cache(**registries) as cache:
            hash = full_name(cache, name)
            image = image_named(listed(cache), hash)
            found = None if image else _gather(cache, hash)
        if found is not None:
            _show(found, as_json=as_json)
            return
        name = image
        session = replace(session, offline=True)  # who asks by a hash asks the cache
    image_info.show(
        image_info.find_image(session, name, platform, registries), as_json=as_json, whole=no_trunc
    )


def _show(found: Info, *, as_json: bool) -> None:
    if as_json:
        output.document(found)
    else:
        _print(found)


class Blob(Value, frozen=True):
    """The compressed form under one of its digests."""

    digest: Digest
    size: int
    media_type: str
    computed: bool


class Place(Value, frozen=True):
    """The forms of a layer that a tier holds."""

    tier: str
    compressed: list[Digest]
    uncompressed: bool


class Info(Value, frozen=True):
    """``diff_id`` is None for a blob that has no association: not a layer, or not inflated yet."""

    diff_id: DiffID | None
    uncompressed_size: int | None
    blobs: list[Blob]
    tiers: list[Place]
    images: list[str]


def _gather(cache: Cache, name: Hash) -> Info:
    """Raise `NotFoundError` if no tier holds the name or an association of it."""
    facts = _facts(cache.tiers, name)
    if facts:
        diff_id = facts[0].diff_id
        blobs = [Blob(fact.digest, fact.size, fact.media_type, fact.computed) for fact in facts]
    else:
        diff_id, blobs = None, [_unknown(cache.tiers, name)]
    sizes = (fact.uncompressed_size for fact in facts if fact.uncompressed_size is not None)
    digests = [blob.digest for blob in blobs]
    tiers = [_place(tier, digests, diff_id) for tier in cache.tiers]
    return Info(diff_id, next(sizes, None), blobs, tiers, images_using(listed(cache), digests))


def _facts(tiers: Sequence[Tier], name: Hash) -> list[Association]:
    """Return one association for each blob of the layer, from the nearest tier that has one."""
    from layercache.oci.digest import DiffID
    from layercache.resolver.lookup import believed

    own = [fact for tier in tiers for fact in believed(tiers, tier, tier.facts.about(name)[0])]
    diff_id = own[0].diff_id if own else DiffID(name)
    found: dict[Digest, Association] = {}
    for tier in tiers:
        for fact in believed(tiers, tier, tier.facts.made_from(diff_id, claims=True)):
            found.setdefault(fact.digest, fact)
    return list(found.values()) or own[:1]


def _unknown(tiers: Sequence[Tier], name: Hash) -> Blob:
    """Describe a blob that has no association. Raises `NotFoundError`."""
    from layercache.oci.descriptor import OCTETS
    from layercache.oci.digest import Digest
    from layercache.resolver.absence import not_found

    for tier in tiers:
        try:
            size = tier.blobs.stat(name).size
        except NotFoundError:
            continue
        return Blob(Digest(name), size, OCTETS, computed=False)
    raise not_found(tiers, f"{name} is not cached")


def _place(tier: Tier, digests: Iterable[Digest], diff_id: DiffID | None) -> Place:
    compressed = [digest for digest in digests if tier.blobs.has(digest)]
    return Place(tier.name, compressed, diff_id is not None and tier.blobs.has(diff_id))


def _print(info: Info) -> None:
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
