"""The kinds of values that a configuration has, but for tiers."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING

from layercache.config.checker import wrong_type
from layercache.errors import ConfigError, InvalidNameError
from layercache.oci.reference import Reference
from layercache.registry.settings import API_HOSTS
from layercache.units import AGE_EXAMPLES, SIZE_EXAMPLES, parse_age, parse_size

if TYPE_CHECKING:
    from layercache.config.checker import Checker, Parse

SIZE = SIZE_EXAMPLES
SECONDS = AGE_EXAMPLES
HELPER = "the end of the name of a program docker-credential-NAME: no path, no options"

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def flag(_checker: Checker, value: object, _path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(value)
    return value


def size(checker: Checker, value: object, _path: str) -> int:
    """Bytes."""
    found = _number(value)
    return round(found) if found is not None else parse_size(checker.text(value))


def seconds(checker: Checker, value: object, _path: str) -> float:
    found = _number(value)
    found = found if found is not None else parse_age(checker.text(value))
    if not found:
        raise ValueError("must be more than 0")
    return found


def whole(least: int) -> Parse:
    """A number without a fraction."""

    def parse(_checker: Checker, value: object, _path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(value)
        if value < least:
            raise ValueError(f"is {value}")
        return value

    return parse


def choice(*allowed: str) -> Parse:
    """One of some words."""

    def parse(checker: Checker, value: object, _path: str) -> str:
        text = checker.text(value)
        if text not in allowed:
            raise ValueError(f"is {text!r}")
        return text

    return parse


def file(checker: Checker, value: object, _path: str) -> str:
    """An absolute path; a relative one is taken from the configuration's folder."""
    path = os.path.join(checker.folder, os.path.expanduser(checker.text(value)))
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {path}")
    return path


def helper(checker: Checker, value: object, _path: str) -> str:
    """The name of a credentials helper, never a path: see `HELPER`."""
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
    """A registry, and perhaps what its repositories' names begin with. Raises `ValueError`."""
    if "@" in text:  # what stands before it may be a password
        raise ValueError("holds credentials; log in to the mirror instead (docker login)")
    host, _, prefix = text.partition("/")
    _check_reference(host, f"{prefix}/name" if prefix or text.endswith("/") else "name", text)
    return text


def registry(text: str) -> str:
    """A registry as references name it. Raises `ValueError`."""
    if "@" in text:
        raise ValueError("holds credentials; log in instead (docker login)")
    if text in ("index.docker.io", API_HOSTS["docker.io"]):
        raise ValueError("Docker Hub is named docker.io")
    _check_reference(text, "name", text)
    return text


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
        raise ConfigError(f"is {value}", hint="wanted a number that is not negative")
    return value
