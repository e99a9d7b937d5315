"""Environment variables. No other module reads them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from layercache.export.to_daemon import DockerAddress

URL = "LAYERCACHE_URL"
CONFIG = "LAYERCACHE_CONFIG"
PLAIN_HTTP = "LAYERCACHE_PLAIN_HTTP"
INSECURE = "LAYERCACHE_INSECURE"

PREFIX = "LAYERCACHE_"
OWN = frozenset({URL, CONFIG, PLAIN_HTTP, INSECURE})
"""Variables that are read here. Every other one with the prefix is a key of the configuration file."""

VARIABLES: Mapping[str, str] = {
    URL: "the tiers, nearest first, separated by spaces; or @NAME",
    CONFIG: "the configuration file; no other is read",
    PLAIN_HTTP: "registries without TLS, separated by commas or spaces",
    INSECURE: "registries whose certificate is not checked, separated by commas or spaces",
    "HTTPS_PROXY": "the proxy for registries with TLS",
    "HTTP_PROXY": "the proxy for registries without TLS",
    "NO_PROXY": "hosts to contact without a proxy",
    "REGISTRY_AUTH_FILE": "the file with credentials for registries; no other is read",
    "DOCKER_CONFIG": "the folder with Docker's config.json, by default ~/.docker",
    "DOCKER_HOST": "the Docker daemon to export images to, by default unix:///var/run/docker.sock",
    "DOCKER_TLS_VERIFY": "if set, the Docker daemon at tcp://HOST:PORT is contacted with TLS",
    "DOCKER_CERT_PATH": "the folder with certificates for the Docker daemon, by default that of config.json",
    "XDG_RUNTIME_DIR": "the folder with containers/auth.json of podman, by default /run/containers/UID",
    "XDG_CACHE_HOME": "the parent of the user's cache folder, by default ~/.cache",
    "XDG_CONFIG_HOME": "the parent of the user's configuration folder, by default ~/.config",
    "XDG_STATE_HOME": "the parent of the folder with the user's statistics, by default ~/.local/state",
    "LISTEN_FDS": "the number of sockets that systemd passes to layercache serve: one",
    "LISTEN_PID": "the process that systemd passes them to",
    "HOME": "what ~ stands for",
    "NO_COLOR": "if it is not empty: no colours",
    "FORCE_COLOR": "if it is not empty or 0: colours even if the output is not a terminal",
    "TERM": "dumb: no colours, and a line every 10 seconds in place of moving bars",
    "COLUMNS": "the width of the terminal, if it is not as wide as it reports",
}
"""Every variable that layercache reads, except those of single keys (`layercache.config.from_variables`). A
configuration file can use others as ``${NAME}``.
"""


_FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START"""


def variable(name: str) -> str | None:
    """Return a variable that a configuration file uses."""
    return os.environ.get(name)


def inherited_socket() -> int | None:
    """Return the descriptor of the socket that systemd passes, by sd_listen_fds(3). Raises `ConfigError`."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if (count := os.environ.get("LISTEN_FDS")) != "1":
        raise ConfigError(
            f"systemd passes {count} sockets",
            hint="expected one ListenStream=ADDRESS:PORT in the socket unit",
        )
    return _FIRST_DESCRIPTOR


def colour_wanted() -> bool | None:
    """Return whether the user wants colours; None: wherever a terminal can show them."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_COLOR")
    return None if not forced else forced != "0"


def many_colours() -> bool:
    """Return whether the terminal has 256 colours, as far as the environment shows."""
    return "256" in os.environ.get("TERM", "") or bool(os.environ.get("COLORTERM"))


def is_dumb() -> bool:
    """Return whether the terminal can only print one line after the other."""
    return os.environ.get("TERM", "") in ("dumb", "unknown")


def urls() -> list[str]:
    """Return the tiers, or one ``@NAME``; empty if the variable is not set."""
    return os.environ.get(URL, "").split()


def keys() -> dict[str, str]:
    """Return the variables that set single keys, or that nothing reads; without those that are empty."""
    names = [name for name in os.environ if name.startswith(PREFIX) and name not in OWN]
    return {name: text for name in names if (text := os.environ[name]).strip()}


