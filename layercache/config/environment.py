"""What the environment says. No other module reads it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "LAYERCACHE_URL"
CONFIG = "LAYERCACHE_CONFIG"
CA_FILE = "LAYERCACHE_CA_FILE"
PLAIN_HTTP = "LAYERCACHE_PLAIN_HTTP"
INSECURE = "LAYERCACHE_INSECURE"

VARIABLES: Mapping[str, str] = {
    URL: "the tiers, near to far, parted by spaces; or @NAME",
    CONFIG: "the configuration file; no other is looked for",
    CA_FILE: "certificates to trust for every registry, a PEM file",
    PLAIN_HTTP: "registries without TLS, parted by commas or spaces",
    INSECURE: "registries whose certificate is not checked, parted by commas or spaces",
    "HTTPS_PROXY": "the proxy for registries with TLS",
    "HTTP_PROXY": "the proxy for registries without TLS",
    "NO_PROXY": "hosts that are reached without a proxy",
    "REGISTRY_AUTH_FILE": "the file of credentials for registries; no other is read",
    "DOCKER_CONFIG": "the folder of Docker's config.json, by default ~/.docker",
    "XDG_RUNTIME_DIR": "where podman keeps containers/auth.json, by default /run/containers/UID/auth.json",
    "XDG_CACHE_HOME": "where the user's cache folder is, by default ~/.cache",
    "XDG_CONFIG_HOME": "where the user's configuration is, by default ~/.config",
    "HOME": "what ~ stands for",
}
"""Every variable that counts by itself. A configuration file can name others: ``${NAME}``."""


def variable(name: str) -> str | None:
    """A variable that a configuration file names."""
    return os.environ.get(name)


def urls() -> list[str]:
    """The tiers, or one ``@NAME``; empty where nothing is said."""
    return os.environ.get(URL, "").split()


def config_file() -> str | None:
    return os.environ.get(CONFIG) or None


def ca_file() -> str | None:
    return os.environ.get(CA_FILE) or None


def hosts(variable: str) -> tuple[str, ...]:
    """The registries that a variable lists."""
    return tuple(os.environ.get(variable, "").replace(",", " ").split())


def proxies() -> dict[str, str]:
    """URLs by scheme, and ``no``; the variables' names may be in lower case too."""
    from urllib.request import getproxies_environment

    return getproxies_environment()


def auth_files() -> tuple[str, ...]:
    """Where ``podman login`` and ``docker login`` keep credentials, in the order of containers-auth.json(5).

    ``$REGISTRY_AUTH_FILE`` alone where it is set.
    """
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return (named,)
    folder = home()
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.join(folder, ".config")
    docker = os.environ.get("DOCKER_CONFIG") or os.path.join(folder, ".docker")
    places = [
        os.path.join(settings, "containers", "auth.json"),
        os.path.join(docker, "config.json"),
        os.path.join(folder, ".dockercfg"),
    ]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.insert(0, os.path.join(runtime, "containers", "auth.json"))
    elif sys.platform == "linux":
        places.insert(0, f"/run/containers/{os.getuid()}/auth.json")
    # Where nobody knows the user's home, these would be in the current folder.
    return tuple(place for place in places if folder or not place.startswith((".config", ".docker")))


def home() -> str:
    """The user's home folder; empty where nobody knows one: no HOME, and no entry in the user database."""
    places = (os.environ.get("HOME", "/"), os.path.expanduser("~"))  # an empty HOME would make it the root
    return places[1] if all(map(os.path.isabs, places)) else ""


def user_cache_folder() -> str:
    """Where the platform has a user's caches. Raises `ConfigError` for a user without a home."""
    from platformdirs import user_cache_dir

    if not os.environ.get("XDG_CACHE_HOME") and not home():
        raise ConfigError(
            f"no cache is named, and the user {os.getuid()} has no home folder to have one in",
            hint=f"name a cache (--cache, {URL}), or set HOME",
        )
    return user_cache_dir("layercache", appauthor=False)


def user_config_folder() -> str:
    """Where the platform has a user's configuration; empty for a user without a home.

    On Linux by the rule that platformdirs follows too (XDG Base Directory Specification): every command
    looks there, and importing platformdirs costs it a third of the interpreter's start.
    """
    if sys.platform in ("darwin", "win32"):
        from platformdirs import user_config_dir

        return user_config_dir("layercache", appauthor=False)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # also where it is not set: the specification has a relative one ignored
        if not home():
            return ""
        base = os.path.join(home(), ".config")
    return os.path.join(base, "layercache")
