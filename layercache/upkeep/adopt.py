"""Turns a layout of other tools into a cache: imports its images, and the claims of their configs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layercache.errors import ConfigError, IntegrityError, NotALayerError, NotFoundError
from layercache.resolver import lookup
from layercache.resolver.identity import contradiction
from layercache.streams.readers import CHUNK
from layercache.tiers import keys
from layercache.tiers.backend.tier import BackendTier
from layercache.tiers.layout import index_json
from layercache.tiers.layout.index_writer import write_index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from layercache.layer import Layer
    from layercache.oci.digest import DiffID, Digest
    from layercache.tiers.tier import Tier


@dataclass
class Adopted:
    """``images`` and ``layers``: how many are new. ``verified``: layers that were inflated.

    ``wrong``: errors of layers that do not match their name or their image's config.
    """

    images: int = 0
    layers: int = 0
    verified: int = 0
    wrong: list[IntegrityError] = field(default_factory=list)


def adopt(tiers: Sequence[Tier], layer: Callable[[Digest], Layer], *, verify: bool = False) -> Adopted:
    """Import the images of the nearest tier's index.json, and the claims of their configs.

    ``layer`` returns a layer of these tiers. ``verify``: inflate each layer without a computed fact, which
    computes one or refutes the claim; a blob with a wrong hash is removed. Raises `ConfigError` where there
    is no layout, `BackendError`.
    """
    tier = tiers[0]
    if not isinstance(tier, BackendTier) or not index_json.read(tier, keys.INDEX):
        raise ConfigError(
            f"{tier.name} is not an OCI image layout", hint="name a folder with oci-layout and index.json"
        )
    if tier.policy.readonly:
        raise ConfigError(f"{tier.name} is read-only", hint="adopting writes to the cache")
    entries, _ = index_json.read_index(tier)
    images, layers = index_json.import_entries(tier, entries)
    adopted = Adopted(images, layers)
    if verify:
        claims = {fact.digest: fact.diff_id for fact in tier.facts.scan() if not fact.computed}
        for digest, claimed in sorted(claims.items()):
            if tier.blobs.has(digest) and not tier.facts.has_computed(digest):
                _verify(tiers, layer(digest), claimed, adopted)
    write_index(tier)
    return adopted


def _verify(tiers: Sequence[Tier], layer: Layer, claimed: DiffID, adopted: Adopted) -> None:
    digest = layer.digest
    try:
        with layer.uncompressed() as tar:
            while tar.read(CHUNK):
                pass
    except (NotALayerError, NotFoundError):
        return
    except IntegrityError as error:
        adopted.wrong.append(error)
    else:
        found = lookup.computed(tiers, digest)
        if found and found.diff_id.algorithm == claimed.algorithm and found.diff_id != claimed:
            adopted.wrong.append(contradiction(digest, found.diff_id, claimed))
        else:
            adopted.verified += 1
