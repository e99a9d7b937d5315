"""What is in force: options, then the environment, then the configuration file, then defaults.

Each value comes with where it is from. A cache is opened by the same values that ``layercache config
show`` tells.
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
"""How a cache behaves unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it is from: an option, a variable, a file and its key, or the default."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tiers' URLs, near to far, and the name of the cache if it was chosen by name."""

    tiers: list[Setting]
    name: str = ""


class Configuration:
    """A configuration file, if there is one, with what overrides it.

    ``checked`` is the file; ``looked_in`` names where one was looked for.
    """

    def __init__(self, checked: Checked | None = None, looked_in: Sequence[str] = ()) -> None:
        self.checked = checked
        self._looked_in = tuple(looked_in)

    @property
    def caches(self) -> Mapping[str, CacheTable]:
        """The named ones."""
        return (self.checked.table.caches or {}) if self.checked else {}

    @property
    def registry(self) -> RegistryTable | None:
        return self.checked.table.registry if self.checked else None

    @property
    def hosts(self) -> Mapping[str, HostTable]:
        """The registries that have settings of their own."""
        return (self.checked.table.registries or {}) if self.checked else {}

    def open(
        self,
        urls: Sequence[str] = (),
        *,
        by: str,
        given: Mapping[str, Setting] | None = None,
        registries: RegistrySettings | None = None,
    ) -> Cache:
        """The cache that `choose` finds, behaving as `behaviour` says. Raises `ConfigError`."""
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
        )

    def open_alone(self, url: str, by: str, *, filled_by_others: bool = False) -> Tier:
        """A cache that is no other one's tier: on this machine trusted as a nearest tier is, elsewhere not.

        ``filled_by_others``: there only if it is the nearest one of those that are configured. Raises
        `ConfigError`; also where the name stands for several tiers.
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
        """Whether a URL is that of the nearest tier that is configured."""
        one, other = (BackendURL.parse(each) for each in (url, self.choose().tiers[0].value))
        paths = {os.path.realpath(os.path.expanduser(each.path)) for each in (one, other)}
        return one.scheme == other.scheme and len(paths) == 1

    def choose(self, urls: Sequence[str] = (), by: str = "") -> Chosen:
        """The tiers that ``urls`` name, or one ``@NAME``; else those of the environment, the file, the user.

        ``by`` is who gave the URLs. Raises `ConfigError`.
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
                f"the cache {name} is named beside others", hint=f"{name} has all its tiers: name it alone"
            )
        return Chosen(self._tiers(self._named(name.removeprefix("@"))), name.removeprefix("@"))

    def behaviour(self, name: str = "", given: Mapping[str, Setting] | None = None) -> dict[str, Setting]:
        """How the cache behaves: each name of `DEFAULTS` with its value. ``given`` counts most."""
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
        """How registries are reached: as the file, the environment and the arguments say.

        Lists of hosts add up; of the files of certificates the first counts. Credentials are those of
        `environment.auth_files`, proxies those of `environment.proxies`.
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
            f"no cache is named {name}",
            looked_in=[self.checked.place.path] if self.checked else self._looked_in,
            hint=f"known are {known}" if known else f"name its tiers in a configuration: [caches.{name}]",
        )


def _opened(setting: Setting, by: str, opens: Callable[[str], _T]) -> _T:
    try:
        return opens(setting.value)
    except ConfigError as error:
        if setting.origin == by:  # who gave the URL knows where it is from
            raise
        message = f"{setting.origin}: {error.message}"
        raise ConfigError(message, looked_in=error.looked_in, hint=error.hint) from error


def file_url(path: str) -> str:
    """The URL of a folder."""
    return f"file://{quote(os.path.abspath(path))}"
