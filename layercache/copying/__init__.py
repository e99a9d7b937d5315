"""Copying one cache's entries into another: what is missing, checked as it passes, in parallel.

Blobs are hashed on their way, and published in the target when their hash was found right. Order of writing:
blob, fact, image; so whenever a copy ends, what is there is whole, and the next one brings only the rest.
Both stores are asked by their listings, not once a blob; memory holds names alone, some 200 bytes each.
"""

from __future__ import annotations

from layercache.copying.copy import Copy
from layercache.copying.report import Failure, Report
from layercache.copying.wanted import Wanted

__all__ = ["Copy", "Failure", "Report", "Wanted"]
