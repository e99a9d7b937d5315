"""The settings in effect: options, then the environment, then the configuration files, then defaults.

Each value carries its origin. ``layercache config show`` prints the same values that a cache is opened with.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import BackendURL
from layercache.cache import Cache
from layercache.config import environment
from layercache.config.default_cache import as_url, default_cache, limited
from layercache.config.setting import DEFAULT, Setting
from layercache.errors import ConfigError
from layercache.oci.descriptor import DOCUMENT_MAX
from layercache.streams.limits import MAX_INFLATED_SIZE, MAX_RATIO, Limits
from layercache.tiers.opening import open_tier
from layercache.tiers.policy import ON_THIS_MACHINE
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from layercache.config.from_variables import Variables
    from layercache.config.registries import Registries
    from layercache.config.reopening import Reopening
    from layercache.config.schema import CacheTable, Checked
    from layercache.config.serve import ServeTable
    from layercache.registry.settings import RegistrySettings
    from layercache.tiers.tier import Tier
    from layercache.transfer.share import Share

_T = TypeVar("_T")

DEFAULTS: Mapping[str, object] = {
    "offline": False,
    "verify": "size",
    "strict": False,
    "max_inflated_size": MAX_INFLATED_SIZE,
    "max_ratio": MAX_RATIO,
    "max_document_size": DOCUMENT_MAX,
    "tag_age": 0,
    "finish": "25%,64MiB",
    "statistics": True,
}
"""How a cache behaves by default."""


class Chosen(Value, frozen=True):
    """The URLs of the tiers, nearest first, and the name of the cache if it was chosen by name."""

    tiers: list[Setting]
    name: str = ""


class Configuration:
    """The configuration files, nearest first, and what overrides them.

    A key has the value of the first place that sets it: ``variables``, then each of ``files``. ``looked_in``
    lists the places that were searched for files.
    """

    def __init__(
        self,
        files: Sequence[Checked] = (),
        variables: Variables | None = None,
        looked_in: Sequence[str] = (),
    ) -> None:
        self.files = tuple(files)
        self.variables = variables
        self._looked_in = tuple(looked_in)

    @cached_property
    def registry_tables(self) -> Registries:
        """What variables and files set for registries."""
        from layercache.config.registries import combined

        return combined(self.variables, self.files)

    def open(
        self,
        urls: Sequence[str] = (),
        *,
        by: str,
        given: Mapping[str, Setting] | None = None,
        registries: RegistrySettings | None = None,
        inside: tuple[str, ...] | None = None,
        reopening: Reopening | None = None,
    ) -> Cache:
        """Open the cache that `choose` selects with the settings of `behaviour`. Raises `ConfigError`.

        The user's cache folder has a limit unless its URL sets one. ``inside``: for images, contact only
        addresses of the internet and these of the inside, see `RegistrySettings`; None: any.
        ``reopening``: how a pickle names the cache.
        """
        chosen = self.choose(urls, by)
        how = {key: setting.value for key, setting in self.behaviour(chosen.name, given).items()}
        biggest = how["max_document_size"]
        reached = (lambda: registries) if registries else partial(self.registries, max_document_size=biggest)
        opens = partial(open_tier, registries=reached, max_document_size=biggest)
        return Cache(
            [
                _opened(limited(setting), by, partial(opens, nearest=not number))
                for number, setting in enumerate(chosen.tiers)
            ],
            registries=partial(_reaching, reached, inside),
            limits=Limits(size=how["max_inflated_size"], ratio=how["max_ratio"]),
            offline=how["offline"],
            verify_always=how["verify"] == "always",
            strict=how["strict"],
            tag_age=how["tag_age"],
            finish=_share(how["finish"]),
            max_document_size=biggest,
            docker=environment.docker,
            statistics=environment.statistics_file() if how["statistics"] else None,
            reopening=reopening,
            single=lambda place: self.open_alone(as_url(place), "target"),
        )

    def serve(self) -> dict[str, Setting]:
        """Return what variables and files set in the table ``[serve]``, by key."""
        found: dict[str, Setting] = {}
        for file in reversed(self.files):
            found |= _set_keys(file.table.serve, file.origin_in("serve"))
        if self.variables:
            from layercache.config.from_variables import serve_variable_of

            found |= _set_keys(self.variables.serve, serve_variable_of)
        return found

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
        return _opened(limited(tiers[0]), by, partial(opens, nearest=nearest))

    def _is_own(self, url: str) -> bool:
        """Whether a URL is that of the nearest configured tier."""
        one, other = (BackendURL.parse(each) for each in (url, self.choose().tiers[0].value))
        paths = {os.path.realpath(os.path.expanduser(each.path)) for each in (one, other)}
        return one.scheme == other.scheme and len(paths) == 1

    def choose(self, urls: Sequence[str] = (), by: str = "") -> Chosen:
        """Return the tiers of ``urls``, else of the environment, the files, or the user's cache folder.

        ``urls`` may be one ``@NAME``. ``by`` is the origin of the URLs. Raises `ConfigError`.
        """
        if not urls:
            urls, by = environment.urls(), environment.URL
        name = next((url for url in urls if url.startswith("@")), "").removeprefix("@")
        if name and len(urls) > 1:
            raise ConfigError(
                f"@{name} cannot be combined with other caches",
                hint=f"@{name} stands for all its tiers: use it alone",
            )
        if name:
            found = _tiers(*self._named(name))
        elif urls:
            found = [Setting(url, by) for url in urls]
        else:
            defined = next(((file, file.table) for file in self.files if file.table.tiers), None)
            found = _tiers(*defined) if defined else [Setting(default_cache(), DEFAULT)]
        return Chosen(found, name)

    def behaviour(self, name: str = "", given: Mapping[str, Setting] | None = None) -> dict[str, Setting]:
        """Return a value for each name of `DEFAULTS`. ``given`` overrides everything."""
        found = {key: Setting(value, DEFAULT) for key, value in DEFAULTS.items()}
        for file in reversed(self.files):
            _override(found, file.table, file.origin)
        if name:
            file, table = self._named(name)
            _override(found, table, file.origin_in("caches", name))
        if self.variables:
            from layercache.config.from_variables import variable_of

            _override(found, self.variables.cache, variable_of)
        return {**found, **(given or {})}

    def registries(
        self,
        *,
        ca_file: str | None = None,
        plain_http: Sequence[str] = (),
        insecure: Sequence[str] = (),
        max_document_size: int | None = None,
    ) -> RegistrySettings:
        """Combine the registry settings of the files, the environment and the arguments.

        Lists of hosts are joined. For the CA file, the argument overrides the environment, which overrides
        the configuration files.
        """
        return self.registry_tables.settings(
            ca_file=ca_file,
            plain_http=plain_http,
            insecure=insecure,
            max_document_size=max_document_size or self.behaviour()["max_document_size"].value,
        )

    def _named(self, name: str) -> tuple[Checked, CacheTable]:
        """Return the nearest definition of a cache, and its file."""
        for file in self.files:
            if found := (file.table.caches or {}).get(name):
                return file, found
        known = [f"@{each}" for file in self.files for each in file.table.caches or ()]
        raise ConfigError(
            f"there is no cache named {name}",
            looked_in=[file.place.path for file in self.files] or self._looked_in,
            hint=f"defined caches: {', '.join(dict.fromkeys(known))}"
            if known
            else f"define it in a configuration file: [caches.{name}]",
        )


def _tiers(file: Checked, table: CacheTable) -> list[Setting]:
    return [Setting(each.url, f"{file.place.path}: {each.key}") for each in table.tiers or ()]


def _override(found: dict[str, Setting], table: CacheTable, origin: Callable[[str], str]) -> None:
    """Replace the settings that a table sets."""
    for key in found:
        if (value := getattr(table, key)) is not None:
            found[key] = Setting(value, origin(key))


def _set_keys(table: ServeTable | None, origin: Callable[[str], str]) -> dict[str, Setting]:
    """Return the settings that a table sets."""
    from dataclasses import fields  # where there is a table, it is loaded already

    keys = [each.name for each in fields(table)] if table else []
    return {key: Setting(value, origin(key)) for key in keys if (value := getattr(table, key)) is not None}


def _opened(setting: Setting, by: str, opens: Callable[[str], _T]) -> _T:
    try:
        return opens(setting.value)
    except ConfigError as error:
        if setting.origin == by:  # the caller knows where its own URL comes from
            raise
        message = f"{setting.origin}: {error.message}"
        raise ConfigError(message, looked_in=error.looked_in, hint=error.hint) from error


def _reaching(registries: Callable[[], RegistrySettings], inside: tuple[str, ...] | None) -> RegistrySettings:
    from dataclasses import replace  # most commands reach no registry, and need not load it

    return replace(registries(), inside=inside)


def _share(text: str) -> Share | None:
    """The value of ``finish``; None for the default. Raises `ConfigError`."""
    if text == DEFAULTS["finish"]:
        return None
    from layercache.transfer import share  # imported where another one is wanted

    try:
        return share.Share.parse(text)
    except ValueError:
        raise ConfigError(f"finish={text!r}", hint=f"expected {share.SHARE_EXAMPLES}") from None
