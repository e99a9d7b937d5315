"""The exit codes of the command line, as docs/cli.md lists them."""

from __future__ import annotations

NOT_FOUND = 1


USAGE = 2


INTEGRITY = 3


FAILED = 4


BUG = 70
"""EX_SOFTWARE of sysexits.h: no code of ours may be read into a crash."""


INTERRUPTED = 130


TERMINATED = 143


BROKEN_PIPE = 141
