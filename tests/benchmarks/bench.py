"""What every case is given: sizes, inputs, a place to write to; and what it gives: rows of the table."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote

from benchmarks.installed import install
from benchmarks.measure import Contender, Run, interleaved, new_folder, probe, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.bucket_stores import Store
    from benchmarks.images import Images

MB = 10**6


@dataclass(frozen=True)
class Sizes:
    """Bytes are those of tars; a count and a size for an image of equal layers."""

    big: int = 800 * MB
    medium: tuple[int, int] = (20, 30 * MB)
    small: tuple[int, int] = (500, 50_000)
    memory: int = 1000 * MB
    asked: int = 250 * MB
    askers: int = 100
    entries: tuple[int, ...] = (10, 1000)
    listed: int = 100_000
    starts: int = 30
    bucket: int = 500 * MB
    machines: tuple[int, ...] = (10, 100, 1000, 10_000)


QUICK = Sizes(
    big=16 * MB,
    medium=(3, 4 * MB),
    small=(20, 50_000),
    memory=40 * MB,
    asked=10 * MB,
    askers=10,
    entries=(10, 100),
    listed=200,
    starts=5,
    bucket=20 * MB,
    machines=(10,),
)


@dataclass
class Row:
    """One line of the table. ``beside``: what it is compared with, and its time by the other's.

    ``syncs``: yes, no, or - where nothing is written. A row without ``seconds`` says in ``note``
    why. ``figures``: what else was counted.
    """

    case: str
    what: str
    seconds: list[float] = field(default_factory=list)
    syncs: str = "-"
    beside: list[tuple[str, float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    note: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float | None:
        return median(self.seconds) if self.seconds else None

    @property
    def peak(self) -> int | None:
        """Bytes over a bare interpreter; of a program that is none, all that it used."""
        return int(median(self.peaks)) if self.peaks else None

    def compared(self, *others: Row) -> Row:
        """Beside other rows of the same comparison, as far as there are figures of both."""
        for other in others:
            if self.median and other.median:
                self.beside.append((other.what, self.median / other.median))
        return self


@dataclass(frozen=True)
class Bench:
    runs: int
    sizes: Sizes
    images: Images
    scratch: Path
    stores: Mapping[str, Store]

    def interleaved(self, *contenders: Contender, runs: int = 0) -> dict[str, list[Run]]:
        return interleaved(contenders, runs or self.runs, self.scratch, warm=self.warms)

    @property
    def warms(self) -> bool:
        """Whether each contender runs once more, before all others, without being counted."""
        return self.sizes is not QUICK

    def row(
        self,
        case: str,
        what: str,
        runs: Sequence[Run],
        *,
        syncs: str = "-",
        ours: bool = True,
        inside: str = "",
    ) -> Row:
        """A row of whole processes, or of what each measured ``inside`` itself under this name."""
        if inside:
            return Row(case, what, [each.said(inside) for each in runs], syncs)
        peaks = [each.peak - (self.bare_peak if ours else 0) for each in runs]
        return Row(
            case, what, [each.seconds for each in runs], syncs, cpu=[each.cpu for each in runs], peaks=peaks
        )

    def filled(self, layers: int) -> tuple[Path, Path]:
        """A cache of so many small layers, and a file with the names of some: made when first asked for."""
        root, sample = (self.scratch / f"filled-{layers}{kind}" for kind in ("", ".names"))
        if not sample.exists():
            run(probe("populate", root, layers, sample))
        return root, sample

    @cached_property
    def installed(self) -> str:
        """The program as a wheel installs it, alone with what it needs: for what counts milliseconds."""
        return str(install(new_folder(self.scratch) / "environment"))

    @cached_property
    def bare_peak(self) -> int:
        """Bytes that an interpreter needs that does nothing."""
        return int(median(run(bare_interpreter()).peak for _ in range(5)))


def bare_interpreter() -> list[str]:
    return [sys.executable, "-I", "-c", "pass"]


def program() -> list[str]:
    """The installed ``layercache``, or the module where the script is not beside the interpreter."""
    script = shutil.which("layercache", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "layercache"]


def cache_url(folder: Path, *, sync: bool) -> str:
    return f"file://{quote(str(folder))}?sync={str(sync).lower()}"
