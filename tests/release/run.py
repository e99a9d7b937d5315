"""Build what a release consists of, into dist/, and check it: ``make release``.

The sdist, the wheel built from it, and RELEASE-NOTES.md. The wheel is installed and tried on every supported
Python that is here. Publishes nothing: CONTRIBUTING.md says how that is done. Needs a network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from release.notes import NotesError, notes  # noqa: E402  # the path is set above

from layercache._version import __version__  # noqa: E402

DIST = ROOT / "dist"
CLONE = (ROOT / ".git").exists()  # an unpacked sdist is none
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TRIAL = "import layercache, layercache_backends.local as local; print(layercache.__file__, local.__file__)"


def run(*command: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    """Run a program to its end; its output. Exits with that output if it fails."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout.strip()


def build() -> list[Path]:
    """The sdist and the wheel. Their times are the commit's, so another build of it has the same bytes."""
    for old in [*DIST.glob("oci_layercache-*"), *DIST.glob("RELEASE-NOTES.md")]:
        old.unlink()
    times = {"SOURCE_DATE_EPOCH": run("git", "log", "-1", "--format=%ct")} if CLONE else {}
    run(sys.executable, "-m", "build", "--outdir", DIST, ".", environment=times)
    made = sorted(DIST.glob("oci_layercache-*"))
    wanted = [f"oci_layercache-{__version__}-py3-none-any.whl", f"oci_layercache-{__version__}.tar.gz"]
    if [path.name for path in made] != wanted:
        sys.exit(f"built {', '.join(path.name for path in made)}, not {' and '.join(wanted)}")
    return made


def check(wheel: Path) -> None:
    """The wheel has our two packages, typed, and the license."""
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    if packages != {"layercache", "layercache_backends"}:
        sys.exit(f"the wheel holds {packages}")
    wanted = {"layercache/py.typed", "layercache_backends/py.typed"}
    wanted.add(f"oci_layercache-{__version__}.dist-info/licenses/LICENSE")
    if missing := wanted - set(names):
        sys.exit(f"the wheel lacks {missing}")


def python(version: str) -> str | None:
    """The path of an interpreter of this version that works; None if there is none here."""
    here = sys.version_info[:2] == tuple(map(int, version.split(".")))
    programs = [sys.executable] if here else [f"python{version}"]
    if not here and shutil.which("uv"):  # which knows its own ones, and those of pyenv
        find = ["uv", "python", "find", "--no-python-downloads", "--system", version]
        programs.append(subprocess.run(find, capture_output=True, text=True, check=False).stdout.strip())
    for path in filter(None, map(shutil.which, programs)):
        asked = [path, "-c", "import sys, venv, ensurepip; print(sys.executable)"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if not done.returncode:
            return done.stdout.strip()
    return None


def try_out(wheel: Path) -> None:
    """Install the wheel with nothing else, outside the tree, and use it; on each Python."""
    tried = []
    for version in PYTHONS:
        if (interpreter := python(version)) is None:
            print(f"Python {version}: not here", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            run(interpreter, "-m", "venv", folder)
            programs = Path(folder) / "bin"
            outside = {"XDG_STATE_HOME": folder, "PYTHONPATH": ""}
            run(programs / "python", "-m", "pip", "install", "--quiet", wheel, cwd=Path(folder))
            for where in run(programs / "python", "-c", TRIAL, cwd=Path(folder), environment=outside).split():
                if not where.startswith(os.path.realpath(folder)):
                    sys.exit(f"Python {version} imports {where}, not the wheel")
            printed = run(programs / "layercache", "--version", cwd=Path(folder), environment=outside)
            run(programs / "layercache", "demo", cwd=Path(folder), environment=outside)
        print(f"Python {version}: {printed}, the demo passed", flush=True)
        tried.append(version)
    if not tried:
        sys.exit(f"the wheel was not tried: none of Python {', '.join(PYTHONS)} is here with its venv module")


def main() -> None:
    dirty = run("git", "status", "--porcelain") if CLONE else ""
    if dirty and ".dev" not in __version__:
        sys.exit(f"commit or remove this first, so that the tag is what is released:\n{dirty}")
    try:
        text = notes((ROOT / "CHANGELOG.md").read_text(), __version__)
    except NotesError as error:
        sys.exit(str(error))
    made = build()
    print(run(sys.executable, "-m", "twine", "check", "--strict", *made))
    check(made[0])
    try_out(made[0])
    (DIST / "RELEASE-NOTES.md").write_text(text)
    for path in made:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}")
    if ".dev" in __version__:
        print(f"{__version__} is not a release: dist/RELEASE-NOTES.md has what is unreleased")
    else:
        tag = f"v{__version__}"
        print(f"dist/RELEASE-NOTES.md has the notes. Next: git tag -s {tag} && git push origin {tag}")


if __name__ == "__main__":
    main()
