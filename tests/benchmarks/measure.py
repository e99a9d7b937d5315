"""Measured runs: each a fresh process, those that are compared in turn, what they leave behind removed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROBES = str(Path(__file__).with_name("probes.py"))
_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_TIMEOUT = 900
_LARGE = 1 << 20


class BenchmarkError(Exception):
    """A measured program failed: there is no figure."""


@dataclass(frozen=True)
class Run:
    """One process from its start to its end. ``peak`` is its largest resident set, in bytes."""

    seconds: float
    cpu: float
    peak: int
    output: str

    def said(self, name: str) -> float:
        """A figure that the program (see `probes`) measured inside itself."""
        return float(json.loads(self.output)[name])


@dataclass(frozen=True)
class Contender:
    """A program of a comparison: ``command(folder)`` for a folder that is new and empty in each run."""

    name: str
    command: Callable[[Path], Sequence[str]]
    quiet: bool = False
    """Whether its output goes to the null device instead of being kept."""


def run(command: Sequence[str], *, quiet: bool = False, timeout: float = _TIMEOUT) -> Run:
    """Run it once. Raises `BenchmarkError` with what it said where it fails."""
    report, write_end = os.pipe()
    with contextlib.ExitStack() as stack, tempfile.TemporaryFile() as errors:
        stack.callback(os.close, report)
        try:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCHER, str(write_end), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
                stderr=errors,
                pass_fds=[write_end],
                start_new_session=True,  # so that it and all it started end together
            )
        finally:
            os.close(write_end)
        try:
            output = (launcher.communicate(timeout=timeout)[0] or b"").decode()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
            launcher.communicate()
            raise
        figures = os.read(report, 1000).split()
        if len(figures) != 4 or int(figures[3]):
            errors.seek(0)
            said = (errors.read().decode(errors="replace") + output)[-2000:].strip()
            raise BenchmarkError(f"{' '.join(command)}\n{said}")
    seconds, cpu, peak, _ = figures
    return Run(float(seconds), float(cpu), int(peak), output)


def probe(name: str, *arguments: object) -> list[str]:
    """The command that runs a function of `probes`, which prints figures of its own."""
    return [sys.executable, PROBES, name, *map(str, arguments)]


def interleaved(
    contenders: Sequence[Contender], runs: int, scratch: Path, *, warm: bool = True
) -> dict[str, list[Run]]:
    """Every contender so many times, in turn, after one run of each that does not count (``warm``).

    That one fills the page cache and compiles what Python compiles at first use. Before each run all
    that was written before is on the disk or emptied, so that nobody pays for another. Nothing is deleted
    before all is measured: ext4 does not take the place of a file that was deleted in the last minutes, and
    looks for another at every new file, which then takes twenty times as long.
    """
    os.sync()
    found: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    written = 0
    for number in range(0 if warm else 1, runs + 1):
        turn = number % len(contenders)
        for contender in [*contenders[turn:], *contenders[:turn]]:
            folder = new_folder(scratch)
            _use_memory(scratch, written * 3 // 2)
            done = run(contender.command(folder), quiet=contender.quiet)
            if any(folder.iterdir()):
                written = max(written, _empty_files(folder))
                os.sync()
            if number:
                found[contender.name].append(done)
    return found


def new_folder(scratch: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=scratch))


def _use_memory(scratch: Path, size: int) -> None:
    """Have so many bytes of memory used by a file's pages, and free again.

    The host of a virtual machine takes back what has been free for some seconds ("free page reporting"). To
    be given it anew takes ten times as long as writing the page, and would be paid by whoever comes next.
    """
    chunk = bytes(1 << 20)
    with (scratch / "pages").open("wb", buffering=0) as file:
        for _ in range(size // len(chunk)):
            file.write(chunk)
        file.truncate(0)


def _empty_files(folder: Path) -> int:
    """Give back the room of what is large; how many bytes there were in all."""
    total = 0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            size = path.lstat().st_size
            total += size
            if size > _LARGE:
                os.truncate(path, 0)
    return total


@contextlib.contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """The environment of all that is started inside; None removes a variable."""
    before = dict(os.environ)
    try:
        for name, value in changes.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def medians(runs: Sequence[Run], name: str) -> float:
    return median(each.said(name) for each in runs)
