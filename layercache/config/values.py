"""Parsers of the values of a configuration file, except tiers."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING

from layercache.config.checker import wrong_type
from layercache.errors import ConfigError, InvalidNameError
from layercache.oci.reference import Reference
from layercache.registry.settings import API_HOSTS
from layercache.transfer.share import Share
from layercache.units import AGE_EXAMPLES, SIZE_EXAMPLES, parse_age, parse_size

if TYPE_CHECKING:
    from layercache.config.checker import Checker, Parse

SIZE = SIZE_EXAMPLES
SECONDS = f"a number of seconds, or {AGE_EXAMPLES}"
HELPER = "NAME of a program docker-credential-NAME, without path and options"

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def flag(_checker: Checker, value: object, _path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(value)
    return value


def size(checker: Checker, value: object, _path: str) -> int:
    """A size in bytes."""
    found = _number(value)
    return round(found) if found is not None else parse_size(checker.text(value))


def age(checker: Checker, value: object, _path: str) -> float:
    """A time in seconds, which may be 0."""
    found = _number(value)
    return found if found is not None else parse_age(checker.text(value))


def seconds(checker: Checker, value: object, path: str) -> float:
    """A time in seconds, more than 0."""
    found = age(checker, value, path)
    if not found:
        raise ValueError("must be more than 0")
    return found


def whole(least: int) -> Parse:
    """An integer."""

    def parse(_checker: Checker, value: object, _path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(value)
        if value < least:
            raise ValueError(f"is {value}")
        return value

    return parse


def choice(*allowed: str) -> Parse:
    """One of the allowed words."""

    def parse(checker: Checker, value: object, _path: str) -> str:
        text = checker.text(value)
        if text not in allowed:
            raise ValueError(f"is {text!r}")
        return text

    return parse


def share(checker: Checker, value: object, _path: str) -> str:
    """How much of a transfer must have been fetched: see `Share.parse`."""
    text = checker.text(value)
    Share.parse(text)
    return text


def file(checker: Checker, value: object, _path: str) -> str:
    """Return an absolute path; a relative one is relative to the folder of the configuration file."""
    path = os.path.join(checker.folder, os.path.expanduser(checker.text(value)))
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {path}")
    return path


def folder(checker: Checker, value: object, _path: str) -> str:
    """Return an absolute path, as `file` does. The folder is created when it is needed."""
    path = os.path.join(checker.folder, os.path.expanduser(checker.text(value)))
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(f"{path} is not a folder")
    return path


def helper(checker: Checker, value: object, _path: str) -> str:
    """The name of a credential helper; a path is refused. See `HELPER`."""
    text = checker.text(value)
    if not _HELPER.fullmatch(text):
        raise ValueError(f"is {text!r}")
    return text.removeprefix("docker-credential-")


def mirrors(checker: Checker, value: object, path: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise wrong_type(value)
    return checker.each(value, path, lambda item, _: mirror(checker.text(item)), MIRROR)


MIRROR = "HOST[:PORT][/PREFIX]: mirror.example, localhost:5000/docker-hub"


def mirror(text: str) -> str:
    """A registry, optionally with a prefix of its repositories' names. Raises `ValueError`."""
    if "@" in text:  # the part before it may be a password
        raise ValueError("holds credentials; log in to the mirror instead (layercache login)")
    host, _, prefix = text.partition("/")
    _check_reference(host, f"{prefix}/name" if prefix or text.endswith("/") else "name", text)
    return text


def registry(text: str) -> str:
    """A registry as written in references. Raises `ValueError`."""
    if "@" in text:
        raise ValueError("holds credentials; log in instead (layercache login)")
    if text in ("index.docker.io", API_HOSTS["docker.io"]):
        raise ValueError("Docker Hub is named docker.io")
    _check_reference(text, "name", text)
    return text


def upstream(checker: Checker, value: object, _path: str) -> str:
    """A registry that the mirror fetches from."""
    return registry(checker.text(value))


def _check_reference(host: str, repository: str, text: str) -> None:
    official = "library/" if host == "docker.io" and "/" not in repository else ""
    try:
        Reference(host, official + repository, "tag")
    except InvalidNameError:
        raise ValueError(f"not a registry: {text!r}") from None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value < 0 or not math.isfinite(value):
        raise ConfigError(f"is {value}", hint="expected a number that is not negative")
    return value
