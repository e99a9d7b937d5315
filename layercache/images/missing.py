"""What to say of an image of which a part is not cached: whether it was removed, or was never pulled."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from layercache.errors import BackendError
from layercache.oci.documents import DOCUMENTS
from layercache.resolver.absence import not_found
from layercache.tiers import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layercache.errors import LayercacheError
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest
    from layercache.oci.reference import Reference
    from layercache.tiers.tier import Tier


NAMES_SHOWN = 3


def missing_image(tiers: Sequence[Tier], reference: Reference, hint: str) -> LayercacheError:
    """The error for an image that no tier knows by this name; it says by which ones it may be known."""
    with suppress(BackendError):
        if others := list(islice(_other_names(tiers, reference), NAMES_SHOWN)):
            hint = f"{hint}; cached is {', '.join(others)}"
    return not_found(tiers, f"the image {reference} is not cached", hint)


def _other_names(tiers: Sequence[Tier], reference: Reference) -> Iterator[str]:
    """What else is cached of the image, or of its repository. Remote tiers are not listed for that."""
    repository = f"{keys.image_key(reference).rpartition('/')[0].rpartition('/')[0]}/"
    found: set[str] = set()
    for tier in tiers:
        if tier.remote or tier.failure is not None:
            continue
        for key, root in tier.images.scan():
            is_alike = root.digest == reference.digest if reference.digest else key.startswith(repository)
            if is_alike and (name := keys.image_name(key)) not in found:
                found.add(name)
                yield name


def missing_document(
    tiers: Sequence[Tier], descriptor: Descriptor, root: Digest | None, image: str
) -> LayercacheError:
    """The error for a manifest or a config that no tier has.

    An image's documents are written before its name. So the root, or the config of a manifest that is there,
    was removed; a manifest that an index lists may never have been pulled.
    """
    again = f"layercache pull {image}"
    is_root = descriptor.digest == root
    if is_root or descriptor.media_type not in DOCUMENTS:
        what = "manifest" if is_root else "config"
        return not_found(
            tiers,
            f"the {what} {descriptor.digest} of {image} is not cached any more",
            f"it was removed (by prune, rm or a limit): pull the image again ({again})",
        )
    platform = f" for {descriptor.platform}" if descriptor.platform else ""
    return not_found(
        tiers,
        f"the manifest {descriptor.digest}{platform} of {image} is not cached",
        "this platform was not pulled, or was removed (by prune, rm or a limit): pull it"
        f" ({again} --platform {descriptor.platform or 'OS/ARCH'}), or name another one (--platform)",
    )
