"""Finds credentials for a registry: from ``docker login``, ``podman login`` and credential helpers.

Files are read each time, so that a new login counts at once. Nothing here prints a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layercache.errors import SourceError
from layercache.registry.auth_file import AuthFile
from layercache.registry.credential import (
    DOCKER_HUB,
    DOCKER_HUB_KEY,
    Credential,
    UnavailableError,
    login_command,
)
from layercache.registry.credential_helper import ask, program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from layercache.registry.settings import RegistrySettings


class DeniedError(SourceError):
    """A registry or its token server refuses our credentials, or refuses to answer without any.

    ``status``: 401, or another one that the registry answered.
    """

    def __init__(self, message: str, *, status: int, looked_in: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message, looked_in=looked_in, hint=hint)
        self.status = status


@dataclass(frozen=True)
class Login:
    """The login for a registry; ``credential`` None: anonymous.

    ``looked_in``: the files and programs that were asked, in order; the last one had the credential.
    ``problems``: those of them that could not be asked.
    """

    credential: Credential | None = None
    looked_in: tuple[str, ...] = ()
    problems: tuple[UnavailableError, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be printed."""
        known = self.credential
        return (known.password, known.identity_token, known.basic.split()[1]) if known else ()

    @property
    def who(self) -> str:
        """Whose credential it is, and which file or program supplied it, if any did; empty for none."""
        if self.credential is None:
            return ""
        return f"{self.credential} (from {self.looked_in[-1]})" if self.looked_in else str(self.credential)

    def advice(self, registry: str) -> str:
        """A hint for a refused login."""
        if self.credential is None:
            return f"log in: {login_command(registry)}"
        return f"the password or token may be wrong or too old; log in again: {login_command(registry)}"

    def refused(self, message: str, hint: str, *, status: int = 401) -> DeniedError:
        """The error for a refused login. It names places that could not be read, a possible cause."""
        for problem in self.problems:
            message, hint = f"{message}; {problem.message}", problem.hint or hint
        return DeniedError(message, status=status, looked_in=self.looked_in, hint=hint)


FindLogin = Callable[[str, str], Login]
"""Finds the login for a registry and a repository."""


def find_login(settings: RegistrySettings, registry: str, repository: str = "") -> Login:
    """The login for a registry, from the first place that has an entry for it.

    The helper that the settings name is asked first, then each of their ``auth_files``: its helper
    (``credHelpers``, else ``credsStore``), then its ``auths``. A helper or file that cannot be asked is
    skipped; an entry for this registry that is broken is a `SourceError`.
    """
    looked_in: list[str] = []
    problems: list[UnavailableError] = []
    for found in _ask_each(settings, registry, repository, looked_in, problems):
        if found:
            return Login(found, tuple(looked_in), tuple(problems))
    return Login(None, tuple(looked_in), tuple(problems))


def _ask_each(
    settings: RegistrySettings,
    registry: str,
    repository: str,
    looked_in: list[str],
    problems: list[UnavailableError],
) -> Iterator[Credential | None]:
    def ask_helper(helper: str, where: str) -> Credential | None:
        looked_in.append(program(helper))
        try:
            return ask(helper, DOCKER_HUB_KEY if registry == DOCKER_HUB else registry, where)
        except UnavailableError as error:
            problems.append(error)
            return None

    if helper := settings.helper_for(registry):
        yield ask_helper(helper, f"the configuration of {registry}")
    for path in settings.auth_paths:
        looked_in.append(path)
        try:
            file = AuthFile.read(path)
        except UnavailableError as error:
            problems.append(error)
            continue
        if file is None:
            continue
        if helper := file.helper(registry, repository):
            yield ask_helper(helper, path)
        yield file.credential(registry, repository)
