"""Where a configuration may stand, in which order, and which file it is that counts.

The first that is there counts, alone: files are not merged. So what is in force can be read in one
place, and a project's file never mixes with what a user has set for all others.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from layercache.config import environment
from layercache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT_FILE = "layercache.toml"
PYPROJECT = "pyproject.toml"
USER_FILE = "config.toml"
SYSTEM_FILE = "/etc/layercache/config.toml"
PYPROJECT_TABLE = "tool.layercache"

FILE_MAX = 1 << 20
"""Bytes of a configuration at most."""

Kind = Literal["option", "environment", "project", "user", "system"]


@dataclass(frozen=True, slots=True)
class Place:
    """A file that is looked for, and on whose word: one that is named must be there."""

    path: str
    kind: Kind

    @property
    def named(self) -> bool:
        return self.kind in ("option", "environment")

    @property
    def is_pyproject(self) -> bool:
        return os.path.basename(self.path) == PYPROJECT


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file as TOML has it, not yet checked."""

    place: Place
    table: dict[str, Any]

    @property
    def prefix(self) -> str:
        """What a key's full name in the file begins with."""
        return f"{PYPROJECT_TABLE}." if self.place.is_pyproject else ""

    @property
    def folder(self) -> str:
        """What relative paths in it are relative to."""
        return os.path.dirname(os.path.abspath(self.place.path))


def places(named: str | None = None) -> Iterator[Place]:
    """Where a configuration is looked for, first things first; ``named`` is what ``--config`` says."""
    if named is not None:
        yield Place(named, "option")
        return
    if variable := environment.config_file():
        yield Place(variable, "environment")
        return
    for folder in _folders_up():
        yield Place(os.path.join(folder, PROJECT_FILE), "project")
        yield Place(os.path.join(folder, PYPROJECT), "project")
    if folder := environment.user_config_folder():
        yield Place(os.path.join(folder, USER_FILE), "user")
    yield Place(SYSTEM_FILE, "system")


def find(named: str | None = None) -> Document | None:
    """The file that counts, if there is one. Raises `ConfigError` where it cannot be read."""
    for place in places(named):
        found = look(place)
        if isinstance(found, Document):
            return found
    return None


def look(place: Place) -> Document | str:
    """The file of a place, or why there is none that counts.

    Raises `ConfigError` for one that is no TOML, and for a named one that is not there.
    """
    try:
        with open(place.path, "rb", opener=None if place.named else _without_waiting) as file:
            if not place.named and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "passed over: no plain file"
            if place.kind == "project" and _anybodys(place.path, file.fileno()):
                return "passed over: another user's, in a folder that all can write to"
            data = file.read(FILE_MAX + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if place.named:
            raise _unreadable(place, error) from None
        return "absent"
    except OSError as error:
        # A folder that may not be looked into (another user's home, after su) has no file for us.
        if place.named or os.path.lexists(place.path):
            raise _unreadable(place, error) from error
        return "absent"
    if len(data) > FILE_MAX:
        raise ConfigError(f"the configuration {place.path} has more than {FILE_MAX} bytes")
    return _parse(place, data)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file that is found by itself: where a pipe stands, nobody may ever write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(place: Place, data: bytes) -> Document | str:
    if not place.is_pyproject:
        return Document(place, _toml(place, data))
    # Most pyproject.toml are of no concern to us: they are not parsed, and need not be right.
    table: Any = _toml(place, data) if b"layercache" in data else {}
    for name in PYPROJECT_TABLE.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    if isinstance(table, dict):
        return Document(place, table)
    if place.named:
        raise ConfigError(
            f"{place.path} has no [{PYPROJECT_TABLE}]", hint="add that table, or name another file"
        )
    return f"has no [{PYPROJECT_TABLE}]"


def _toml(place: Place, data: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place.path} is not TOML: {error}", hint="see https://toml.io") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{place.path} is not TOML: line {line} is not UTF-8") from None
    except RecursionError:
        raise ConfigError(f"{place.path} is not TOML: it is nested too deeply") from None


def _unreadable(place: Place, error: OSError) -> ConfigError:
    said = {"option": "--config", "environment": environment.CONFIG}.get(place.kind, "")
    return ConfigError(
        f"the configuration {place.path} cannot be read: {error.strerror}",
        hint=f"{said} names it" if said else "",
    )


def _folders_up() -> Iterator[str]:
    try:
        folder = os.getcwd()
    except OSError:  # it was removed: there is no folder above it either
        return
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _anybodys(path: str, file: int) -> bool:
    """Whether anybody could have put the file there, as in /tmp, and it is not ours or the system's."""
    folder = os.stat(os.path.dirname(path))
    return bool(folder.st_mode & stat.S_IWOTH) and os.fstat(file).st_uid not in (os.geteuid(), 0)
