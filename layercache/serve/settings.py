"""What the mirror is set up to do: the table ``[serve]`` of the configuration, with its defaults."""

from __future__ import annotations

from layercache.oci.reference import DEFAULT_REGISTRY
from layercache.value import Value

PORT = 5000


class ServeSettings(Value, frozen=True):
    """How `layercache serve` listens, what it serves and within which limits.

    ``address``: a host's name or address. ``default_upstream``: the registry of repositories whose name does
    not begin with one. ``tag_age``: seconds for which a tag is not checked with its upstream again.
    ``upstream_timeout``: seconds for which a client waits for an upstream where a cached answer could be
    served instead. ``requests_max``: requests of a worker that may block at a time; ``streams_max``: bodies
    on their way to clients that are not files. ``stall_timeout``: seconds without a byte taken after which a
    client is given up.
    """

    address: str = "127.0.0.1"
    port: int = PORT
    workers: int = 1
    default_upstream: str = DEFAULT_REGISTRY
    tag_age: float = 60.0
    upstream_timeout: float = 10.0
    requests_max: int = 64
    streams_max: int = 256
    stall_timeout: float = 60.0
