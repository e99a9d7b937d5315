"""What `Cache.explain` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.oci.digest import DiffID, Digest, Hash
    from layercache.oci.forms import Form
    from layercache.statistics.places import Place
    from layercache.tiers.association import Association


@dataclass(frozen=True, slots=True)
class HeldBlob:
    """A blob that a tier has, in ``form``, of ``size`` bytes."""

    name: Hash
    form: Form
    size: int


@dataclass(frozen=True, slots=True)
class TierState:
    """What one tier has of a layer.

    ``failure``: why the tier is skipped just now; empty if it answers. ``held``: the blobs that are there.
    ``associations``: what the tier itself states. ``missing``: for each form that is not there, why.
    """

    tier: str
    remote: bool
    failure: str
    held: tuple[HeldBlob, ...]
    associations: tuple[Association, ...]
    missing: Mapping[Form, str]


@dataclass(frozen=True, slots=True)
class Route:
    """The way on which a form would come, and its cost.

    ``place``: where the bytes are read. ``stored``: the form that is read there; a compressed one on the way
    to a tar is inflated. ``size``: bytes that are read there, if known. ``requests``: how often far tiers and
    the source are asked for the bytes, those that lack them included; 0 on this machine. ``inflates``: bytes
    of tar that are inflated on the way, None if their number is not known. ``claimed``: only a claim says
    that this blob is the layer, so it is inflated to confirm that. ``lease``: the tier in which a lease would
    be taken, so that one machine fetches the blob for all; empty if none would.
    """

    place: Place
    stored: Form
    size: int | None
    requests: int
    inflates: int | None
    claimed: bool
    lease: str = ""


@dataclass(frozen=True, slots=True)
class LayerExplanation:
    """One layer or blob. ``computed``: the two names were seen to belong together; else that is a claim.

    ``compressed`` and ``uncompressed``: the ways to each form; None if there is none.
    """

    digest: Digest | None
    diff_id: DiffID | None
    computed: bool
    size: int | None
    uncompressed_size: int | None
    tiers: tuple[TierState, ...]
    compressed: Route | None
    uncompressed: Route | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for a hash or an image.

    ``sources``: what would be asked for what no tier has, in order; empty offline, and for a hash. For an
    image, ``known_to`` lists the tiers that know the reference, ``digest`` is that of the manifest, and
    ``problem`` says why the layers are not known, if so. For a hash, ``images`` lists the cached images that
    use the layer.
    """

    name: str
    sources: tuple[Place, ...]
    layers: tuple[LayerExplanation, ...]
    known_to: tuple[str, ...] = ()
    digest: Digest | None = None
    problem: str = ""
    images: tuple[str, ...] = ()
