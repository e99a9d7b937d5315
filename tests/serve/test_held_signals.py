"""A worker that gets SIGTERM while it starts ends, at whatever moment that comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("granian", reason="needs granian, not installed here")

STARTING = """
import asyncio, os, signal, sys
from types import SimpleNamespace
from granian._loops import loops
from layercache.serve.held_signals import held
from layercache.serve.observed import Observed

def come(moment):
    if moment == sys.argv[1]:
        for each in (signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), each)

def work():
    seen = []
    come("before there is an event loop")
    loop = loops.get("auto")
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    come("before it runs")
    application = SimpleNamespace(end_events=lambda: seen.append("events"))
    Observed(application, SimpleNamespace(save=lambda: None), "off").__rsgi_init__(loop)
    come("just before it runs")
    loop.call_later(0, come, "while it runs")
    loop.call_later(5, os._exit, 9)
    loop.run_forever()
    os._exit(0 if seen == ["events"] else 8)

signal.signal(signal.SIGTERM, lambda *_: None)  # the first process has its own
with held():
    worker = os.fork() or work()
print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""


@pytest.mark.parametrize(
    "moment",
    ["before there is an event loop", "before it runs", "just before it runs", "while it runs"],
)
def test_a_signal_that_comes_while_a_worker_starts_waits_until_its_event_loop_hears_of_it(
    moment: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTING, moment], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
