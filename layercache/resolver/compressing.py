"""Makes a compressed blob of a tar: compressed, then inflated again and hashed, before anybody gets it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from layercache.errors import DigestMismatchError
from layercache.oci.descriptor import OCI_LAYER_OF
from layercache.oci.digest import DiffID, Digest
from layercache.streams.hashing import chunks, hash_chunks
from layercache.streams.inflate import InflatedReader
from layercache.streams.limits import Limits
from layercache.streams.readers import verified
from layercache.tiers.association import Association

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.oci.digest import Hash
    from layercache.streams.compress import Compression
    from layercache.transfer.spool import TierSpool

BACKGROUND_THREADS = 2
"""Threads for one tar that is compressed for a tier: several tars may be on their way to it."""


def compress_into(
    spool: TierSpool,
    tar: Reader,
    compression: Compression,
    limits: Limits,
    *,
    algorithm: str = "sha256",
    threads: int | None = None,
) -> Association:
    """Compress a tar into an empty spool; return the fact about what the spool holds now.

    What was written is read again, inflated and hashed, so the fact is computed: compare its diff ID, which
    is in this ``algorithm``, with the one that is wanted. Raises `LimitError` where readers would take the
    blob for a decompression bomb, `BackendError`, and what reading the tar raises. ``threads``: see
    `Compression.run`.
    """
    written, size = hash_chunks(compression.run(tar, threads), "sha256", spool.write)
    digest = Digest(written)
    blob = verified(spool.reader(), digest, size)
    with closing(InflatedReader(blob, compression.kind, limits, digest)) as again:
        found, tar_size = hash_chunks(chunks(again), algorithm)
    media_type = OCI_LAYER_OF[compression.kind]
    return Association(digest, DiffID(found), size, media_type, tar_size, computed=True)


def recompress_into(spool: TierSpool, tar: Reader, name: Hash, compression: Compression) -> Association:
    """As `compress_into`, with the usual limits, for a plain tar of this name.

    Raises `DigestMismatchError` too, where the tar is another one.
    """
    checked = verified(tar, name)
    fact = compress_into(
        spool, checked, compression, Limits(), algorithm=name.algorithm, threads=BACKGROUND_THREADS
    )
    check_inside(fact, DiffID(name))
    return fact


def check_inside(fact: Association, diff_id: DiffID) -> None:
    """Raise `DigestMismatchError` unless the tar that was compressed is the wanted one."""
    if fact.diff_id != diff_id:
        raise DigestMismatchError(
            f"what was compressed as {diff_id} inflates to {fact.diff_id}", hint="none of it was stored"
        )