def config_file() -> str | None:
    return os.path.expanduser(os.environ.get(CONFIG, "")) or None


def hosts(variable: str) -> tuple[str, ...]:
    """Return the registries that a variable lists."""
    return tuple(os.environ.get(variable, "").replace(",", " ").split())


def proxies() -> dict[str, str]:
    """Return URLs by scheme, and ``no``. Lower-case names of the variables work too."""
    from urllib.request import getproxies_environment

    return getproxies_environment()


def auth_files() -> tuple[str, ...]:
    """Return the files in which ``podman login`` and ``docker login`` store credentials, in order.

    The order is that of containers-auth.json(5). If ``$REGISTRY_AUTH_FILE`` is set, it is the only one.
    """
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return (named,)
    folder = home()
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.join(folder, ".config")
    places = [
        os.path.join(settings, "containers", "auth.json"),
        os.path.join(_docker_folder(), "config.json"),
        os.path.join(folder, ".dockercfg"),
    ]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.insert(0, os.path.join(runtime, "containers", "auth.json"))
    elif sys.platform == "linux":
        places.insert(0, f"/run/containers/{os.getuid()}/auth.json")
    # Without a home folder, these would be relative to the current folder.
    return tuple(place for place in places if folder or not place.startswith((".config", ".docker")))


def docker() -> DockerAddress:
    """Return the address of the Docker daemon, as Docker's own client finds it, without its contexts."""
    from layercache.export.to_daemon import DockerAddress

    tls = os.environ.get("DOCKER_TLS_VERIFY")
    certificates = (os.environ.get("DOCKER_CERT_PATH") or _docker_folder()) if tls else ""
    host = os.environ.get("DOCKER_HOST")
    return DockerAddress(host, certificates) if host else DockerAddress(certificates=certificates)


def _docker_folder() -> str:
    return os.environ.get("DOCKER_CONFIG") or os.path.join(home(), ".docker")


def login_file() -> str:
    """Return the file that a new login is stored in: Docker's, which podman and others read, too.

    Raises `ConfigError` without a home folder.
    """
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return named
    if not os.environ.get("DOCKER_CONFIG") and not home():
        raise ConfigError(
            "there is no home folder to store a login in",
            hint="set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE",
        )
    return os.path.join(_docker_folder(), "config.json")


def home() -> str:
    """Return the user's home folder; empty without HOME and without an entry in the user database."""
    places = (os.environ.get("HOME", "/"), os.path.expanduser("~"))  # an empty HOME would make it the root
    return places[1] if all(map(os.path.isabs, places)) else ""


def user_cache_folder() -> str:
    """Return the platform's folder for this user's cache. Raises `ConfigError` without a home folder."""
    if found := _user_folder("XDG_CACHE_HOME", ".cache", "user_cache_dir"):
        return found
    raise ConfigError(
        f"no cache was given, and the user {os.getuid()} has no home folder for a default one",
        hint=f"choose a cache (--cache, {URL}), or set HOME",
    )


def user_config_folder() -> str:
    """Return the platform's folder for this user's configuration; empty without a home folder."""
    return _user_folder("XDG_CONFIG_HOME", ".config", "user_config_dir")


def statistics_file() -> str | None:
    """Return the file of this user's statistics, in the platform's folder for states; None without a home."""
    folder = _user_folder("XDG_STATE_HOME", os.path.join(".local", "state"), "user_state_dir")
    return os.path.join(folder, "statistics.jsonl") if folder else None


def _user_folder(variable: str, usual: str, function: str) -> str:
    """Return the folder that a variable moves; empty without a home folder.

    On Linux this follows the XDG Base Directory Specification, as platformdirs does. Every command needs
    these folders, and importing platformdirs takes a third as long as starting the interpreter.
    """
    if sys.platform in ("darwin", "win32"):
        import platformdirs

        found: str = getattr(platformdirs, function)("layercache", appauthor=False)
        return found
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):  # not set, or relative, which the specification says to ignore
        if not (folder := home()):
            return ""
        base = os.path.join(folder, usual)
    return os.path.join(base, "layercache")
