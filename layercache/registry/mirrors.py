"""Which registries are asked for an image: its mirrors, in order, then the registry itself.

A mirror is never required. One that lacks what is asked for is skipped. One that fails is reported, and not
asked again for a while; one that served wrong bytes is never asked again. Content is checked against its
digest, wherever it comes from; a tag is resolved by the first place that has it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from layercache.backend import CircuitBreaker
from layercache.errors import IntegrityError, LayercacheError, NotFoundError, SourceError
from layercache.registry.retry import TransientError
from layercache.statistics.places import Place
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from layercache.oci.reference import Reference
    from layercache.registry.retry import Retries
    from layercache.registry.settings import RegistrySettings

ResultT = TypeVar("ResultT")

MIRROR_REST = 60.0
"""Seconds for which a mirror that failed is not asked again."""


class Mirrors:
    """Asks mirrors and registries. Thread-safe.

    ``passed_over`` is called with a mirror that failed, and why; ``recovered`` once it answers again.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        retries: Retries,
        passed_over: Callable[[str, LayercacheError], object] | None = None,
        recovered: Callable[[str], object] | None = None,
    ) -> None:
        self._settings = settings
        self.retries = retries
        self._passed_over = passed_over
        self._recovered = recovered
        # By registry, and by registry and repository. No lock: `setdefault` is one step, and so is all that a
        # breaker does.
        self._breakers: dict[str, CircuitBreaker[str]] = {}
        # Those that failed and did not answer since, by the same keys: how they were reported. No lock, since
        # `pop` is one step: one thread gets the name.
        self._lost: dict[str, str] = {}

    def ask(
        self,
        reference: Reference,
        action: Callable[[Reference], ResultT],
        *,
        mirrors: bool = True,
    ) -> ResultT:
        """The action's result at the first place that has it. Raises what the registry itself raises.

        The action gets the reference as that place knows it. A retry after a transient failure asks the
        mirrors again too: there are networks from which they alone can be reached.
        """
        places = self._of(reference) if mirrors else []

        def everywhere() -> ResultT:
            for mirror in places:
                if not self._rests(mirror):
                    try:
                        result = action(mirror)
                    except NotFoundError:
                        self._note_answer(mirror)
                    except (SourceError, IntegrityError) as error:
                        self._leave_alone(mirror, error)
                    else:
                        self._note_answer(mirror)
                        return result
            try:
                return action(reference)
            except TransientError:
                for mirror in places:
                    self._breaker(mirror.registry).close()
                raise

        return self.retries.run(everywhere)

    def place(self, reference: Reference, asked: Reference) -> Place:
        """What statistics call the registry, or one of its mirrors, where ``asked`` is the reference."""
        if asked == reference:
            return Place("registry", reference.registry, reference.name)
        return Place("mirror", asked.name.removesuffix(f"/{reference.repository}"), asked.name)

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

    def _breaker(self, key: str) -> CircuitBreaker[str]:
        return self._breakers.get(key) or self._breakers.setdefault(key, CircuitBreaker(MIRROR_REST))

    def _rests(self, mirror: Reference) -> bool:
        return any(self._breaker(key).is_open for key in (mirror.registry, mirror.name))

    def _leave_alone(self, mirror: Reference, error: LayercacheError) -> None:
        # An unreachable mirror rests for every repository, one that refuses or is wrong only for this one.
        reported = self._rests(mirror)
        key = mirror.registry if isinstance(error, TransientError) else mirror.name
        self._breaker(key).open(
            error.message, seconds=math.inf if isinstance(error, IntegrityError) else None
        )
        if self._passed_over is not None and not reported:
            self._passed_over(mirror.name, error)
        self._lost.setdefault(key, mirror.name)

    def _note_answer(self, mirror: Reference) -> None:
        for key in (mirror.registry, mirror.name) if self._lost else ():
            if (reported := self._lost.pop(key, None)) and self._recovered is not None:
                self._recovered(reported)
