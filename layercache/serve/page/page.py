"""Answers the page's requests: its files, its data, and events while somebody looks."""

from __future__ import annotations

import hashlib
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from layercache._version import __version__
from layercache.serve.messages import Answer, EventsAnswer, RegistryError
from layercache.serve.page.activity import all_workers, by_minute
from layercache.serve.page.inventory import Inventory
from layercache.statistics import file
from layercache.statistics.totals import EARLIER, RATE, by_day, summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layercache.serve.access import Admitted
    from layercache.serve.messages import Headers
    from layercache.serve.settings import ServeSettings
    from layercache.tiers.tier import Tier

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
    """The page and what it asks for. ``folder``: where the workers write what they do."""

    def __init__(
        self, tiers: Sequence[Tier], settings: ServeSettings, folder: str, totals: str | None
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._totals = totals
        self._inventory = Inventory(tiers)
        self._files: dict[str, Answer] = {}

    def answer(self, admitted: Admitted) -> Answer | EventsAnswer:
        request = admitted.request
        if request.path in FILES:
            return self._file(request.path, request.headers.get("if-none-match", ""))
        match request.path:
            case "/ui/state":
                return _json({**self._live(), **self._history(), **self._about()})
            case "/ui/tiers":
                return _json({"tiers": self._inventory.latest(wanted=request.query.get("count", ""))})
            case "/ui/events":
                return self._events()
        raise RegistryError(404, "NOT_FOUND", f"no such path: {request.path[:200]}")

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

    def _events(self) -> EventsAnswer:
        began, before = time.monotonic(), ""

        def following() -> str | None:
            nonlocal before
            if time.monotonic() - began > EVENTS_FOR:
                return None
            data = msgspec.json.encode(self._live()).decode()
            if data == before:
                return ": nothing new\n\n"
            before = data
            return f"data: {data}\n\n"

        headers = [("content-type", "text/event-stream"), ("cache-control", "no-store"), *GUARDS]
        return EventsAnswer(200, headers, following)

    def _live(self) -> dict[str, Any]:
        """What changes from second to second."""
        states = all_workers(self._folder)
        running = sorted((each for state in states for each in state.running), key=lambda each: each.began)
        errors = sorted((each for state in states for each in state.errors), key=lambda each: -each.at)
        return {
            "workers": len(states),
            "running": running,
            "errors": errors[:20],
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
