from __future__ import annotations

import os
import signal
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


def test_the_quiet_demo_prints_less(cli: Caller) -> None:
    assert b"Next, with" not in cli.process("demo", "--quiet").stdout


def test_the_demo_image_is_served_until_interrupted(cli: Caller) -> None:
    with cli.begin("demo", "--serve", "0") as serving:
        assert serving.stdout
        assert serving.stderr
        try:
            name = serving.stdout.readline().decode().strip()
            assert name.endswith("/demo:latest")
            assert len(cli.lines("pull", name)) == 4
        finally:
            serving.send_signal(signal.SIGINT)
        assert serving.wait() == 130
        assert serving.stderr.read() == b"layercache: interrupted\n"
