"""The settings in effect, as printed for users: values that may be secret are hidden."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from layercache.config import environment
from layercache.config.checker import dotted
from layercache.config.configuration import DEFAULT, Setting
from layercache.config.schema import HostTable, RegistryTable
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
    """Every key with its value and where that is from. ``urls``, ``by`` and ``given`` as for `open`.

    Raises `ConfigError`.
    """
    chosen = configuration.choose(urls, by)
    for number, tier in enumerate(chosen.tiers):
        yield f"tiers[{number}]", Setting(shown_url(tier.value), tier.origin)
    yield from configuration.behaviour(chosen.name, given).items()
    for name, cache in configuration.caches.items():
        for number, each in enumerate(cache.tiers or ()):
            key = f"{dotted('caches', name)}.tiers[{number}]"
            yield key, Setting(shown_url(each.url), _origin(configuration, key))
    yield from _every_registry(configuration)
    yield from _single_registries(configuration)
    for scheme, proxy in sorted(environment.proxies().items()):
        shown = re.sub(r"^(\w+://)?.*@", rf"\g<1>{HIDDEN}@", proxy)
        yield f"proxies.{scheme}", Setting(shown, "environment")


def _every_registry(configuration: Configuration) -> Iterator[tuple[str, Setting]]:
    for field in fields(RegistryTable):
        key = f"registry.{field.name}"
        value = getattr(configuration.registry, field.name, None)
        if field.name == "ca_file" and (variable := environment.ca_file()):
            yield key, Setting(variable, environment.CA_FILE)
        elif value is not None:
            yield key, Setting(value, _origin(configuration, key))
        else:
            yield key, Setting(getattr(RegistrySettings, field.name), DEFAULT)


def _single_registries(configuration: Configuration) -> Iterator[tuple[str, Setting]]:
    for host, table in configuration.hosts.items():
        for field in fields(HostTable):
            key = f"{dotted('registries', host)}.{field.name}"
            value: Any = getattr(table, field.name)
            if value is not None:
                shown = list(value) if isinstance(value, tuple) else value
                yield key, Setting(shown, _origin(configuration, key))
    for variable, name in ((environment.PLAIN_HTTP, "plain_http"), (environment.INSECURE, "insecure")):
        for host in environment.hosts(variable):
            yield f"{dotted('registries', host)}.{name}", Setting(True, variable)


def _origin(configuration: Configuration, key: str) -> str:
    assert configuration.checked is not None
    return configuration.checked.origin(key)


def shown_url(url: str) -> str:
    """Return a tier's URL with everything hidden that may be secret."""
    place, mark, query = _USER.sub(f"//{HIDDEN}@", url).partition("?")
    options = [
        (name, HIDDEN if may_be_secret(name) else _USER.sub(f"//{HIDDEN}@", value))
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{place}{mark}{urlencode(options, safe='*:/@')}"
