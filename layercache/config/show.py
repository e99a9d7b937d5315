"""The settings in effect, as printed for users: values that may be secret are hidden."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from layercache.config import environment
from layercache.config.checker import dotted
from layercache.config.default_cache import default_limit
from layercache.config.schema import RegistryTable
from layercache.config.setting import DEFAULT, Setting
from layercache.config.variables import may_be_secret
from layercache.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from layercache.config.configuration import Configuration

HIDDEN = "***"

_USER = re.compile(r"//(?:[^/?#@]*:.*|[^/?#]*)@")
"""A user, and all of a password, even one that should have been percent-encoded."""


def settings(
    configuration: Configuration, urls: Sequence[str] = (), by: str = "", given: Mapping[str, Setting] = {}
) -> Iterator[tuple[str, Setting]]:
    """Every key with its value and where that is from; of ``[serve]`` those that are set.

    ``urls``, ``by`` and ``given`` are as for `open`.

    Raises `ConfigError`.
    """
    chosen = configuration.choose(urls, by)
    for number, tier in enumerate(chosen.tiers):
        yield f"tiers[{number}]", Setting(shown_url(tier.value), tier.origin)
        if size := default_limit(tier):
            yield f"tiers[{number}].max_size", Setting(size, DEFAULT)
    yield from configuration.behaviour(chosen.name, given).items()
    yield from _named_caches(configuration)
    yield from _every_registry(configuration)
    yield from _single_registries(configuration)
    yield from ((f"serve.{key}", setting) for key, setting in configuration.serve().items())
    for scheme, proxy in sorted(environment.proxies().items()):
        shown = re.sub(r"^(\w+://)?.*@", rf"\g<1>{HIDDEN}@", proxy)
        yield f"proxies.{scheme}", Setting(shown, "environment")


def _named_caches(configuration: Configuration) -> Iterator[tuple[str, Setting]]:
    seen: set[str] = set()
    for file in configuration.files:
        for name, cache in (file.table.caches or {}).items():
            if name not in seen:  # else a nearer file defines it
                seen.add(name)
                for number, each in enumerate(cache.tiers or ()):
                    key = f"{dotted('caches', name)}.tiers[{number}]"
                    yield key, Setting(shown_url(each.url), file.origin(key))


def _every_registry(configuration: Configuration) -> Iterator[tuple[str, Setting]]:
    found = configuration.registry_tables.every
    for field in fields(RegistryTable):
        default = Setting(getattr(RegistrySettings, field.name), DEFAULT)
        yield f"registry.{field.name}", found.get(field.name, default)


def _single_registries(configuration: Configuration) -> Iterator[tuple[str, Setting]]:
    for host, table in configuration.registry_tables.hosts.items():
        for name, setting in table.items():
            value = list(setting.value) if isinstance(setting.value, tuple) else setting.value
            yield f"{dotted('registries', host)}.{name}", Setting(value, setting.origin)


def shown_url(url: str) -> str:
    """Return a tier's URL with everything hidden that may be secret."""
    place, mark, query = _USER.sub(f"//{HIDDEN}@", url).partition("?")
    options = [
        (name, HIDDEN if may_be_secret(name) else _USER.sub(f"//{HIDDEN}@", value))
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{place}{mark}{urlencode(options, safe='*:/@')}"
