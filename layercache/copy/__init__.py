"""Copying one cache's entries into another: what is missing, checked as it passes, in parallel.

Blobs are hashed on their way, and published in the target when their hash was found right. Order of writing:
blob, fact, image; so whenever a copy ends, what is there is whole, and the next one brings only the rest.
Both stores are asked by their listings, not once a blob; memory holds names alone, some 200 bytes each.
"""

from __future__ import annotations

from layercache.copy.copier import Copy
from layercache.copy.report import Failure, Report
from layercache.copy.selection import Selection

__all__ = ["Copy", "Failure", "Report", "Selection"]
