"""Patterns of tags: ``debian:12*`` stands for every tag of the repository that matches."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from layercache.errors import ConfigError, InvalidNameError, NotFoundError, wrong_type
from layercache.sources.names import ARCHIVE, IMAGE_NAME, LAYOUT, OCI_ARCHIVE

if TYPE_CHECKING:
    from layercache.pull.filled import FilledCache

MATCHES_MAX = 500
"""Tags that a pattern may stand for: each costs at least one request, and registries count those."""

_WILD = re.compile(r"[*?[\]]")


def split_pattern(name: str) -> tuple[str, str] | None:
    """Split ``REPOSITORY:PATTERN``; None for a name without a pattern.

    ``*``, ``?`` and ``[...]`` match as in a shell. Raises `InvalidNameError` if they are not in the tag.
    """
    if not isinstance(name, str):
        raise wrong_type(IMAGE_NAME, name)
    if name.startswith((LAYOUT, OCI_ARCHIVE, ARCHIVE)):
        return None
    above, slash, last = name.rpartition("/")
    repository, colon, tag = last.partition(":")
    if "*" in f"{above}{repository}" or "?" in f"{above}{repository}" or (_WILD.search(tag) and "@" in tag):
        raise InvalidNameError(f"not an image: {name!r}", hint="only a tag can be a pattern: debian:12*")
    return (f"{above}{slash}{repository}", tag) if colon and _WILD.search(tag) else None


def matching_tags(cache: FilledCache, repository: str, pattern: str) -> list[str]:
    """Return the tags of a repository that match, sorted. Raises as `Cache.tags`."""
    matches = re.compile(fnmatch.translate(pattern)).match
    tags = [tag for tag in cache.tags(repository) if matches(tag)]
    if not tags:
        raise NotFoundError(
            f"no tag of {repository} matches {pattern!r}",
            hint=f"layercache tags {repository} lists them",
        )
    return tags


def expand(cache: FilledCache, name: str) -> list[str]:
    """Return the images that a name or a pattern stands for.

    Raises as `Cache.tags`, and `ConfigError` for a pattern that matches more than `MATCHES_MAX` tags.
    """
    pattern = split_pattern(name)
    if pattern is None:
        return [name]
    repository, tags = pattern[0], matching_tags(cache, *pattern)
    if len(tags) > MATCHES_MAX:
        raise ConfigError(
            f"{name} matches {len(tags)} tags; a pattern may match {MATCHES_MAX} at most",
            hint=f"choose fewer: layercache tags '{name}', and pull --from a list of those",
        )
    return [f"{repository}:{tag}" for tag in tags]
