"""An environment as users have one: layercache and what it needs, installed, compiled, and nothing else.

The environment of the tests has five hundred other packages, some of which change what those that layercache
needs import, and layercache as an editable installation, which makes each start look in more folders.
"""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import layercache
import layercache_backends
from layercache.backend.installation import DISTRIBUTION

_SCRIPT = """#!{python}
import sys
from layercache.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""


def install(folder: Path) -> Path:
    """Make the environment out of what is installed here; return the program."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True)
    paths = sysconfig.get_paths("venv", {"base": str(folder), "platbase": str(folder)})
    target = Path(paths["purelib"])
    for package in (layercache, layercache_backends):
        source = Path(next(iter(package.__path__)))
        shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _needed(DISTRIBUTION):
        for file in metadata.distribution(name).files or ():
            if ".." not in file.parts and file.suffix != ".pyc":  # programs are not needed
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target / file)
    compileall.compile_dir(target, quiet=2)
    script = Path(paths["scripts"], "layercache")
    script.write_text(_SCRIPT.format(python=Path(paths["scripts"], "python")))
    script.chmod(0o755)
    return script


def _needed(name: str) -> set[str]:
    """The distributions that one needs, without extras."""
    found: set[str] = set()
    wanted = [name]
    while wanted:
        for text in metadata.requires(wanted.pop()) or ():
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and requirement.name not in found:
                found.add(requirement.name)
                wanted.append(requirement.name)
    return found
