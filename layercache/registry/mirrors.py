"""Which registries are asked for an image: its mirrors, in order, then the registry itself.

A mirror is only ever a shorter way. One that lacks what is asked for is passed over; one that fails too,
with a word to whoever listens, and is left alone for a while; for good, if what it gave was wrong. What is
named by digest is checked against it, wherever it comes from; a tag is what the first that has it says.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from layercache.errors import IntegrityError, LayercacheError, NotFoundError, SourceError
from layercache.registry.retry import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from layercache.oci.reference import Reference
    from layercache.registry.retry import Retries
    from layercache.registry.settings import RegistrySettings

ResultT = TypeVar("ResultT")

REST = 60.0
"""Seconds for which a mirror that failed is not asked again."""


class Mirrors:
    """Asks mirrors and registries. Thread-safe.

    ``passed_over`` is called with a mirror that failed, and why.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        retries: Retries,
        passed_over: Callable[[str, LayercacheError], object] | None = None,
    ) -> None:
        self._settings = settings
        self._retries = retries
        self._passed_over = passed_over
        self._resting: dict[str, float] = {}

    def ask(
        self,
        reference: Reference,
        action: Callable[[Reference], ResultT],
        *,
        mirrors: bool = True,
    ) -> ResultT:
        """The action's result at the first place that has it. Raises what the registry itself raises.

        The action is given the reference as that place knows it. Another try after a failure that may pass
        asks the mirrors again too: there are networks from which they alone can be reached.
        """
        places = self._of(reference) if mirrors else []

        def everywhere() -> ResultT:
            for mirror in places:
                if not self._rests(mirror):
                    try:
                        return action(mirror)
                    except NotFoundError:
                        continue
                    except (SourceError, IntegrityError) as error:
                        self._leave_alone(mirror, error)
            try:
                return action(reference)
            except TransientError:
                for mirror in places:
                    self._resting.pop(mirror.registry, None)
                raise

        return self._retries.run(everywhere)

    def refute(self, mirrors: Iterable[Reference], error: IntegrityError) -> bool:
        """Ask none of these again: bytes that they gave were wrong. Whether there is any among them."""
        wrong = set(mirrors)
        for mirror in wrong:
            self._leave_alone(mirror, error)
        return bool(wrong)

    def _of(self, reference: Reference) -> list[Reference]:
        found = []
        for mirror in self._settings.mirrors_of(reference.registry):
            host, slash, prefix = mirror.partition("/")
            repository = f"{prefix}/{reference.repository}" if slash else reference.repository
            found.append(replace(reference, registry=host, repository=repository))
        return found

    def _rests(self, mirror: Reference) -> bool:
        now = time.monotonic()
        return any(self._resting.get(key, 0.0) > now for key in (mirror.registry, mirror.name))

    def _leave_alone(self, mirror: Reference, error: LayercacheError) -> None:
        # One that cannot be reached rests for every repository, one that refuses or is wrong for this one.
        told = self._rests(mirror)
        key = mirror.registry if isinstance(error, TransientError) else mirror.name
        self._resting[key] = math.inf if isinstance(error, IntegrityError) else time.monotonic() + REST
        if self._passed_over is not None and not told:
            self._passed_over(mirror.name, error)
