"""Chaos, for some seconds: nobody is given wrong bytes, and all is right again when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from chaos.driver import run

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 5
"""Of each run; there are two."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("verify", ["always", "size"])
def test_processes_that_are_killed_and_spoiled_never_give_wrong_bytes(tmp_path: Path, verify: str) -> None:
    report = run(tmp_path, seconds=SECONDS, verify=verify, seed=20261127)
    assert not report.failed, str(report)
    assert report.kills, str(report)
    assert sum(report.harm.values()) > SECONDS, str(report)
    assert sum(count for name, count in report.operations.items() if name.endswith("right")), str(report)
