"""The Mermaid blocks of a page, and the file that has a block's drawing."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parent / "drawings"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> Iterator[str]:
    """The text of each Mermaid block."""
    for found in BLOCK.finditer(page):
        yield found[1]


def drawing(text: str) -> Path:
    """Where the drawing of a block is: another text has another file, so that no drawing is out of date."""
    return FOLDER / f"{hashlib.sha256(text.strip().encode()).hexdigest()[:12]}.svg"
