"""What to say of an image of which a part is not cached: whether it was removed, or was never pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.oci.documents import DOCUMENTS
from layercache.resolver.lookup import not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.errors import LayercacheError
    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest
    from layercache.tiers.tier import Tier


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
