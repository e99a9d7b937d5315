"""What to say where a layer, an image or a form was not found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import BackendError, LayercacheError, NotFoundError
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.oci.digest import Hash
    from layercache.oci.forms import Form
    from layercache.resolver.layer_state import LayerState
    from layercache.tiers.tier import Tier

NO_SOURCE = (
    "no source is known for it: name an image (layercache pull IMAGE) or put a file (layercache put FILE)"
)


def not_found(tiers: Sequence[Tier], message: str, hint: str = NO_SOURCE) -> LayercacheError:
    """What to say where nothing was found: absence, but only if every tier could be asked."""
    for tier in tiers:
        if (failure := tier.failure) is not None:
            error = BackendError(
                f"{message} in the tiers that could be asked; {failure.message}",
                looked_in=[each.name for each in tiers if each.failure is None],
                hint=failure.hint,
            )
            error.__cause__ = failure
            return error
    return NotFoundError(
        message,
        looked_in=[tier.name for tier in tiers],
        hint=hint,
    )


def no_way(tiers: Sequence[Tier], layer: LayerState, form: Form) -> LayercacheError:
    """What to say where no way led to a form of a layer."""
    identity = layer.identity
    tar = _tar_that_is_there(tiers, identity.names(UNCOMPRESSED)) if form == COMPRESSED else None
    if tar is not None and not any(tier.failure for tier in tiers):
        return NotFoundError(
            f"the compressed form of {tar} is not cached, only its tar is",
            looked_in=[tier.name for tier in tiers],
            hint="its bytes cannot be made from the tar: pull its image (layercache pull IMAGE)",
        )
    name = identity.digest or identity.diff_id
    if not layer.image:
        return not_found(tiers, f"{name} is not cached")
    return not_found(
        tiers,
        f"{name}, a layer of {layer.image}, is not cached",
        "it was removed (by prune, rm or a limit), or never read: pull the image again, while online"
        f" (layercache pull {layer.image})",
    )


def _tar_that_is_there(tiers: Sequence[Tier], names: Sequence[Hash]) -> Hash | None:
    """A tier that stores no tars is not asked for one, if that takes a round trip."""
    likely = [tier for tier in tiers if not tier.remote or tier.policy.keep != COMPRESSED]
    return next((name for name in names for tier in likely if tier.blobs.has(name)), None)
