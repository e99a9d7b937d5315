"""Calling the program: in this process, as a process of its own, on a terminal of its own."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from layercache.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from click.testing import Result

PROGRAM = [sys.executable, "-m", "layercache"]
SECONDS = 60


@dataclass(frozen=True)
class Caller:
    """Calls the program with one cache, unless told otherwise."""

    url: str

    def __call__(self, *arguments: str, code: int = 0, stdin: bytes | None = None) -> Result:
        """In this process; fails unless it ends with this exit code."""
        called = CliRunner().invoke(program, ["--cache", self.url, *arguments], input=stdin)
        assert called.exit_code == code, called.output
        return called

    def lines(self, *arguments: str) -> list[list[str]]:
        """The fields of each line of stdout."""
        return [line.split("\t") for line in self(*arguments).stdout.splitlines()]

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The one document on stdout."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def process(
        self, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        options = {"capture_output": True, "stdin": subprocess.DEVNULL, **options}
        return subprocess.run(
            [*PROGRAM, "--cache", self.url, *arguments],
            check=False,
            timeout=SECONDS,
            env={**os.environ, **(environment or {})},
            **options,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*PROGRAM, "--cache", self.url, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def on_terminal(self, *arguments: str, when: Callable[[bytes], bytes] | None = None) -> tuple[int, str]:
        """Exit code and all that appears. ``when``, given what appeared, says what to type: the first
        answer that is not empty is typed, once."""
        return on_terminal([*PROGRAM, "--cache", self.url, *arguments], when)


# A session of its own, with the terminal that it first opens: so that the interrupt key reaches it. Not by
# pty.fork: that warns where there are threads, and a test's registry has some.
_BEHIND_A_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def on_terminal(
    command: Sequence[str], when: Callable[[bytes], bytes] | None = None, *, terminal: str = "xterm"
) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", _BEHIND_A_TERMINAL, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": terminal, "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while part := _read(ours):
                seen += part
                if when and (typed := when(seen)):
                    os.write(ours, typed)
                    when = None
        finally:
            os.close(ours)
    return process.returncode, seen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError as error:
        if error.errno != errno.EIO:  # how Linux says that nobody has the terminal any more
            raise
        return b""
