"""What the mirror is set up to do: the table ``[serve]`` of the configuration, with its defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import ConfigError
from layercache.oci.reference import DEFAULT_REGISTRY
from layercache.oci.repository_pattern import RepositoryPattern
from layercache.value import Value, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.config.setting import Setting

PORT = 5000


class ServeSettings(Value, frozen=True):
    """How `layercache serve` listens, what it serves and within which limits. Times are in seconds.

    - ``address``: an address or a host's name; ``port``: 0 is any free one. ``workers``: processes.
    - ``tls_certificate``, ``tls_key``: PEM files; None: plain HTTP.
    - ``default_upstream``: the registry of repositories whose name does not begin with one.
    - ``upstreams``: patterns of the repositories that may be asked for; none: the default upstream's.
      ``inside``: hosts and networks of the inside that may be contacted besides upstreams listed by name.
    - ``htpasswd``, ``tokens``: files of the users who may use the mirror; without both everybody may.
      ``readers``: who may read which repositories whatever their upstream says, as ``PATTERN=USER,USER``.
      ``access_age``: how long an upstream is not asked again whether somebody may read a repository.
    - ``tag_age``: how long a tag is not checked with its upstream again. ``missing_age``: how long an
      upstream that lacks something is not asked for it again.
    - ``upstream_timeout``: how long a client waits for an upstream where a cached answer could be served
      instead.
    - ``redirect``: send clients to the bucket where its store can sign URLs.
    - ``writable``: accept pushes. ``hosted``: patterns of repositories that are the mirror's own; without
      any, those without a registry's name to which something was pushed. ``writers``: who may push to which
      of them, as ``PATTERN=USER,USER``; without any rule, all clients. ``uploads``: the folder of uploads
      on their way; None: one in the nearest tier that is a folder. ``max_uploads``: of that folder at a time;
      ``max_upload_size``: bytes of a blob, None for any; ``upload_age``: when an abandoned one is removed.
    - ``page``: the page at ``/``. ``access_log``: "text", "json" or "off".
    - ``max_connections``: open connections of a worker. ``max_requests``: requests of a worker that may block
      at a time; ``max_streams``: bodies on their way to its clients that are not files.
    - ``max_header_size``: bytes of a request's line and headers; ``header_timeout``: how long they may take.
    - ``stall_timeout``: a client that takes no byte for so long is given up.
    - ``stop_timeout``: how long requests may still take when the mirror is stopped.
    """

    address: str = "127.0.0.1"
    port: int = PORT
    workers: int = 1
    tls_certificate: str | None = None
    tls_key: str | None = None
    default_upstream: str = DEFAULT_REGISTRY
    upstreams: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    htpasswd: str | None = None
    tokens: str | None = None
    readers: tuple[str, ...] = ()
    access_age: float = 300.0
    tag_age: float = 60.0
    missing_age: float = 10.0
    upstream_timeout: float = 10.0
    redirect: bool = False
    writable: bool = False
    hosted: tuple[str, ...] | None = None
    writers: tuple[str, ...] = ()
    uploads: str | None = None
    max_uploads: int = 1000
    max_upload_size: int | None = None
    upload_age: float = 86400.0
    page: bool = True
    access_log: str = "text"
    max_connections: int = 1000
    max_requests: int = 64
    max_streams: int = 256
    max_header_size: int = 64 << 10
    header_timeout: float = 30.0
    stall_timeout: float = 60.0
    stop_timeout: float = 25.0

    @property
    def listed(self) -> tuple[RepositoryPattern, ...]:
        """The repositories that may be asked for."""
        return tuple(RepositoryPattern.parse(each) for each in self.upstreams or (self.default_upstream,))

    @property
    def reachable_inside(self) -> tuple[str, ...]:
        """The hosts and networks that may be contacted at addresses of the inside."""
        named = [pattern.registry for pattern in self.listed if pattern.names_registry]
        return (self.default_upstream, *named, *self.inside)

    @property
    def hosts(self) -> bool:
        """Whether there are repositories without an upstream."""
        return self.writable or bool(self.hosted)


def settings_of(found: Mapping[str, Setting]) -> ServeSettings:
    """The settings that options, variables and files set, by key. Raises `ConfigError`.

    Where pushes are accepted and no default upstream is set, each name without a registry is hosted:
    docker.io is not asked for what may be the name of a private image.
    """
    settings = ServeSettings(**{key: setting.value for key, setting in found.items()})
    if settings.writable and not {"hosted", "default_upstream"} & found.keys():
        settings = replace(settings, hosted=("*",))
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        given, lacks = ("tls_key", "tls_certificate") if settings.tls_key else ("tls_certificate", "tls_key")
        message = f"{found[given].origin}: {given} is set, and {lacks} is not"
        raise ConfigError(message, hint="TLS needs both: a certificate and its private key")
    return settings
