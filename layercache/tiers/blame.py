"""Whose failure it is: what goes wrong in a backend becomes a `BackendError` that names store and package."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from layercache.backend import ENTRY_POINT_GROUP
from layercache.errors import BackendError, ConfigError, is_interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layercache.backend import Backend

TEXT_MAX = 500
"""Characters of a foreign error's text that are repeated: some services answer in pages of XML."""


class Blame:
    """Turns what a backend does wrong into errors of ours, which name the store and the package."""

    def __init__(self, url: str, backend: Backend) -> None:
        self._url = url
        self._kind = type(backend)

    @contextmanager
    def doing(self, what: str, *promised: type[Exception]) -> Iterator[None]:
        """Let `BackendError`, `ConfigError` and what is ``promised`` pass; all else is the backend's failure.

        The cause is kept. Interrupts are not failures.
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, (BackendError, ConfigError, *promised)) or is_interrupt(error):
                raise
            text = f"{self._url}: {what}: {_text(error)}{self._by}"
            raise BackendError(text) from error

    @contextmanager
    def ignoring(self) -> Iterator[None]:
        """Let no failure out, where there is nothing left to lose."""
        with suppress(BackendError, ConfigError), self.doing("ending it"):
            yield

    def broken(self, what: str, found: str) -> BackendError:
        """What to raise where the backend does not keep a promise of the interface."""
        return BackendError(
            f"{self._url}: {what}: {found}{self._by}",
            hint="report it to the authors of this backend: layercache.testing finds such faults",
        )

    @cached_property
    def _by(self) -> str:
        from layercache.backend.plugins import package_behind

        return f" (in {package_behind(self._kind, ENTRY_POINT_GROUP)})"


def _text(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except BaseException as unprintable:
        if is_interrupt(unprintable):
            raise
        return kind
    return f"{kind}: {text[:TEXT_MAX]}" if text else kind
