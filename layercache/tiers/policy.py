"""A tier's policy: what it may hold, how far it is trusted; and how a URL says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar, cast

from layercache.backend import BackendURL
from layercache.errors import ConfigError
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.oci.forms import COMPRESSED
from layercache.units import AGE_EXAMPLES, COMPRESSION_EXAMPLES, SIZE_EXAMPLES, parse_age, parse_size
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.oci.forms import Form
    from layercache.streams.compress import Compression

Keep = Literal["both", "compressed", "uncompressed"]
INDEXED = "indexed"
"""As the option keep: the compressed form, and indexes of its files in place of the tar."""

KEEPS = ("both", "compressed", "uncompressed", INDEXED)

ON_THIS_MACHINE = frozenset({"file", "memory"})
"""Schemes of stores that nobody but this machine's users can write to."""

REGISTRY = "oci"
"""The scheme of a registry as a tier."""

UNLIMITED = "none"
"""As a limit: there is none, also where there is one by default."""

_T = TypeVar("_T")


class Policy(Value, frozen=True):
    """What a tier may hold, and how far it is trusted.

    ``keep``: which forms of a layer it stores. ``indexed``: indexes of a layer's files are made as soon as
    it has the compressed form, not at the first question (the option ``keep=indexed``). ``readonly``:
    nothing is ever written or deleted. ``trusted``: what is read there was verified when it was written,
    and nobody else writes there; so it is checked by size only. Bytes from any other tier are hashed as
    they pass. ``max_size``: bytes that its blobs may have in all. ``max_age``: seconds after its last use
    when a blob is removed. ``max_document_size``: bytes of a manifest, an index or a config that is read
    there, at most. ``recompress``: how a layer that is distributed as a plain tar is compressed before it
    is stored; None: it is stored as it is. What is stored so is read whatever this says. ``touch``: whether
    objects of a bucket that are used get a new time (`layercache.tiers.backend.use`). ``lease``: whether
    machines take turns to fetch big blobs for all (`layercache.tiers.lease`); None: where the store is
    remote. It has no effect on a store without conditional writes.
    """

    keep: Keep = "both"
    indexed: bool = False
    readonly: bool = False
    trusted: bool = False
    max_size: int | None = None
    max_age: float | None = None
    max_document_size: int = DOCUMENT_MAX
    recompress: Compression | None = None
    touch: bool = True
    lease: bool | None = None

    @property
    def keep_option(self) -> str:
        """The option keep as it is written."""
        return INDEXED if self.indexed else self.keep

    def stores(self, form: Form) -> bool:
        return not self.readonly and self.keep in ("both", form)


OPTIONS = tuple(name for name in Policy.__struct_fields__ if name != INDEXED)
"""The tier's options in a URL."""


def take_policy(
    url: BackendURL, *, nearest: bool, max_document_size: int = DOCUMENT_MAX
) -> tuple[Policy, BackendURL]:
    """The tier's options out of a URL, and the URL that is left for the backend.

    The nearest tier stores both forms unless its URL says otherwise, and is trusted if it is on this machine.
    A farther one stores the compressed form, and plain tars as zstd if it is a bucket. ``max_document_size``
    is the cache's. Raises `ConfigError`.
    """
    query = dict(url.query)

    def take(name: str, default: _T, parse: Callable[[str], _T], wanted: str) -> _T:
        if (text := query.pop(name, None)) is None:
            return default
        try:
            return parse(text)
        except ValueError:
            raise ConfigError(f"{url.place}: {name}={text}", hint=f"{name} is {wanted}") from None

    option = take("keep", "both" if nearest else COMPRESSED, _keep, ", ".join(KEEPS))
    keep: Keep = COMPRESSED if option == INDEXED else cast("Keep", option)
    bucket = keep == COMPRESSED and not nearest and url.scheme not in ON_THIS_MACHINE | {REGISTRY}
    recompress = _recompress("zstd") if bucket else None
    policy = Policy(
        keep=keep,
        indexed=option == INDEXED,
        readonly=take("readonly", False, _flag, "true or false"),
        trusted=take("trusted", nearest and url.scheme in ON_THIS_MACHINE, _flag, "true or false"),
        max_size=take("max_size", None, _limit(parse_size), f"{SIZE_EXAMPLES}, or {UNLIMITED}"),
        max_age=take("max_age", None, _limit(parse_age), f"{AGE_EXAMPLES}, or {UNLIMITED}"),
        max_document_size=take("max_document_size", max_document_size, parse_size, SIZE_EXAMPLES),
        recompress=take("recompress", recompress, _recompress, f"false, {COMPRESSION_EXAMPLES}"),
        touch=take("touch", True, _flag, "true or false"),
        lease=take("lease", None, _flag, "true or false"),
    )
    return policy, BackendURL(url.scheme, url.netloc, url.path, query, OPTIONS)


def _limit(parse: Callable[[str], _T]) -> Callable[[str], _T | None]:
    return lambda text: None if text == UNLIMITED else parse(text)


def _keep(text: str) -> str:
    if text not in KEEPS:
        raise ValueError(text)
    return text


def _recompress(text: str) -> Compression | None:
    from layercache.streams.compress import Compression

    return None if text == "false" else Compression.parse(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"
