"""The places that are searched for configuration files, in order.

A file that was named is the only one. Otherwise the first file of a project, the user's file and the system's
are used together: each key has the value of the first of them that sets it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Literal

from layercache.config import environment
from layercache.errors import ConfigError
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT_FILE = "layercache.toml"
PYPROJECT = "pyproject.toml"
USER_FILE = "config.toml"
SYSTEM_FILE = "/etc/layercache/config.toml"
PYPROJECT_TABLE = "tool.layercache"

FILE_MAX = 1 << 20
"""Maximum size of a configuration file in bytes."""

Kind = Literal["option", "environment", "project", "user", "system"]


class Place(Value, frozen=True):
    """A file that is searched for, and why. A file that was named must exist."""

    path: str
    kind: Kind

    @property
    def named(self) -> bool:
        return self.kind in ("option", "environment")

    @property
    def is_pyproject(self) -> bool:
        return os.path.basename(self.path) == PYPROJECT


class Document(Value, frozen=True):
    """A parsed configuration file, not yet validated."""

    place: Place
    table: dict[str, Any]

    @property
    def prefix(self) -> str:
        """The prefix of every key's full name in the file."""
        return f"{PYPROJECT_TABLE}." if self.place.is_pyproject else ""

    @property
    def folder(self) -> str:
        """The folder that relative paths in the file refer to."""
        return os.path.dirname(os.path.abspath(self.place.path))


def places(named: str | None = None) -> Iterator[Place]:
    """Yield the places to search, in order; ``named`` is the value of ``--config``."""
    if named is not None:
        yield Place(os.path.expanduser(named), "option")
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


def find(named: str | None = None) -> list[Document]:
    """Return the files to use, nearest first. Raises `ConfigError` if one cannot be read."""
    found: dict[Kind, Document] = {}
    for place in places(named):
        if place.kind not in found and isinstance(document := look(place), Document):
            found[place.kind] = document
    return list(found.values())


def look(place: Place) -> Document | str:
    """Return the file at a place, or the reason why it is not used.

    Raises `ConfigError` if the file is not TOML, or was named and does not exist.
    """
    try:
        with open(place.path, "rb", opener=None if place.named else _without_waiting) as file:
            if not place.named and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "skipped: not a regular file"
            if place.kind == "project" and _may_be_planted(place.path, file.fileno()):
                return "skipped: another user's file in a folder that everybody can write to"
            data = file.read(FILE_MAX + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if place.named:
            raise _unreadable(place, error) from None
        return "absent"
    except OSError as error:
        # A folder that we may not search (another user's home, after su) counts as having no file.
        if place.named or os.path.lexists(place.path):
            raise _unreadable(place, error) from error
        return "absent"
    if len(data) > FILE_MAX:
        raise ConfigError(f"the configuration file {place.path} is larger than {FILE_MAX} bytes")
    return _parse(place, data)


def _without_waiting(path: str, flags: int) -> int:
    """Open without blocking: a file that nobody named may turn out to be a pipe without a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(place: Place, data: bytes) -> Document | str:
    if not place.is_pyproject:
        return Document(place, _toml(place, data))
    # Most pyproject.toml do not mention layercache. They are not parsed, and may be invalid.
    table: Any = _toml(place, data) if b"layercache" in data else {}
    for name in PYPROJECT_TABLE.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    if isinstance(table, dict):
        return Document(place, table)
    if place.named:
        raise ConfigError(
            f"{place.path} has no [{PYPROJECT_TABLE}]", hint="add that table, or use another file"
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
        raise ConfigError(f"{place.path} is not TOML: nested too deeply") from None
    except ValueError:  # of `int`
        raise ConfigError(f"{place.path} is not TOML: a number has too many digits") from None


def _unreadable(place: Place, error: OSError) -> ConfigError:
    named_by = {"option": "--config", "environment": environment.CONFIG}.get(place.kind, "")
    return ConfigError(
        f"the configuration file {place.path} cannot be read: {error.strerror}",
        hint=f"it was named by {named_by}" if named_by else "",
    )


def _folders_up() -> Iterator[str]:
    try:
        folder = os.getcwd()
    except OSError:  # the folder was removed, so it has no parent either
        return
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _may_be_planted(path: str, file: int) -> bool:
    """Whether the folder is world-writable, as /tmp is, and the file is not ours or the system's."""
    folder = os.stat(os.path.dirname(path))
    return bool(folder.st_mode & stat.S_IWOTH) and os.fstat(file).st_uid not in (os.geteuid(), 0)
