"""One check with a timeout, and its result."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from layercache.errors import LayercacheError
from layercache.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

Result = Literal["ok", "warning", "failed", "skipped"]
Kind = Literal["tier", "source"]

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


class Check(Value, frozen=True):
    """A check: ``name`` is one or two words that say what was checked. The rest is as in `Answer`."""

    name: str
    result: Result
    detail: str
    hint: str = ""
    value: float | None = None
    unit: str = ""


class Subject(Value, frozen=True):
    """A tier or a source, and the checks of it in their order."""

    name: str
    kind: Kind
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed. One that only warns, or was skipped, did not."""
        return all(check.result != "failed" for check in self.checks)


@dataclass(slots=True)
class Examination:
    """A tier or a source while it is checked. ``gone``: a check timed out."""

    name: str
    kind: Kind
    checks: list[Check] = field(default_factory=list)
    gone: bool = False

    def subject(self) -> Subject:
        """What was found so far."""
        return Subject(self.name, self.kind, tuple(self.checks))

    def record(self, name: str, answer: Answer) -> None:
        """Add a check that was made."""
        self.checks.append(Check(name, answer.result, answer.detail, answer.hint, answer.value, answer.unit))

    def run(self, name: str, work: Callable[[], Answer], seconds: float = SECONDS) -> bool:
        """Run a check, record its result, and return whether it passed. Skip it after a timeout."""
        if self.gone:
            answer = Answer("skipped after the timeout above", "skipped")
        else:
            answer = self._bounded(work, seconds)
        self.record(name, answer)
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
