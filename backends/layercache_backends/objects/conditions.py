"""Conditional writes to a service, which are sent again after a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import BackendError
from layercache_backends.objects.service import FREE, Kind, Payload

if TYPE_CHECKING:
    from layercache_backends.objects.service import Service

_REFUSED = (Kind.CHANGED, Kind.ABSENT)


class UnsupportedError(BackendError):
    """The service does not know conditions."""


class ConditionalWrite:
    """A write over an object of this version, or `FREE`. Call it until it returns whether that was there.

    ``sent``: whether it may have been sent already. A write whose response was lost has changed the version,
    and so is refused when it is sent again. So then, what is there decides. ``doing`` starts messages.
    """

    def __init__(self, doing: str, name: str, data: bytes, version: str, *, sent: bool) -> None:
        self._doing = doing
        self._name = name
        self._data = data
        self._version = version
        self._sent = sent

    async def __call__(self, service: Service) -> bool:
        sent_before, self._sent = self._sent, True
        payload = Payload(self._data)
        try:
            await service.put(self._name, payload, version=self._version)
        except Exception as error:
            failure = service.failure(error)
            if failure and failure.kind is Kind.UNSUPPORTED:
                raise UnsupportedError(f"{self._doing}: {failure.reason}", hint=failure.hint) from error
            if failure is None or failure.kind not in _REFUSED:
                raise
            # Nothing shows whether the client has sent no bytes twice.
            unsure = payload.begun > 1 or not (self._data or self._version == FREE)
            return (sent_before or unsure) and await self._was_done(service)
        return True

    async def _was_done(self, service: Service) -> bool:
        found, version = await _read(service, self._name, len(self._data))
        if found == self._data:
            return True
        # Some services publish what they have of a write that breaks off: that is this one's to replace.
        torn = version and found is not None and self._data.startswith(found)
        if not torn or not (found or self._version == FREE) or version == self._version:
            return False
        self._version = version
        return await self(service)


async def _read(service: Service, name: str, most: int) -> tuple[bytes | None, str]:
    """Return an object's bytes and version; None if there is none, or it has more bytes."""
    try:
        body = await service.get(name, 0, None, None)
    except Exception as error:
        failure = service.failure(error)
        if failure is None or failure.kind not in (Kind.ABSENT, Kind.PAST_END):
            raise
        return None, ""
    found = bytearray()
    try:
        if body.size > most:
            return None, ""
        while piece := await body.read(body.size - len(found)):
            found += piece
    finally:
        body.close()
    return bytes(found), body.version


async def create_by_looking(service: Service, name: str, data: bytes) -> bool:
    """As `Exclusive.create_new`, on a service that knows no conditions: another writer may come between."""
    try:
        await service.head(name)
    except Exception as error:
        failure = service.failure(error)
        if failure is None or failure.kind is not Kind.ABSENT:
            raise
        await service.put(name, Payload(data))
        return True
    return False


async def are_honoured(service: Service, prefix: str) -> bool:
    """Whether the service knows conditions, and refuses a write whose condition does not hold."""
    try:
        return await service.honours_conditions(prefix)
    except Exception as error:
        failure = service.failure(error)
        if failure is None or failure.kind is not Kind.UNSUPPORTED:
            raise
        return False
