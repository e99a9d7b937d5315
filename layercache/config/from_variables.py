"""A variable for each key of the configuration: ``LAYERCACHE_`` and the key's name in capitals.

The names come from the tables in `layercache.config.schema`, so every key has one; those of ``[serve]`` begin
with ``LAYERCACHE_SERVE_``. The values are those of a file; the items of an array are separated by spaces, and
a key of single registries has pairs of ``HOST=VALUE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layercache.config import environment, values
from layercache.config.checker import Checker, Key, WrongTypeError, keys_of, wrong_type
from layercache.config.files import Document, Place
from layercache.config.schema import CacheTable, HostTable, RegistryTable
from layercache.config.serve import ServeTable
from layercache.errors import ConfigError, most_similar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _typeshed import DataclassInstance

_FLAGS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


DIGITS_MAX = 1000
"""Python refuses to read a number that is much longer."""


@dataclass(frozen=True, slots=True)
class Variables:
    """The keys that variables set; other keys are None. ``unknown``: variables that nothing reads."""

    cache: CacheTable
    registry: RegistryTable
    hosts: dict[str, HostTable]
    serve: ServeTable
    unknown: tuple[str, ...]


def variable_of(key: str) -> str:
    return f"{environment.PREFIX}{key.upper()}"


def serve_variable_of(key: str) -> str:
    """Return the variable of a key of ``[serve]``."""
    return variable_of(f"serve_{key}")


def names() -> dict[str, tuple[type[DataclassInstance], str]]:
    """Return each variable that sets a key, with the table of the key and its name there."""
    found: dict[str, tuple[type[DataclassInstance], str]] = {}
    for table in (CacheTable, RegistryTable, HostTable):
        for key in keys_of(table):
            if key != "tiers":  # LAYERCACHE_URL
                found.setdefault(variable_of(key), (table, key))
    found |= {serve_variable_of(key): (ServeTable, key) for key in keys_of(ServeTable)}
    return {name: place for name, place in found.items() if name not in environment.OWN}


def read() -> Variables:
    """Read the variables. Raises `ConfigError` for a value that is not allowed."""
    given = environment.keys()
    known = names()
    tables: dict[type[DataclassInstance], dict[str, Any]] = {
        CacheTable: {},
        RegistryTable: {},
        ServeTable: {},
    }
    hosts: dict[str, dict[str, Any]] = {}
    for name in given.keys() & known.keys():
        table, key = known[name]
        checker = ValueChecker(name)
        accepts = keys_of(table)[key]
        if table is HostTable:
            for host, texts in checker.pairs(given[name]).items():
                hosts.setdefault(host, {})[key] = checker.parsed(accepts, texts, texts[-1])
        else:
            tables[table][key] = checker.parsed(accepts, *_readings(given[name]))
    return Variables(
        CacheTable(**tables[CacheTable]),
        RegistryTable(**tables[RegistryTable]),
        {host: HostTable(**found) for host, found in hosts.items()},
        ServeTable(**tables[ServeTable]),
        tuple(sorted(given.keys() - known.keys())),
    )


def warning(unknown: Sequence[str]) -> str:
    """Return a warning about variables that nothing reads."""
    known = {name.removeprefix(environment.PREFIX): name for name in (*environment.OWN, *names())}
    known |= dict.fromkeys(("CACHE", "CACHE_DIR", "DIR"), environment.URL)

    def suggested(name: str) -> str:
        meant = most_similar(name.removeprefix(environment.PREFIX), known)
        return f"{name} (did you mean {known[meant]}?)" if meant else name

    return f"unknown variables have no effect: {', '.join(map(suggested, unknown))}"


class ValueChecker(Checker):
    """Parses the value of a variable or an option as that of a key, without expanding variables in it."""

    def __init__(self, name: str) -> None:
        super().__init__(Document(Place(name, "environment"), {}))

    def text(self, value: object) -> str:
        if not isinstance(value, str):
            raise wrong_type(value)
        return value

    def pairs(self, text: str) -> dict[str, list[str]]:
        """Return the values of each host, in order."""
        found: dict[str, list[str]] = {}
        for pair in text.replace(",", " ").split():
            host, equals, value = pair.partition("=")
            if not equals or not value:
                raise ConfigError(
                    f"{self.place.path}: {pair!r} is not a pair",
                    hint="expected HOST=VALUE, separated by spaces",
                )
            try:
                found.setdefault(values.registry(host), []).append(value)
            except ValueError as error:
                raise ConfigError(f"{self.place.path}: {error}", hint="expected HOST=VALUE") from None
        return found

    def parsed(self, key: Key, *readings: object) -> object:
        """Return the first reading of the value that the key accepts. Raises `ConfigError`."""
        problem: ValueError = ValueError("is empty")
        for reading in readings:
            try:
                value = key.parse(self, reading, "")
                break
            except ValueError as error:
                problem = WrongTypeError(f"is {reading!r}") if isinstance(error, WrongTypeError) else error
        else:
            raise ConfigError(f"{self.place.path}: {problem}", hint=f"expected {key.wanted}")
        for wrong in self.problems:
            raise ConfigError(f"{self.place.path}: {wrong.message}", hint=wrong.hint)
        return value


def _readings(text: str) -> Iterator[object]:
    """What a text may stand for: a number, true or false, several texts, or itself."""
    text = text.strip()
    if text.isdecimal() and len(text) < DIGITS_MAX:
        yield int(text)
    if (flag := _FLAGS.get(text.lower())) is not None:
        yield flag
    yield text.replace(",", " ").split()
    yield text
