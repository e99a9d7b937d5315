"""Where a cache is, and how it behaves: from arguments, then the environment, then defaults.

The only module that reads the environment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from layercache.backend import BackendURL
from layercache.backend_tier import open_tier
from layercache.cache import Cache
from layercache.errors import ConfigError
from layercache.streams import MAX_INFLATED_SIZE, MAX_RATIO, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.backend_tier import BackendTier
    from layercache.sources.settings import RegistrySettings

URL = "LAYERCACHE_URL"
CA_FILE = "LAYERCACHE_CA_FILE"
PLAIN_HTTP = "LAYERCACHE_PLAIN_HTTP"
INSECURE = "LAYERCACHE_INSECURE"

ON_THIS_MACHINE = frozenset({"file", "memory"})
"""Schemes of stores that nobody but this machine's users can write to."""

Verify = Literal["size", "always"]


def open(
    urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    offline: bool = False,
    verify: Verify = "size",
    max_inflated_size: int = MAX_INFLATED_SIZE,
    max_ratio: int = MAX_RATIO,
    registries: RegistrySettings | None = None,
) -> Cache:
    """Open a cache: one URL or folder, several (tiers, near to far), or None for the configured one.

    ``offline``: no source is asked. ``verify="always"``: what the nearest tier holds is hashed each time
    it is read; by default its size is checked. ``max_inflated_size`` (bytes of one layer's tar) and
    ``max_ratio`` (inflated to compressed, beyond the first GiB) stop decompression bombs. ``registries``:
    how registries are reached; by default as the environment and Docker's configuration say. Raises
    `ConfigError`.
    """
    tiers = [open_tier(url, nearest=not number) for number, url in enumerate(urls_of(urls))]
    return Cache(
        tiers,
        registries=(lambda: registries) if registries else registry_settings,
        limits=Limits(size=max_inflated_size, ratio=max_ratio),
        offline=offline,
        verify_always=verify == "always",
    )


def open_alone(url: str) -> BackendTier:
    """A cache that is no other one's tier: on this machine trusted as a nearest tier is, elsewhere not.

    Raises `ConfigError`; also where the name stands for several tiers.
    """
    urls = urls_of(url)
    if len(urls) > 1:
        raise ConfigError(f"{url} has {len(urls)} tiers", hint=f"name one of them: {' '.join(urls)}")
    return open_tier(urls[0], nearest=BackendURL.parse(urls[0]).scheme in ON_THIS_MACHINE)


def urls_of(urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None) -> list[str]:
    """The URL of each tier, near to far, as `open` takes them. Raises `ConfigError`."""
    if urls is None:
        return os.environ.get(URL, "").split() or [default_url()]
    several = [urls] if isinstance(urls, str | os.PathLike) else list(urls)
    if not several:
        raise ConfigError("no cache is named", hint="give at least one URL")
    return [url if isinstance(url, str) else _file_url(os.fspath(url)) for url in several]


def registry_settings() -> RegistrySettings:
    """How registries are reached, as the environment says.

    ``LAYERCACHE_CA_FILE`` names a PEM file; ``LAYERCACHE_PLAIN_HTTP`` and ``LAYERCACHE_INSECURE`` list
    hosts, parted by commas or spaces; proxies are those of ``HTTPS_PROXY``, ``HTTP_PROXY`` and
    ``NO_PROXY``; for credentials see `credentials_file`.
    """
    from urllib.request import getproxies_environment

    from layercache.sources.settings import RegistrySettings

    return RegistrySettings(
        docker_config=credentials_file(),
        ca_file=os.environ.get(CA_FILE) or None,
        plain_http=_hosts(PLAIN_HTTP),
        insecure=_hosts(INSECURE),
        proxies=getproxies_environment(),
    )


def credentials_file() -> str | None:
    """Where ``docker login`` or ``podman login`` left its credentials; None where nobody did.

    The first that is there of ``$REGISTRY_AUTH_FILE``, ``$DOCKER_CONFIG/config.json`` (by default
    ``~/.docker``) and ``$XDG_RUNTIME_DIR/containers/auth.json`` (containers-auth.json(5)).
    """
    docker = os.environ.get("DOCKER_CONFIG") or os.path.expanduser(os.path.join("~", ".docker"))
    places = [os.environ.get("REGISTRY_AUTH_FILE"), os.path.join(docker, "config.json")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(os.path.join(runtime, "containers", "auth.json"))
    return next((place for place in places if place and os.path.isfile(place)), None)


def _hosts(variable: str) -> tuple[str, ...]:
    return tuple(os.environ.get(variable, "").replace(",", " ").split())


def default_url() -> str:
    """The user's cache folder, as the platform has it."""
    from platformdirs import user_cache_path

    return _file_url(os.fspath(user_cache_path("layercache", appauthor=False)))


def _file_url(path: str) -> str:
    return f"file://{quote(os.path.abspath(path))}"
