"""How this copy of layercache was installed, and so which command adds an extra to it or upgrades it."""

from __future__ import annotations

import os
import sys
from typing import Any

DISTRIBUTION = "oci-layercache"
"""The name on package indexes, where ``layercache``, our import name and command, is another project."""


def install_hint(extra: str) -> str:
    """Return the command that adds an extra (``s3``, or several: ``s3,fast``) to this installation."""
    wanted = f"{DISTRIBUTION}[{extra}]"
    match _installer():
        case "uv tool":
            return f"uv tool install {_with_what_uv_installed(extra)}"
        case "pipx":
            return f"pipx inject {DISTRIBUTION} {_quoted(wanted)}"
        case "uvx":
            return f"uvx --from {_quoted(wanted)} layercache"
        case pip:
            return f"{pip} {_quoted(wanted)}"


def upgrade_hint(package: str = DISTRIBUTION) -> str:
    """Return the command that upgrades this installation, or a plug-in's package in it."""
    match _installer():
        case "uv tool":
            return f"uv tool upgrade {DISTRIBUTION}"  # and all that is installed with it
        case "pipx":
            return f"pipx upgrade --include-injected {DISTRIBUTION}"
        case "uvx":
            return f"uvx --refresh --from {DISTRIBUTION} layercache"
        case pip:
            return f"{pip} --upgrade {package}"


def _installer() -> str:
    """Return ``uv tool``, ``pipx``, ``uvx``, or the command that installs into this environment."""
    if os.path.exists(_receipt()):
        return "uv tool"
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return "pipx"
    if os.path.basename(os.path.dirname(sys.prefix)).startswith("archive-v"):  # below uv's own cache
        return "uvx"
    from importlib.util import find_spec
    from shutil import which

    if find_spec("pip") is None:  # environments made by uv are without
        return f"uv pip install --python {_quoted(sys.executable)}"
    if os.path.dirname(which("pip") or "") == os.path.dirname(sys.executable):
        return "pip install"
    return f"{_quoted(sys.executable)} -m pip install"


def _receipt() -> str:
    return os.path.join(sys.prefix, "uv-receipt.toml")


def _with_what_uv_installed(extra: str) -> str:
    """Return the requirements of the tool's receipt with one more extra. uv forgets any others."""
    import tomllib

    try:
        with open(_receipt(), "rb") as file:
            requirements: list[dict[str, Any]] = tomllib.load(file)["tool"]["requirements"]
    except (OSError, ValueError, KeyError):
        requirements = []
    ours = next((each for each in requirements if each.get("name") == DISTRIBUTION), {})
    extras = sorted({*ours.get("extras", ()), *extra.split(",")})
    wanted = _quoted(f"{DISTRIBUTION}[{','.join(extras)}]{_source(ours)}")
    others = [f"--with {_quoted(each['name'] + _source(each))}" for each in requirements if each is not ours]
    return " ".join([wanted, *others])


def _source(requirement: dict[str, Any]) -> str:
    """Return what follows the name: `` @ PLACE`` if it was not installed from an index, else the versions."""
    if git := requirement.get("git"):
        return f" @ git+{git}"
    for key in ("path", "directory", "editable", "url"):
        if key in requirement:
            return f" @ {requirement[key]}"
    return str(requirement.get("specifier", ""))


def _quoted(text: str) -> str:
    import shlex  # for messages alone

    return shlex.quote(text)
