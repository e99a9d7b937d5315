"""A user and password, or a token, and what it means that one cannot be looked up."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from layercache.errors import SourceError

DOCKER_HUB = "docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What Docker calls Docker Hub in its configuration, since the registry protocol's first version."""


@dataclass(frozen=True)
class Credential:
    """A user and password, or an identity token: an OAuth 2 refresh token."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617), in UTF-8 as Docker sends it."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __str__(self) -> str:
        """Whose it is, for messages."""
        return "an identity token" if self.identity_token else f"the user {printable(self.user)}"


class UnavailableError(SourceError):
    """A file or helper of credentials cannot be asked; another place may have them. ``place`` names it."""

    def __init__(self, place: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{place}: {message}", hint=hint)
        self.place = place


def printable(text: str) -> str:
    """Text from outside, made safe to print on a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def login_command(registry: str) -> str:
    """What a person types to become known to a registry."""
    return f"layercache login {registry}"
