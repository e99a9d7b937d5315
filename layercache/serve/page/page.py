"""Answers the page's requests: its files, its data, and events while somebody looks."""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from layercache._version import __version__
from layercache.errors import InvalidNameError
from layercache.oci.reference import Reference
from layercache.serve.messages import Answer, EventsAnswer, RegistryError
from layercache.serve.page.activity import ERRORS_MAX, Activity, all_workers, by_minute
from layercache.serve.page.inventory import Inventory
from layercache.statistics import file
from layercache.statistics.totals import EARLIER, RATE, by_day, summed

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.cache import Cache
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Headers
    from layercache.serve.settings import ServeSettings

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/ui/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/ui/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/ui/style.css": ("style.css", "text/css; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
GUARDS: Headers = [
    (
        "content-security-policy",
        POLICY,
    ),  # nothing is loaded from elsewhere, and no other page frames this one
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
]
DAYS_SHOWN = 30
EVENTS_FOR = 15.0
"""Seconds after which a stream of events ends, and the browser opens another one: so a mirror that is stopped
does not wait for browsers."""


class Page:
    """The page of a worker, and what it asks for.

    ``folder``: where the workers write what they do; ``number``: of this one. ``totals``: the file to which
    all caches of this user add what they did. ``shows``: whether a client may see a repository in lists.
    """

    def __init__(
        self,
        cache: Cache,
        settings: ServeSettings,
        shows: Callable[[Admitted, Reference], bool],
        folder: str,
        *,
        number: int = 0,
        totals: str | None = None,
    ) -> None:
        self._settings = settings
        self._shows = shows
        self._folder = folder
        self._totals = totals
        self._inventory = Inventory(cache.tiers)
        self._files: dict[str, Answer] = {}
        self.activity = Activity(folder, number, lambda: cache.counters, cache.record_statistics)
        self._closing = ExitStack()
        self._closing.callback(self.activity.close)
        self._closing.enter_context(cache.watch(self.activity.watch))

    def close(self) -> None:
        self._closing.close()

    def answer(self, admitted: Admitted) -> Answer | EventsAnswer:
        request = admitted.request
        if request.path in FILES:
            return self._file(request.path, request.headers.get("if-none-match", ""))
        match request.path:
            case "/ui/state":
                return _json({**self._live(admitted), **self._history(), **self._about()})
            case "/ui/tiers":
                return _json({"tiers": self._tiers(admitted)})
            case "/ui/events":
                return self._events(admitted)
        raise RegistryError(404, "NOT_FOUND", f"no such path: {request.path[:200]}")

    def _tiers(self, admitted: Admitted) -> list[dict[str, Any]]:
        """What the tiers hold, without the images that the client may not see."""
        found = self._inventory.latest(wanted=admitted.request.query.get("count", ""))
        return [
            {
                **tier,
                "images": [each for each in tier.get("images", ()) if self._is_shown(admitted, each["name"])],
            }
            for tier in found
        ]

    def _is_shown(self, admitted: Admitted, name: str) -> bool:
        try:
            return self._shows(admitted, Reference.parse(name))
        except InvalidNameError:  # not a repository's, but a tier's
            return True

    def _file(self, path: str, known: str) -> Answer:
        if path not in self._files:
            name, kind = FILES[path]
            data = resources.files("layercache.serve.page").joinpath("static", name).read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            headers = [("content-type", kind), ("etag", tag), ("cache-control", "no-cache"), *GUARDS]
            self._files[path] = Answer(200, headers, data)
        answer = self._files[path]
        tag = next(value for name, value in answer.headers if name == "etag")
        if known == tag:
            return Answer(304, [("etag", tag), *GUARDS])
        return Answer(200, [*answer.headers, ("content-length", str(len(answer.body)))], answer.body)

    def _events(self, admitted: Admitted) -> EventsAnswer:
        began, before = time.monotonic(), ""

        def following() -> str | None:
            nonlocal before
            if time.monotonic() - began > EVENTS_FOR:
                return None
            data = msgspec.json.encode(self._live(admitted)).decode()
            if data == before:
                return ": nothing new\n\n"
            before = data
            return f"data: {data}\n\n"

        headers = [("content-type", "text/event-stream"), ("cache-control", "no-store"), *GUARDS]
        return EventsAnswer(200, headers, following)

    def _live(self, admitted: Admitted) -> dict[str, Any]:
        """What changes from second to second."""
        states = all_workers(self._folder)
        running = sorted((each for state in states for each in state.running), key=lambda each: each.began)
        for each in running:
            each.where = each.where if self._is_shown(admitted, each.where) else ""
        failures = sorted((each for state in states for each in state.errors), key=lambda each: -each.at)
        errors = [each for each in failures if self._is_shown(admitted, each.repository)]
        return {
            "workers": len(states),
            "running": running,
            "errors": errors[:ERRORS_MAX],
            "minutes": by_minute(states),
        }

    def _history(self) -> dict[str, Any]:
        """Days and totals of this user's caches, out of the file that all processes add to."""
        days = by_day(file.read(self._totals)) if self._totals else []
        total = summed(days)
        requests = total.hits + total.fetched
        return {
            "days": [
                {
                    "day": each.day,
                    "hits": each.hits,
                    "fetched": each.fetched,
                    "saved_bytes": each.saved_bytes,
                    "fetched_bytes": sum(place.bytes for place in each.places if place.kind != "tier"),
                }
                for each in days
                if each.day != EARLIER
            ][-DAYS_SHOWN:],
            "total": {
                "hits": total.hits,
                "fetched": total.fetched,
                "hit_rate": total.hits / requests if requests else None,
                "saved_bytes": total.saved_bytes,
                "saved_seconds": total.saved_tar_bytes / (total.rate or RATE),
            },
        }

    def _about(self) -> dict[str, Any]:
        return {"version": __version__, "upstream": self._settings.default_upstream, "now": time.time()}


def _json(document: object) -> Answer:
    body = msgspec.json.encode(document)
    kind = [("content-type", "application/json"), ("content-length", str(len(body)))]
    return Answer(200, [*kind, ("cache-control", "no-store"), *GUARDS], body)
