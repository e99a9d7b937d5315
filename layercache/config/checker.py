"""Reading a configuration file strictly: every key is known, every value is of its type, or it is said.

All that is wrong is collected, each thing with the key's full name and what is allowed there.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from layercache.config import environment
from layercache.config.variables import expand, may_be_secret
from layercache.errors import ConfigError
from layercache.tiers.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import DataclassInstance

    from layercache.config.files import Document

ItemT = TypeVar("ItemT")
TableT = TypeVar("TableT", bound="DataclassInstance")

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = "key"
_TOML_WORDS = ((bool, "true or false"), (int, "an integer"), (float, "a float"), (str, "a string"))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: where, what, and what would be right."""

    file: str
    key: str
    message: str
    wanted: str

    def error(self, *, more: int = 0) -> ConfigError:
        """``more``: how many other problems the file has."""
        others = f" (and {more} more: layercache config check tells them all)" if more else ""
        return ConfigError(f"{self.file}: {self.key}: {self.message}{others}", hint=self.wanted)


class Parse(Protocol):
    """Makes a value of what TOML has; raises `ValueError` that says what is wrong with it."""

    def __call__(self, checker: Checker, value: object, path: str, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Key:
    """What may stand under a name.

    ``wanted`` tells it in words. ``projects`` is why a project's file may not set it; empty: it may.
    """

    parse: Parse
    wanted: str
    projects: str = ""


def key(parse: Parse, wanted: str, *, projects: str = "") -> Any:
    """A dataclass's field that is a key of a table. Its value is None where the file does not set it."""
    return field(default=None, metadata={_KEY: Key(parse, wanted, projects)})


def keys_of(table: type[DataclassInstance]) -> dict[str, Key]:
    return {each.name: each.metadata[_KEY] for each in fields(table)}


class Checker:
    """Reads the tables of one document. ``problems`` are those that were found so far."""

    def __init__(self, document: Document) -> None:
        self.place = document.place
        self.prefix = document.prefix
        self.folder = document.folder
        self.problems: list[Problem] = []

    @property
    def is_project(self) -> bool:
        """Whether the file came with a folder, and so perhaps from somebody else."""
        return self.place.kind == "project"

    def table(self, kind: type[TableT], value: object, path: str = "") -> TableT:
        """A table whose keys are the fields of a dataclass. What is wrong is left out."""
        known = keys_of(kind)
        found = {}
        for name, item in self.items(value, path):
            where = dotted(path, name)
            if name in known:
                found[name] = self.value(known[name], item, where)
            else:
                self.refuse(where, "there is no such key", _suggestion(name, known))
        return kind(**found)

    def items(self, value: object, path: str) -> Iterable[tuple[str, Any]]:
        if isinstance(value, dict):
            return value.items()
        self.refuse(path, str(wrong_type(value)), "wanted a table")
        return ()

    def value(self, key: Key, value: object, path: str) -> object:
        """What the key's parser makes of it; None where it is wrong."""
        if self.is_project and key.projects:
            self.refuse(path, "a project's file may not set it", key.projects)
            return None
        with self.attempt(path, key.wanted):
            return key.parse(self, value, path)
        return None

    def each(
        self, values: Iterable[object], path: str, parse: Callable[[object, int], ItemT], wanted: str
    ) -> tuple[ItemT, ...]:
        """The items of an array, without those that are wrong."""
        found = []
        for number, item in enumerate(values):
            with self.attempt(f"{path}[{number}]", wanted):
                found.append(parse(item, number))
        return tuple(found)

    @contextmanager
    def attempt(self, path: str, wanted: str) -> Iterator[None]:
        """What the block finds wrong is a problem more; the block ends there."""
        try:
            yield
        except ConfigError as error:  # before ValueError: some are both
            self.refuse(path, error.message, error.hint or f"wanted {wanted}")
        except ValueError as error:
            self.refuse(path, str(error), f"wanted {wanted}")

    def refuse(self, path: str, message: str, wanted: str) -> None:
        self.problems.append(Problem(self.place.path, f"{self.prefix}{path}", message, wanted))

    def text(self, value: object) -> str:
        """A string with its variables put in. Raises `ValueError`."""
        if not isinstance(value, str):
            raise wrong_type(value)
        return expand(value, self._variable)

    def _variable(self, name: str) -> str | None:
        if self.is_project and may_be_secret(name):
            raise ConfigError(
                f"a project's file may not use the variable {name}",
                hint="by its name it may be a secret, which a bucket or host named by the file would learn",
            )
        return environment.variable(name)


def dotted(path: str, name: str) -> str:
    """The name of a key in a table, as TOML writes it."""
    part = name if _BARE.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{path}.{part}" if path else part


def wrong_type(value: object) -> ValueError:
    """What a value is, in TOML's words, where it should be something else."""
    if isinstance(value, list | dict):
        return ValueError("is an array" if isinstance(value, list) else "is a table")
    words = next((words for kind, words in _TOML_WORDS if isinstance(value, kind)), "a date or time")
    return ValueError(f"is {words}")


def _suggestion(name: str, known: Iterable[str]) -> str:
    """The name that was probably meant, and all that are allowed."""
    import difflib

    known = list(known)
    if "tiers" in known and name in {each.name for each in fields(Policy)}:
        return f"it is a tier's option: tiers = [{{ url = …, {name} = … }}]"
    near = difflib.get_close_matches(name, known, 1)
    return f"{f'did you mean {near[0]}? ' if near else ''}known are {', '.join(known)}"
