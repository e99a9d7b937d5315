"""Copies the entries that one cache has and another lacks, in parallel.

Blobs are hashed as they are copied, and published in the target once their hash is right. They are written in
the order blob, fact, image, so a copy that is interrupted leaves nothing incomplete, and the next one copies
only the rest. Each store is listed once, instead of being asked for each blob; memory holds some 200 bytes
for each name.
"""

from __future__ import annotations

from layercache.copy.copier import Copy
from layercache.copy.report import Copied, Failure
from layercache.copy.selection import Selection
from layercache.copy.whole import copy_to, refresh_index

__all__ = ["Copied", "Copy", "Failure", "Selection", "copy_to", "refresh_index"]
