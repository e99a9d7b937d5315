"""The machine that the figures are of, in one line."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path


def describe(folder: Path) -> str:
    """Cores, processor, system, the file system of the folder, and the versions of what is compared."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = [
        f"{cores} cores {_processor()}",
        f"{platform.system()} {platform.release()}",
        f"{_file_system(folder)} at {folder}",
        f"Python {platform.python_version()}",
        _inflater(),
        _version("skopeo", "--version"),
        _version("umoci", "--version"),
        _version("docker-registry", "--version"),
    ]
    return "; ".join(facts)


def disturbances(scratch: Path) -> list[str]:
    """What makes figures that are taken here and now worse than they could be."""
    found = []
    if (busy := os.getloadavg()[0]) > 0.3:
        found.append(f"other work wants {busy:.1f} cores: expect noise")
    if (micros := _new_file(scratch) * 1e6) > 150:
        found.append(
            f"a new file takes {micros:.0f} us of CPU here, where 40 are usual: ext4 passes over what was"
            " deleted in the last minutes. Wait, or name a folder in another part of the disk (--dir)"
        )
    return found


def _new_file(scratch: Path) -> float:
    """CPU seconds that a small new file takes. The files stay."""
    count = 200
    begun = time.process_time()
    for number in range(count):
        with open(scratch / f"new-{number}", "xb", buffering=0) as file:
            file.write(b"new")
    return (time.process_time() - begun) / count


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """As the mount that is nearest above the folder says."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown file system"
    above = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above)[1]


def _inflater() -> str:
    try:
        return f"isal {metadata.version('isal')}"
    except metadata.PackageNotFoundError:
        import zlib

        return f"no isal, zlib {zlib.ZLIB_RUNTIME_VERSION}"


def _version(program: str, option: str) -> str:
    try:
        said = subprocess.run([program, option], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return f"no {program}"
    return f"{program} {said.split()[-1]}"
