"""How much of a blob was asked for in parts, so that what is read in parts anyway is fetched as a whole."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layercache.oci.digest import Hash

SHARE = 0.25
"""Of a blob: if more of it is asked for, all of it is fetched and kept. Else a layer that clients pull in
parts, several at a time, would never be cached.
"""

BLOBS_MAX = 10_000


class Shares:
    """Counts bytes of blobs that are not cached. Thread-safe."""

    def __init__(self) -> None:
        # Guards the counts, of which the least recently used go first.
        self._lock = threading.Lock()
        self._asked: OrderedDict[Hash, int] = OrderedDict()

    def is_much(self, name: Hash, wanted: int, size: int) -> bool:
        """Count ``wanted`` more bytes of a blob; return whether that is a reason to fetch all of it."""
        with self._lock:
            asked = self._asked.pop(name, 0) + wanted
            if asked > size * SHARE:
                return True
            self._asked[name] = asked
            while len(self._asked) > BLOBS_MAX:
                self._asked.popitem(last=False)
            return False
