"""Values, which are compared by their fields and never change; and values out of JSON and msgpack."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Value", "convert", "json_decoder", "msgpack_decoder", "replace"]


class Value(Struct, frozen=True):
    """The base of value types: ``class Point(Value, frozen=True)``, with fields as in a dataclass.

    To define a frozen dataclass takes half a millisecond, thirty times as long as this. A command that reads
    a cached layer defines thirty of them, and would take half of its time for that.
    """


# msgspec resolves the types of a struct's fields when the first decoder for it is made. That runs Python
# code, during which other threads see the struct with null pointers in place of the types: a second
# thread that decodes one at that moment crashes the process (msgspec 0.22). So one thread at a time makes a
# decoder, and nothing is decoded without one. A fork waits for it; the child would keep the null pointers.
_making = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release
    )


@cache
def json_decoder(
    kind: Any = Any, *, strict: bool = True, dec_hook: Callable[[type[Any], Any], Any] | None = None
) -> msgspec.json.Decoder[Any]:
    """Reads JSON as a type, with any number of threads. What the parameters mean: `msgspec.json.Decoder`.

    Made once of each kind: that takes a third as long as decoding a record.
    """
    with _making:
        return msgspec.json.Decoder(kind, strict=strict, dec_hook=dec_hook)


@cache
def msgpack_decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Reads msgpack as a type, with any number of threads."""
    with _making:
        return msgspec.msgpack.Decoder(kind)


def convert(
    value: Any,
    kind: Any,
    *,
    strict: bool = True,
    dec_hook: Callable[[type[Any], Any], Any] | None = None,
) -> Any:
    """`msgspec.convert`, with any number of threads."""
    json_decoder(kind, dec_hook=dec_hook)
    return msgspec.convert(value, kind, strict=strict, dec_hook=dec_hook)
