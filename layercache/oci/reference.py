"""The name of an image: registry, repository, tag, digest, as Docker reads them."""

from __future__ import annotations

import re
from typing import Self

from layercache.errors import InvalidNameError, wrong_type
from layercache.oci.digest import Digest
from layercache.value import Value

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
REPOSITORY_LENGTH_MAX = 255

_LEGACY_REGISTRY = "index.docker.io"
_OFFICIAL = "library/"

# The grammar of github.com/distribution/reference, regexp.go.
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HASH = re.compile(r"[a-z0-9+._-]+:(?![0-9]{1,5}$)[a-f0-9]+")  # not HOST:PORT

PORT_MAX = 65535
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
TAG = "wanted 1 to 128 letters, digits or '_.-', the first of them no '.' or '-'"
PATTERN = "wanted one image: a pattern of tags works with layercache find and layercache pull"
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


class Reference(Value, frozen=True):
    """The name of an image: a repository in a registry with a tag, a digest or both.

    Where there are both, the digest identifies the image and the tag is informative.
    ``str()`` is the canonical form, from which `parse` makes an equal reference. Constructing one checks
    every part; raises `InvalidNameError`.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if not _REGISTRY.fullmatch(self.registry):
            raise InvalidNameError(
                f"not a registry: {self.registry!r}",
                hint="wanted a host with or without a port: ghcr.io, localhost:5000, [::1]:5000",
            )
        port = self.registry.rpartition("]")[2].rpartition(":")[2] if ":" in self.registry else ""
        if port and not 0 < int(port.lstrip("0")[:6] or 0) <= PORT_MAX:
            raise InvalidNameError(
                f"not a registry: {self.registry!r}", hint=f"a port is a number from 1 to {PORT_MAX}"
            )
        _check_repository(self.repository)
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise InvalidNameError(
                f"not a tag: {self.tag!r}", hint=TAG if set("*?[").isdisjoint(self.tag) else PATTERN
            )
        if _split_registry(self.name) != (self.registry, self.repository):
            raise InvalidNameError(
                f"{self.name} would be read as another repository: {'/'.join(_split_registry(self.name))}"
            )
        if self.tag is None and self.digest is None:
            raise InvalidNameError(
                f"{self.name} names a repository, not an image", hint="add a :tag or a @digest"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference as ``docker pull`` does (distribution/reference, ``ParseNormalizedNamed``).

        What is left out is filled in: ``alpine`` is ``docker.io/library/alpine:latest``. The first
        component is a registry when it has a "." or ":" or a capital, or is ``localhost``. Raises
        `InvalidNameError`.
        """
        if not isinstance(text, str):
            raise wrong_type("the name of an image, a str (alpine:3.20)", text)
        if _IDENTIFIER.fullmatch(text):
            raise InvalidNameError(
                f"not an image: {text!r}", hint=f"a digest is written with its algorithm: sha256:{text}"
            )
        rest, at, digest = text.partition("@")
        if "/" in digest or "@" in digest:
            raise InvalidNameError(
                f"not an image: {without_user(text)!r}",
                hint="an image's name has no user and password: log in instead (layercache login)",
            )
        folder, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        registry, repository = _split_registry(f"{folder}{slash}{last}")
        if not repository:
            raise InvalidNameError(
                f"not an image: {text!r}", hint="wanted [registry/]repository[:tag][@digest]"
            )
        return cls(
            registry,
            repository,
            tag if colon else None if at else DEFAULT_TAG,
            Digest(digest) if at else None,
        )

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short form, for tables: without what `parse` fills in."""
        whole = (self.registry, self.repository)
        short = self.repository.removeprefix(_OFFICIAL)
        for name in (short, self.repository):
            if _split_registry(name) == whole:
                return self._with_suffixes(name)
        return str(self)

    @property
    def selector(self) -> str:
        """The name by which to request the manifest: the digest if there is one, else the tag."""
        selector = self.digest or self.tag
        assert selector is not None  # checked by __post_init__
        return selector

    def __str__(self) -> str:
        return self._with_suffixes(self.name)

    def _with_suffixes(self, name: str) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{name}{tag}{digest}"


def without_user(text: str) -> str:
    """A name for messages: text before the last "@" may be a password, unless a digest follows."""
    before, at, after = text.rpartition("@")
    return text if not at or (_HASH.fullmatch(after) and "@" not in before) else f"…@{after}"


def canonical(name: str) -> str:
    """A name in full, if it is a reference's; else as it is."""
    try:
        return str(Reference.parse(name))
    except InvalidNameError:
        return name


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_registry = slash and (first == "localhost" or "." in first or ":" in first or first != first.lower())
    registry, repository = (first, rest) if is_registry else (DEFAULT_REGISTRY, name)
    if registry == _LEGACY_REGISTRY:
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository and repository:
        repository = _OFFICIAL + repository
    return registry, repository


def _check_repository(repository: str) -> None:
    if len(repository) > REPOSITORY_LENGTH_MAX:
        raise InvalidNameError(
            f"the repository name {repository[:40]!r}… has {len(repository)} characters",
            hint=f"at most {REPOSITORY_LENGTH_MAX} are allowed",
        )
    if _REPOSITORY.fullmatch(repository):
        return
    repository = repository.removeprefix(_OFFICIAL)  # as it was written, most probably
    lower = repository.lower()
    if _REPOSITORY.fullmatch(lower):
        raise InvalidNameError(f"not a repository: {repository!r}", hint=f"it must be lower case: {lower}")
    raise InvalidNameError(
        f"not a repository: {repository!r}",
        hint="wanted components of a-z and 0-9, joined by '.', '_', '__' or '-', and separated by '/'",
    )
