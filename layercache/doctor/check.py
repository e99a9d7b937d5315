"""One check with a timeout, and its result."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from layercache.errors import LayercacheError

if TYPE_CHECKING:
    from collections.abc import Callable

Result = Literal["ok", "warning", "failed", "skipped"]

SECONDS = 15.0
"""Default timeout of a check. Slow stores answer within a second, and a person waits for all checks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a check. ``value`` is a number for programs, measured in ``unit``."""

    detail: str
    result: Result = "ok"
    hint: str = ""
    value: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A check: ``name`` is one or two words that say what was checked."""

    name: str
    answer: Answer


@dataclass(slots=True)
class Subject:
    """A tier or a source and its checks. ``gone``: a check timed out."""

    name: str
    kind: Literal["tier", "source"]
    checks: list[Check] = field(default_factory=list)
    gone: bool = False

    @property
    def ok(self) -> bool:
        return all(check.answer.result != "failed" for check in self.checks)

    def run(self, name: str, work: Callable[[], Answer], seconds: float = SECONDS) -> bool:
        """Run a check, record its result, and return whether it passed. Skip it after a timeout."""
        if self.gone:
            answer = Answer("skipped after the timeout above", "skipped")
        else:
            answer = self._bounded(work, seconds)
        self.checks.append(Check(name, answer))
        return answer.result in ("ok", "warning")

    def _bounded(self, work: Callable[[], Answer], seconds: float) -> Answer:
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(_tried(work)), name="check", daemon=True)
        thread.start()
        thread.join(seconds)
        if answers:
            return answers[0]
        self.gone = True
        return Answer(
            f"no response within {seconds:g} s",
            "failed",
            hint="check the host name, and whether a firewall or a proxy is in the way",
        )


def milliseconds(begun: float, more: str = "") -> Answer:
    """Return the time since ``begun`` (by `time.perf_counter`) as a result."""
    spent = 1000 * (time.perf_counter() - begun)
    return Answer(f"{spent:.1f} ms{more and ', '}{more}", value=round(spent, 3), unit="ms")


def _tried(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except LayercacheError as error:
        looked_in = f"looked in {', '.join(error.looked_in)}" if error.looked_in else ""
        return Answer(error.message, "failed", hint="; ".join(filter(None, [looked_in, error.hint])))
    except OSError as error:
        return Answer(error.strerror or str(error), "failed")
    except Exception as error:  # a bug of a plug-in or of ours: report it and continue
        return Answer(
            f"{type(error).__name__}: {error}", "failed", hint="this is a bug in layercache or in a plug-in"
        )
