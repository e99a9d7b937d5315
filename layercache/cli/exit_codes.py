"""The exit codes of the command line, documented in docs/cli.md. `failures.exit_code` maps errors to them."""

from __future__ import annotations

NOT_FOUND = 1

DIFFERENT = 1
"""Of ``diff``, as of diff(1): two images differ. There what is not found is `USAGE`."""

USAGE = 2

INTEGRITY = 3

FAILED = 4

IN_USE = 5

BUG = 70
"""EX_SOFTWARE of sysexits.h, so that no code of ours can be mistaken for a crash."""

INTERRUPTED = 130

BROKEN_PIPE = 141

HUNG_UP = 129

TERMINATED = 143


def is_terminated(code: object) -> bool:
    """Whether a signal that asks a process to end has ended it, so that its sender need not be told."""
    return code in (HUNG_UP, TERMINATED)
