"""Leases: small objects in a shared tier, by which one machine fetches a blob for all of them."""

from __future__ import annotations

import os
import re

import msgspec

from layercache.errors import FormatError
from layercache.oci.descriptor import decode, encode
from layercache.value import Value

LEASE_MAX = 1024
"""Bytes of a lease. What is longer is not one."""

_HOST = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(r"[0-9a-f]{16}")
_SIZE_MAX = 1 << 60


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who fetches a blob for all machines, and how far it is.

    ``host`` and ``process`` are for people; ``token`` distinguishes the holder from every other one.
    ``received`` of the blob's ``size`` bytes were fetched, and ``sent`` of them to the tier. ``renewals``
    counts how often it was written since it was new: so each time it is another object. Fields that are not
    known are ignored: a later version may add some. Raises `ValueError` for what no holder writes.
    """

    host: str
    process: int
    token: str
    size: int
    received: int = 0
    sent: int = 0
    renewals: int = 0

    def __post_init__(self) -> None:
        numbers = (self.process, self.size, self.received, self.sent, self.renewals)
        if not all(0 <= each <= _SIZE_MAX for each in numbers):
            raise ValueError("a number is out of range")
        # The host is printed on terminals, so it has no control characters.
        if not _HOST.fullmatch(self.host) or not _TOKEN.fullmatch(self.token):
            raise ValueError("host or token is malformed")

    @classmethod
    def of_this_process(cls, size: int) -> Lease:
        """A new lease, of nobody else's, for a blob of ``size`` bytes of which nothing was fetched."""
        host = re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename)[:64] or "unknown"
        return cls(host=host, process=os.getpid(), token=os.urandom(8).hex(), size=size)

    @classmethod
    def parse(cls, data: bytes) -> Lease | None:
        """The lease that was written; None if this is not one. An empty object is what some stores leave."""
        if len(data) > LEASE_MAX:
            return None
        try:
            return decode(data, cls, "a lease")
        except FormatError:
            return None

    def encode(self) -> bytes:
        return encode(self)

    def renewed(self, received: int, sent: int) -> Lease:
        """The lease as it is written next. What was done before stays done."""
        received, sent = max(received, self.received), max(sent, self.sent)
        return msgspec.structs.replace(self, received=received, sent=sent, renewals=self.renewals + 1)

    @property
    def moved(self) -> int:
        """Bytes that were moved so far: each byte of the blob is fetched once, and sent once."""
        return self.received + self.sent

    @property
    def done(self) -> int:
        """How much of the work is done, in bytes of the blob: at most ``size``."""
        return min(self.moved // 2, self.size)


class SeenLease(Value, frozen=True):
    """What a tier has where a lease would be.

    ``version`` changes with each write; None if there is nothing. ``lease``: None if there is nothing, or
    something that is not a lease.
    """

    version: str | None
    lease: Lease | None

    def is_of(self, holder: Lease) -> bool:
        """Whether it is this holder's."""
        return self.lease is not None and self.lease.token == holder.token
