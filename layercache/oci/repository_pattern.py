"""Patterns of repositories: ``ghcr.io``, ``ghcr.io/team/*``, ``*.example.com``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from layercache.errors import InvalidNameError
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layercache.oci.reference import Reference

FORM = "HOST[:PORT][/REPOSITORY], with * for any characters: ghcr.io, ghcr.io/team/*, *.example.com"

_HOST = re.compile(r"(?:[a-z0-9*](?:[a-z0-9.*-]*[a-z0-9*])?|\[[a-f0-9:]+\])(?::(?:[0-9]{1,5}|\*))?")
_REPOSITORY = re.compile(r"[a-z0-9*._/-]+")


class RepositoryPattern(Value, frozen=True):
    """Repositories of registries. ``*`` stands for any characters, in a repository "/" among them.

    Without a ``repository`` all of the registry's are meant.
    """

    registry: str
    repository: str = "*"

    @classmethod
    def parse(cls, text: str) -> RepositoryPattern:
        """Raises `InvalidNameError`."""
        registry, slash, repository = text.partition("/")
        registry = registry.lower()
        if not _HOST.fullmatch(registry) or (slash and not _REPOSITORY.fullmatch(repository)):
            raise InvalidNameError(f"not a pattern of repositories: {text!r}", hint=f"expected {FORM}")
        return cls(registry, repository or "*")

    @property
    def names_registry(self) -> bool:
        """Whether the registry is named in full."""
        return "*" not in self.registry

    def matches(self, reference: Reference) -> bool:
        return _matches(self.registry, reference.registry.lower()) and _matches(
            self.repository, reference.repository
        )


def any_matches(patterns: Iterable[RepositoryPattern], reference: Reference) -> bool:
    return any(pattern.matches(reference) for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    """Whether the parts between the stars are in the text, in their order, and the whole of it is covered.

    In linear time: what comes first is the best place for a part.
    """
    if pattern in ("*", text):  # the most frequent ones, on every request of a mirror
        return True
    first, *others = pattern.split("*")
    if not others:
        return False
    *middle, last = others
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True
