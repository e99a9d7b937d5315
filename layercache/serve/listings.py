"""Lists that upstreams give: remembered, and served as stale while an upstream does not answer."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

from layercache.errors import IntegrityError, NotFoundError, SourceError
from layercache.registry.credentials import DeniedError
from layercache.serve.messages import Headers, RegistryError
from layercache.serve.provenance import HIT, MISS, STALE, STALE_WARNING
from layercache.serve.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.serve.access import Admitted
    from layercache.serve.questions import Questions
    from layercache.serve.settings import ServeSettings

EntryT = TypeVar("EntryT")

Ask: TypeAlias = "Callable[[Reference, RegistryClient | None], list[EntryT]]"

log = logging.getLogger("layercache.serve")

KEPT = 24 * 3600.0
"""Seconds for which a list is kept, for when the upstream does not answer."""

MEMORY = 8 << 20
"""Bytes of all lists of one kind in a worker's memory, roughly."""

MISSING_MAX = 10_000


class _Kept(NamedTuple, Generic[EntryT]):
    """A list, and until when it need not be asked for (monotonic seconds)."""

    entries: list[EntryT]
    fresh_until: float


class Listings(Generic[EntryT]):
    """Lists of one ``kind`` ("tags"), by reference. Thread-safe.

    ``weigh``: roughly the bytes of an entry. ``absent``: the error code where there is no list.
    """

    def __init__(
        self,
        kind: str,
        questions: Questions,
        settings: ServeSettings,
        weigh: Callable[[EntryT], int],
        absent: str,
    ) -> None:
        self._kind = kind
        self._questions = questions
        self._settings = settings
        self._weigh = weigh
        self._absent = absent
        self._kept: Remembered[_Kept[EntryT]] = Remembered(MEMORY)
        self._missing: Remembered[str] = Remembered(MISSING_MAX)

    def find(
        self, admitted: Admitted, ask: Ask[EntryT], cached: Callable[[Reference], list[EntryT]]
    ) -> tuple[list[EntryT], Headers]:
        """A list, and headers that say where it is from.

        ``ask`` asks the upstream; ``cached`` is what tiers know, for when it does not answer and nothing is
        remembered. Raises `RegistryError` 404, `SourceError`.
        """
        reference, whose = admitted.reference, admitted.registries
        looked = time.monotonic()
        if (said := self._missing.get((reference, whose))) is not None:
            raise RegistryError(404, self._absent, said)
        kept = self._kept.get(reference)
        if kept is not None and time.monotonic() < kept.fresh_until:
            return kept.entries, [HIT]
        patience = None if kept is None else self._settings.upstream_timeout
        try:
            entries = self._questions.ask(
                (self._kind, reference),
                reference.registry,
                partial(ask, reference, whose),
                looked=looked,
                patience=patience,
                whose=whose,
            )
        except NotFoundError as error:
            self._missing.put((reference, whose), error.message, self._settings.missing_age)
            raise RegistryError(404, self._absent, error.message) from error
        except (SourceError, IntegrityError) as error:
            entries = (
                [] if isinstance(error, DeniedError) else cached(reference) if kept is None else kept.entries
            )
            if not entries:
                raise
            log.warning("the %s of %s are those last seen: %s", self._kind, reference.name, error.message)
            return entries, [STALE, STALE_WARNING]
        fresh_until = time.monotonic() + self._settings.tag_age
        weight = sum(map(self._weigh, entries)) + 1
        self._kept.put(reference, _Kept(entries, fresh_until), KEPT, weight=weight)
        return entries, [MISS]
