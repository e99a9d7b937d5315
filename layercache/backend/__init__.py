"""The interface that stores implement: methods, optional capabilities, object names and URLs.

Authors of backends import from here, from `capabilities` and from `plain`; the other modules are private.
"""

from __future__ import annotations

from layercache.backend.circuit_breaker import CircuitBreaker
from layercache.backend.installation import install_hint
from layercache.backend.interface import (
    SMALL_OBJECT,
    Backend,
    Entry,
    Leftover,
    Reader,
    RewindError,
    Sink,
    check_range,
)
from layercache.backend.object_names import check_key, check_prefix, is_key
from layercache.backend.opening import ENTRY_POINT_GROUP, IN_THE_BOX, INTERFACE, open_backend
from layercache.backend.per_process import PerProcess
from layercache.backend.sinks import SinkBase, check_usable, write_whole
from layercache.backend.url import BackendURL, OptionsT
from layercache.backend.versions import not_small, version_of

__all__ = [
    "ENTRY_POINT_GROUP",
    "INTERFACE",
    "IN_THE_BOX",
    "SMALL_OBJECT",
    "Backend",
    "BackendURL",
    "CircuitBreaker",
    "Entry",
    "Leftover",
    "OptionsT",
    "PerProcess",
    "Reader",
    "RewindError",
    "Sink",
    "SinkBase",
    "check_key",
    "check_prefix",
    "check_range",
    "check_usable",
    "install_hint",
    "is_key",
    "not_small",
    "open_backend",
    "version_of",
    "write_whole",
]
