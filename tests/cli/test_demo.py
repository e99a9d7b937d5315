from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.calling import Caller


def test_the_demo_shows_that_nothing_is_pulled_or_inflated_twice(cli: Caller, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = cli.process("demo", environment={"TMPDIR": str(temporary), "HOME": str(tmp_path / "nobody")})
    shown = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    steps = [line.split() for line in shown.splitlines() if line.endswith(" s")]
    assert [step[-5:-2] for step in steps] == [
        [steps[0][-5], "-", "-"],  # MB fetched
        ["-", "-", "4"],
        ["-", "4", "4"],
        ["-", "-", "4"],
        ["-", "-", "4"],
    ]
    assert "it sent each layer once" in shown
    assert "layercache pull alpine" in shown
    assert os.listdir(temporary) == []
    assert not (tmp_path / "nobody").exists()


def test_the_quiet_demo_says_less(cli: Caller) -> None:
    assert b"Go on" not in cli.process("demo", "--quiet").stdout
