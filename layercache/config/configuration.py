"""The settings in effect: options, then the environment, then the configuration file, then defaults.

Each value carries its origin. ``layercache config show`` prints the same values that a cache is opened with.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from layercache.backend import BackendURL
from layercache.cache import Cache
from layercache.config import environment
from layercache.errors import ConfigError
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.streams.inflate import MAX_INFLATED_SIZE, MAX_RATIO, Limits
from layercache.tiers.opening import open_tier
from layercache.tiers.policy import ON_THIS_MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from layercache.config.schema import CacheTable, Checked, HostTable, RegistryTable
    from layercache.registry.settings import RegistrySettings
    from layercache.tiers.tier import Tier

_T = TypeVar("_T")

ARGUMENT = "argument"
DEFAULT = "default"

DEFAULTS: Mapping[str, object] = {
    "offline": False,
    "verify": "size",
    "strict": False,
    "max_inflated_size": MAX_INFLATED_SIZE,
    "max_ratio": MAX_RATIO,
    "max_document_size": DOCUMENT_MAX,
    "tag_age": 0,
}
"""How a cache behaves by default."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and its origin: an option, a variable, a file and its key, or the default."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The URLs of the tiers, nearest first, and the name of the cache if it was chosen by name."""

    tiers: list[Setting]
    name: str = ""


class Configuration:
    """A configuration file, if there is one, and what overrides it.

    ``checked`` is the file; ``looked_in`` lists the places that were searched for one.
    """

    def __init__(self, checked: Checked | None = None, looked_in: Sequence[str] = ()) -> None:
        self.checked = checked
        self._looked_in = tuple(looked_in)

    @property
    def caches(self) -> Mapping[str, CacheTable]:
        """The named caches of the file."""
        return (self.checked.table.caches or {}) if self.checked else {}

    @property
    def registry(self) -> RegistryTable | None:
        return self.checked.table.registry if self.checked else None

    @property
    def hosts(self) -> Mapping[str, HostTable]:
        """The registries with a table in the file."""
        return (self.checked.table.registries or {}) if self.checked else {}

    def open(
        self,
        urls: Sequence[str] = (),
        *,
        by: str,
        given: Mapping[str, Setting] | None = None,
        registries: RegistrySettings | None = None,
    ) -> Cache:
        """Open the cache that `choose` selects with the settings of `behaviour`. Raises `ConfigError`."""
        chosen = self.choose(urls, by)
        how = {key: setting.value for key, setting in self.behaviour(chosen.name, given).items()}
        biggest = how["max_document_size"]
        reached = (lambda: registries) if registries else partial(self.registries, max_document_size=biggest)
        opens = partial(open_tier, registries=reached, max_document_size=biggest)
        return Cache(
            [
                _opened(setting, by, partial(opens, nearest=not number))
                for number, setting in enumerate(chosen.tiers)
            ],
            registries=reached,
            limits=Limits(size=how["max_inflated_size"], ratio=how["max_ratio"]),
            offline=how["offline"],
            verify_always=how["verify"] == "always",
            strict=how["strict"],
            tag_age=how["tag_age"],
            max_document_size=biggest,
            docker=environment.docker,
        )

    def open_alone(self, url: str, by: str, *, filled_by_others: bool = False) -> Tier:
        """Open a single tier. One on this machine is trusted, as a nearest tier is; others are not.

        With ``filled_by_others``, a tier on this machine is trusted only if it is the nearest configured
        one. Raises `ConfigError`, also if the name stands for several tiers.
        """
        tiers = self.choose([url], by).tiers
        if len(tiers) > 1:
            names = " ".join(each.value for each in tiers)
            raise ConfigError(f"{url} has {len(tiers)} tiers", hint=f"name one of them: {names}")
        here = BackendURL.parse(tiers[0].value).scheme in ON_THIS_MACHINE
        nearest = here and (not filled_by_others or url.startswith("@") or self._is_own(tiers[0].value))
        biggest = self.behaviour()["max_document_size"].value
        opens = partial(open_tier, registries=self.registries, max_document_size=biggest)
        return _opened(tiers[0], by, partial(opens, nearest=nearest))

    def _is_own(self, url: str) -> bool:
        """Whether a URL is that of the nearest configured tier."""
        one, other = (BackendURL.parse(each) for each in (url, self.choose().tiers[0].value))
        paths = {os.path.realpath(os.path.expanduser(each.path)) for each in (one, other)}
        return one.scheme == other.scheme and len(paths) == 1

    def choose(self, urls: Sequence[str] = (), by: str = "") -> Chosen:
        """Return the tiers of ``urls``, else of the environment, the file, or the user's cache folder.

        ``urls`` may be one ``@NAME``. ``by`` is the origin of the URLs. Raises `ConfigError`.
        """
        if not urls:
            urls, by = environment.urls(), environment.URL
        if not urls:
            if self.checked and self.checked.table.tiers:
                return Chosen(self._tiers(self.checked.table))
            return Chosen([Setting(file_url(environment.user_cache_folder()), DEFAULT)])
        name = next((url for url in urls if url.startswith("@")), "")
        if not name:
            return Chosen([Setting(url, by) for url in urls])
        if len(urls) > 1:
            raise ConfigError(
                f"{name} cannot be combined with other caches",
                hint=f"{name} stands for all its tiers: use it alone",
            )
        return Chosen(self._tiers(self._named(name.removeprefix("@"))), name.removeprefix("@"))

    def behaviour(self, name: str = "", given: Mapping[str, Setting] | None = None) -> dict[str, Setting]:
        """Return a value for each name of `DEFAULTS`. ``given`` overrides everything."""
        found = {key: Setting(value, DEFAULT) for key, value in DEFAULTS.items()}
        if self.checked:
            for prefix, table in (("", self.checked.table), (f"caches.{name}.", self.caches.get(name))):
                for key in found:
                    if table and (value := getattr(table, key)) is not None:
                        found[key] = Setting(value, self.checked.origin(prefix + key))
        return {**found, **(given or {})}

    def registries(
        self,
        *,
        ca_file: str | None = None,
        plain_http: Sequence[str] = (),
        insecure: Sequence[str] = (),
        max_document_size: int | None = None,
    ) -> RegistrySettings:
        """Combine the registry settings of the file, the environment and the arguments.

        Lists of hosts are joined. For the CA file, the argument overrides the environment, which overrides
        the configuration file. Credentials come from `environment.auth_files`, proxies from
        `environment.proxies`.
        """
        from layercache.registry.settings import RegistrySettings

        every, hosts = self.registry, self.hosts
        tuned = {
            name: value
            for name in ("connect_timeout", "read_timeout", "retries")
            if every and (value := getattr(every, name)) is not None
        }
        plain = [host for host, table in hosts.items() if table.plain_http]
        unchecked = [host for host, table in hosts.items() if table.insecure]
        return RegistrySettings(
            auth_files=environment.auth_files(),
            ca_file=ca_file or environment.ca_file() or (every and every.ca_file) or None,
            plain_http=(*plain, *environment.hosts(environment.PLAIN_HTTP), *plain_http),
            insecure=(*unchecked, *environment.hosts(environment.INSECURE), *insecure),
            mirrors={host: table.mirrors for host, table in hosts.items() if table.mirrors},
            ca_files={host: table.ca_file for host, table in hosts.items() if table.ca_file},
            credential_helpers={
                host: table.credentials_helper for host, table in hosts.items() if table.credentials_helper
            },
            proxies=environment.proxies(),
            max_document_size=max_document_size or self.behaviour()["max_document_size"].value,
            **tuned,
        )

    def _tiers(self, table: CacheTable) -> list[Setting]:
        assert self.checked is not None
        return [Setting(each.url, f"{self.checked.place.path}: {each.key}") for each in table.tiers or ()]

    def _named(self, name: str) -> CacheTable:
        if name in self.caches:
            return self.caches[name]
        known = ", ".join(f"@{each}" for each in self.caches)
        raise ConfigError(
            f"there is no cache named {name}",
            looked_in=[self.checked.place.path] if self.checked else self._looked_in,
            hint=f"defined caches: {known}"
            if known
            else f"define it in a configuration file: [caches.{name}]",
        )


def _opened(setting: Setting, by: str, opens: Callable[[str], _T]) -> _T:
    try:
        return opens(setting.value)
    except ConfigError as error:
        if setting.origin == by:  # the caller knows where its own URL comes from
            raise
        message = f"{setting.origin}: {error.message}"
        raise ConfigError(message, looked_in=error.looked_in, hint=error.hint) from error


def file_url(path: str) -> str:
    """Return the file:// URL of a folder."""
    return f"file://{quote(os.path.abspath(path))}"
