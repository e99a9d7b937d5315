"""Values out of JSON and msgpack, read by several threads that begin at once."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

AT_ONCE = dedent(
    """
    import sys, threading, time
    import msgspec, msgspec._utils
    from layercache.value import Value, convert, json_decoder, msgpack_decoder

    made = msgspec._utils._forward_ref

    def slowly(*args, **kwargs):
        time.sleep(0.01)  # where another thread may run
        return made(*args, **kwargs)

    msgspec._utils._forward_ref = slowly

    class Inner(Value, frozen=True):
        name: "str"
        size: "int"

    class Outer(Value, frozen=True):
        one: "Inner"
        two: "list[Inner]"
        more: "str"

    value = Outer(Inner("a", 1), [Inner("b", 2)], "c")
    READ = {
        "json": lambda: json_decoder(Outer).decode(msgspec.json.encode(value)),
        "msgpack": lambda: msgpack_decoder(Outer).decode(msgspec.msgpack.encode(value)),
        "convert": lambda: convert(msgspec.to_builtins(value), Outer),
    }
    right = []

    def run(read):
        right.append(read() == value)

    ways = 8 * sys.argv[1].split()
    threads = [threading.Thread(target=run, args=[READ[way]]) for way in ways]
    for thread in threads:
        thread.start()
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    assert right == [True] * len(threads)
    """
)


@pytest.mark.parametrize("ways", ["json", "msgpack", "convert", "json msgpack convert"])
def test_threads_that_read_a_kind_of_value_for_the_first_time_do_not_crash(ways: str) -> None:
    """msgspec alone crashes: its callers have to wait for each other (`layercache.value`)."""
    done = subprocess.run([sys.executable, "-c", AT_ONCE, ways], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
