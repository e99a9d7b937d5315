"""Which format a store has: what ``layercache.json`` says, and how a new store differs from an old one.

Format 2 has one record a name. The earlier format had no marker: it is recognized by its associations. Blobs,
images and derived objects are the same in both. Whoever can write to a store can write a marker, so it is
read strictly, and decides nothing but whether the store is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.backend import write_whole
from layercache.backend.capabilities import Exclusive
from layercache.errors import FormatError, NotFoundError, StoreFormatError
from layercache.streams.readers import read_bounded
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.backend import Backend, BackendURL

FORMAT = 2
"""The format that this version reads and writes."""

KEY = "layercache.json"
"""The object that says which format a store has: the marker."""

MARKER = b'{"layercache":{"format":2}}\n'

EARLIER = "associations/"
"""The folder that only stores of the earlier format have."""

MARKER_MAX = 1024
"""Bytes that a marker may have. A newer version may add fields."""

_FORMAT_MAX = 1_000_000
_SHOWN = 40
_WITHOUT_SECRETS = frozenset({"file", "memory", "s3", "gs", "gcs"})
"""Schemes whose options are all known, and none of them is a secret."""


def upgrade_command(url: BackendURL) -> str:
    """Return the command that converts a store, as it is typed into a shell."""
    import shlex

    if url.scheme == "file" and not url.query:
        return f"layercache upgrade {shlex.quote(url.path)}"
    shown = str(url) if url.scheme in _WITHOUT_SECRETS or not url.query else f"{url.place}?…"
    return f"layercache upgrade {shlex.quote(shown)}"


class Marker(Value, frozen=True):
    """What a marker says: the number of the format, None if it is not understood. ``shown``: for messages."""

    format: int | None
    shown: str = ""


def read_marker(backend: Backend) -> Marker | None:
    """Read the marker; None if there is none, or an empty object. Raises `BackendError`."""
    try:
        with backend.open(KEY) as reader:
            data = read_bounded(reader, MARKER_MAX, KEY)
    except NotFoundError:
        return None
    except FormatError:
        return Marker(None, f"more than {MARKER_MAX} bytes")
    if data == MARKER:  # as nearly always: without an import of the parser
        return Marker(FORMAT)
    return Marker(_format_of(data), _shown(data)) if data else None


def is_marked(backend: Backend, command: Callable[[], str]) -> bool:
    """Whether the store has a marker of this format; false if it has none.

    ``command`` returns what converts or repairs the store, for messages. Raises `StoreFormatError` for
    another format and for a marker that is not understood, `BackendError`.
    """
    marker = read_marker(backend)
    if marker is not None and marker.format != FORMAT:
        raise _refusal(backend.url, marker, command())
    return marker is not None


def has_earlier(backend: Backend) -> bool:
    """Whether anything is left of the earlier format: one request."""
    return next(iter(backend.scan(EARLIER)), None) is not None


def check(backend: Backend, command: Callable[[], str]) -> bool:
    """Whether the store has a marker of this format; false for a new store, and for another tool's layout.

    Raises `StoreFormatError` for a store that this version cannot use, `BackendError`.
    """
    if is_marked(backend, command):
        return True
    if has_earlier(backend):
        raise StoreFormatError(
            f"{backend.url}: an earlier version has written this cache, in another format: run {command()}",
            hint="it converts the cache in place: blobs, images and tags stay as they are",
        )
    return False


def write_marker(backend: Backend, command: Callable[[], str]) -> None:
    """Write the marker unless there is one. Raises `StoreFormatError` if there is another one by now."""
    if isinstance(backend, Exclusive) and backend.create_new(KEY, MARKER):
        return
    if not is_marked(backend, command):  # nothing, or an empty object: a writer was killed, or lost its power
        replace_marker(backend)


def replace_marker(backend: Backend) -> None:
    """Write the marker, whatever is there."""
    write_whole(backend.create(KEY), MARKER)


def _format_of(data: bytes) -> int | None:
    """The number in a marker; None for anything else."""
    from layercache.oci.descriptor import NOT_VALID
    from layercache.value import json_decoder

    try:
        document = json_decoder().decode(data)
    except NOT_VALID:
        return None
    own = document.get("layercache") if isinstance(document, dict) else None
    number = own.get("format") if isinstance(own, dict) else None
    return number if type(number) is int and 1 <= number <= _FORMAT_MAX else None


def _refusal(name: str, marker: Marker, command: str) -> StoreFormatError:
    if marker.format is None:
        return StoreFormatError(
            f'{name}: {KEY} should be {{"layercache": {{"format": {FORMAT}}}}}, and is {marker.shown}',
            hint=f"if nobody uses a newer version with this cache, repair it: {command}",
        )
    message = f"{name}: the cache has format {marker.format}, and this version uses format {FORMAT}"
    if marker.format < FORMAT:
        return StoreFormatError(f"{message}: run {command}")
    from layercache.backend.installation import upgrade_hint

    return StoreFormatError(message, hint=f"install a newer version: {upgrade_hint()}; or use another cache")


def _shown(data: bytes) -> str:
    """The beginning of the bytes as text that cannot control a terminal."""
    more = "…" if len(data) > _SHOWN else ""
    return ascii(data[:_SHOWN].decode("utf-8", "replace")) + more
