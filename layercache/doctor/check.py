"""One check, bounded in time, and what came of it."""

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
"""How long a check may take. Slow stores answer in one; and a person waits for all of them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check has found. ``value`` is a number for programs, in the ``unit``."""

    detail: str
    result: Result = "ok"
    hint: str = ""
    value: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """``name`` is what was tried, in one word or two."""

    name: str
    answer: Answer


@dataclass(slots=True)
class Subject:
    """A tier or a source, and all that was tried with it. ``gone``: it has not answered in time."""

    name: str
    kind: Literal["tier", "source"]
    checks: list[Check] = field(default_factory=list)
    gone: bool = False

    @property
    def ok(self) -> bool:
        return all(check.answer.result != "failed" for check in self.checks)

    def run(self, name: str, work: Callable[[], Answer], seconds: float = SECONDS) -> bool:
        """Try it, and note what came of it; whether it is usable. What is gone is not tried again."""
        if self.gone:
            answer = Answer("not tried: there was no answer before", "skipped")
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
            f"no answer within {seconds:g} s",
            "failed",
            hint="is the host right, and does a firewall or a proxy stand between?",
        )


def milliseconds(begun: float, more: str = "") -> Answer:
    """How long ago that was, by `time.perf_counter`."""
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
    except Exception as error:  # a plug-in's, or ours: a doctor tells of it and goes on
        return Answer(f"{type(error).__name__}: {error}", "failed", hint="an error of the program itself")
