"""Every key of a configuration file. docs/configuration.md documents each; a test checks that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.config import values
from layercache.config.checker import Checker, dotted, key
from layercache.config.serve import OPERATORS, ServeTable
from layercache.config.tiers import TIERS, ConfiguredTier, tiers
from layercache.transfer.share import SHARE_EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.config.files import Document, Place

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

USERS = "set it in your own configuration: it decides how safely a registry is contacted, or what runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTable:
    """A cache: its tiers and how it behaves."""

    tiers: tuple[ConfiguredTier, ...] | None = key(tiers, TIERS)
    offline: bool | None = key(values.flag, "true or false")
    verify: str | None = key(values.choice("size", "always"), "size or always")
    strict: bool | None = key(values.flag, "true or false")
    max_inflated_size: int | None = key(values.size, values.SIZE)
    max_ratio: int | None = key(values.whole(1), "an integer, at least 1")
    max_document_size: int | None = key(values.size, values.SIZE)
    tag_age: float | None = key(values.age, f"0, or {values.SECONDS}")
    finish: str | None = key(values.share, SHARE_EXAMPLES)
    statistics: bool | None = key(values.flag, "true or false")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTable:
    """How to reach every registry."""

    ca_file: str | None = key(values.file, "a file of PEM certificates", projects=USERS)
    connect_timeout: float | None = key(values.seconds, values.SECONDS)
    read_timeout: float | None = key(values.seconds, values.SECONDS)
    retries: int | None = key(values.whole(0), "an integer that is not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTable:
    """How to reach one registry."""

    mirrors: tuple[str, ...] | None = key(values.mirrors, f"an array of registries, each {values.MIRROR}")
    plain_http: bool | None = key(values.flag, "true or false", projects=USERS)
    insecure: bool | None = key(values.flag, "true or false", projects=USERS)
    ca_file: str | None = key(values.file, "a file of PEM certificates", projects=USERS)
    credentials_helper: str | None = key(values.helper, values.HELPER, projects=USERS)


def _caches(checker: Checker, value: object, path: str) -> dict[str, CacheTable]:
    found = {}
    for name, item in checker.items(value, path):
        where = dotted(path, name)
        if not _NAME.fullmatch(name):
            checker.refuse(
                where, "not a name", "expected letters, digits and '_.-', beginning with a letter or a digit"
            )
        elif isinstance(item, dict) and "tiers" not in item:
            checker.refuse(where, "has no tiers", f"expected tiers, {TIERS}")
        else:
            found[name] = checker.table(CacheTable, item, where)
    return found


def _registry(checker: Checker, value: object, path: str) -> RegistryTable:
    if not isinstance(value, dict):
        return checker.table(RegistryTable, value, path)
    hosts = [name for name, item in value.items() if isinstance(item, dict)]
    for name in hosts:
        checker.refuse(
            dotted(path, name), "unknown key", f"for one registry, use [{dotted('registries', name)}]"
        )
    rest = {name: item for name, item in value.items() if name not in hosts}
    return checker.table(RegistryTable, rest, path)


def _serve(checker: Checker, value: object, path: str) -> ServeTable:
    return checker.table(ServeTable, value, path)


def _registries(checker: Checker, value: object, path: str) -> dict[str, HostTable]:
    found = {}
    for name, item in checker.items(value, path):
        where = dotted(path, name)
        with checker.attempt(where, "HOST or HOST:PORT, as in references"):
            found[values.registry(name)] = checker.table(HostTable, item, where)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable(CacheTable):
    """A whole configuration file."""

    caches: dict[str, CacheTable] | None = key(_caches, "a table of caches")
    registry: RegistryTable | None = key(_registry, "a table")
    registries: dict[str, HostTable] | None = key(_registries, "a table of registries")
    serve: ServeTable | None = key(_serve, "a table", projects=OPERATORS)


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration file that is right."""

    place: Place
    prefix: str
    table: FileTable

    def origin(self, key: str) -> str:
        """How the place of a value is named in messages."""
        return f"{self.place.path}: {self.prefix}{key}"

    def origin_in(self, *tables: str) -> Callable[[str], str]:
        """How the keys of a table in a table are named in messages."""
        path = ""
        for name in tables:
            path = dotted(path, name)
        return lambda key: self.origin(dotted(path, key))


def check(document: Document) -> tuple[Checked, Checker]:
    """The file's values, and a checker that has all that is wrong with them."""
    checker = Checker(document)
    table = checker.table(FileTable, document.table)
    return Checked(document.place, document.prefix, table), checker


def checked(document: Document) -> Checked:
    """The file's values. Raises `ConfigError` for the first thing that is wrong."""
    found, checker = check(document)
    if checker.problems:
        raise checker.problems[0].error(more=len(checker.problems) - 1)
    return found
