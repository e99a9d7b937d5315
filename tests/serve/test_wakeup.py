"""A signal reaches the first process of the mirror at whatever moment it comes."""

from __future__ import annotations

import subprocess
import sys

from layercache.serve.wakeup import Wakeup

ROUNDS = 3000

SIGNALLED = f"""
import signal
from layercache.serve.wakeup import Wakeup

wakeup = Wakeup(lambda: False)
signal.signal(signal.SIGALRM, lambda *_: wakeup.set())
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
for _ in range({ROUNDS}):
    wakeup.wait()
    wakeup.clear()
signal.setitimer(signal.ITIMER_REAL, 0)
print("done")
"""


def test_a_handler_that_interrupts_the_waiting_thread_anywhere_does_not_wait_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_what_is_pending_is_not_waited_for_though_it_was_cleared() -> None:
    wakeup = Wakeup(lambda: True)
    wakeup.set()
    wakeup.clear()
    assert not wakeup.is_set()
    assert wakeup.wait(0)


def test_it_stays_set_until_it_is_cleared() -> None:
    wakeup = Wakeup(lambda: False)
    assert not wakeup.wait(0)
    wakeup.set()
    wakeup.set()
    assert wakeup.wait(0)
    assert wakeup.wait(0)
    wakeup.clear()
    assert not wakeup.wait(0)
