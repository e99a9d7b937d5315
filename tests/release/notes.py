"""The notes of a release: the section of its version in CHANGELOG.md."""

from __future__ import annotations

import re

HOME = "https://github.com/oci-layercache/layercache"


class NotesError(Exception):
    """The changelog has no section of the version, or an empty one."""


def notes(changelog: str, version: str) -> str:
    """What the changelog says about a version, or for a ``.dev`` version what is unreleased.

    Relative links lead to the files of the release, since its page is outside the repository. Lines that
    go on are joined, because such a page keeps line breaks. Raises `NotesError`.
    """
    heading = "[Unreleased]" if ".dev" in version else f"[{version}]"
    found = re.search(
        rf"^## {re.escape(heading)}(?: - \d{{4}}-\d\d-\d\d)?\n(.*?)(?=^## |^\[[^]]+\]: |\Z)",
        changelog,
        re.DOTALL | re.MULTILINE,
    )
    if not found:
        raise NotesError(f'CHANGELOG.md has no heading "## {heading} - YYYY-MM-DD"')
    if not found[1].strip():
        raise NotesError(f"CHANGELOG.md says nothing below {heading}")
    joined = re.sub(r"\n +(?=\S)(?!- )", " ", found[1].strip())
    tag = "main" if ".dev" in version else f"v{version}"
    return re.sub(r"\]\((?![a-z]+:|#)([^)]+)\)", rf"]({HOME}/blob/{tag}/\1)", joined) + "\n"
