"""Strict validation of a configuration file: unknown keys and values of the wrong type are problems.

All problems are collected, each with the full name of the key and what is allowed there.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from layercache.config import environment
from layercache.config.variables import expand, may_be_secret
from layercache.errors import ConfigError, did_you_mean
from layercache.tiers.policy import OPTIONS
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import DataclassInstance

    from layercache.config.files import Document

ItemT = TypeVar("ItemT")
TableT = TypeVar("TableT", bound="DataclassInstance")

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = "key"
_TOML_WORDS = ((bool, "true or false"), (int, "an integer"), (float, "a float"), (str, "a string"))


class ConfigProblem(Value, frozen=True):
    """One problem of a configuration file: the key, what is wrong, and what is allowed."""

    file: str
    key: str
    message: str
    hint: str

    def error(self, *, more: int = 0) -> ConfigError:
        """Return the problem as an error; ``more`` is the number of other problems of the file."""
        others = f" (and {more} more: layercache config check lists them all)" if more else ""
        return ConfigError(f"{self.file}: {self.key}: {self.message}{others}", hint=self.hint)


class Parse(Protocol):
    """Turns a TOML value into a setting; raises `ValueError` with what is wrong."""

    def __call__(self, checker: Checker, value: object, path: str, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Key:
    """What a key accepts.

    ``wanted`` describes it for error messages. ``projects`` is the reason why a project's file may not set
    it; empty if it may.
    """

    parse: Parse
    wanted: str
    projects: str = ""


def key(parse: Parse, wanted: str, *, projects: str = "") -> Any:
    """Declare a dataclass field as a key of a table. Its value is None if the file does not set it."""
    return field(default=None, metadata={_KEY: Key(parse, wanted, projects)})


def keys_of(table: type[DataclassInstance]) -> dict[str, Key]:
    return {each.name: each.metadata[_KEY] for each in fields(table)}


class Checker:
    """Validates the tables of one document. ``problems`` are those found so far."""

    def __init__(self, document: Document) -> None:
        self.place = document.place
        self.prefix = document.prefix
        self.folder = document.folder
        self.problems: list[ConfigProblem] = []

    @property
    def is_project(self) -> bool:
        """Whether the file was found in a project's folder, and so may come from somebody else."""
        return self.place.kind == "project"

    def table(self, kind: type[TableT], value: object, path: str = "") -> TableT:
        """Read a table whose keys are the fields of a dataclass. Omit what is wrong."""
        known = keys_of(kind)
        found = {}
        for name, item in self.items(value, path):
            where = dotted(path, name)
            if name in known:
                found[name] = self.value(known[name], item, where)
            else:
                self.refuse(where, "unknown key", _suggestion(name, known))
        return kind(**found)

    def items(self, value: object, path: str) -> Iterable[tuple[str, Any]]:
        if isinstance(value, dict):
            return value.items()
        self.refuse(path, str(wrong_type(value)), "expected a table")
        return ()

    def value(self, key: Key, value: object, path: str) -> object:
        """Return the parsed value; None if it is wrong."""
        if self.is_project and key.projects:
            self.refuse(path, "a project's file may not set it", key.projects)
            return None
        with self.attempt(path, key.wanted):
            return key.parse(self, value, path)
        return None

    def each(
        self, values: Iterable[object], path: str, parse: Callable[[object, int], ItemT], wanted: str
    ) -> tuple[ItemT, ...]:
        """Parse the items of an array. Omit those that are wrong."""
        found = []
        for number, item in enumerate(values):
            with self.attempt(f"{path}[{number}]", wanted):
                found.append(parse(item, number))
        return tuple(found)

    @contextmanager
    def attempt(self, path: str, wanted: str) -> Iterator[None]:
        """Turn an error of the block into a problem, and end the block."""
        try:
            yield
        except ConfigError as error:  # before ValueError: some are both
            self.refuse(path, error.message, error.hint or f"expected {wanted}")
        except ValueError as error:
            self.refuse(path, str(error), f"expected {wanted}")

    def refuse(self, path: str, message: str, wanted: str) -> None:
        self.problems.append(ConfigProblem(self.place.path, f"{self.prefix}{path}", message, wanted))

    def text(self, value: object) -> str:
        """Expand the variables in a string. Raises `ValueError`."""
        if not isinstance(value, str):
            raise wrong_type(value)
        return expand(value, self._variable)

    def _variable(self, name: str) -> str | None:
        if self.is_project and may_be_secret(name):
            raise ConfigError(
                f"a project's file may not use the variable {name}",
                hint="its name suggests a secret, which the file could send to any bucket or host",
            )
        return environment.variable(name)


def dotted(path: str, name: str) -> str:
    """Return the full name of a key in a table, quoted as in TOML."""
    part = name if _BARE.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{path}.{part}" if path else part


class WrongTypeError(ValueError):
    """A value is of another type than its key accepts."""


def wrong_type(value: object) -> WrongTypeError:
    """Return an error that names the TOML type of a value."""
    if isinstance(value, list | dict):
        return WrongTypeError("is an array" if isinstance(value, list) else "is a table")
    words = next((words for kind, words in _TOML_WORDS if isinstance(value, kind)), "a date or time")
    return WrongTypeError(f"is {words}")


def _suggestion(name: str, known: Iterable[str]) -> str:
    """Return the most similar allowed name, if any, and all allowed names."""
    known = list(known)
    if "tiers" in known and name in OPTIONS:
        return f"this is an option of a tier: tiers = [{{ url = …, {name} = … }}]"
    return f"{did_you_mean(name, known)}allowed keys: {', '.join(known)}"
