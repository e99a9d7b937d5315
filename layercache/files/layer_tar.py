"""One layer's tar as the files in it need it: its table of contents, and ranges of its bytes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from layercache.oci.forms import UNCOMPRESSED

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.files.placed import Placed
    from layercache.index.table import FileTable
    from layercache.resolver.layer_state import LayerState
    from layercache.resolver.resolver import Resolver


class LayerTar:
    """A layer's table of contents, which is read or made at the first question, and its tar.

    The lock lets one thread read or make the table, and others wait for that: making it may take a pass over
    the whole layer.
    """

    def __init__(self, resolver: Resolver, state: LayerState) -> None:
        self._resolver = resolver
        self._state = state
        self._lock = threading.Lock()
        self._table: FileTable | None = None
        self.placed: Placed | None = None
        """Where the entries belong, if that is the same whatever lies below, and once it is known."""

    @property
    def name(self) -> str:
        """The layer's diff ID, or its digest while the diff ID is not known."""
        identity = self._state.identity
        return str(identity.diff_id or identity.digest)

    @property
    def blob(self) -> str:
        """The digest, or the diff ID if no digest is known: what no image can claim of another layer."""
        identity = self._state.identity
        return str(identity.digest or identity.diff_id)

    @property
    def table(self) -> FileTable:
        """Every entry of the tar, in its order. Raises as `layercache.files.tables.table_of` does."""
        with self._lock:
            if self._table is None:
                from layercache.files.tables import table_of

                self._table = table_of(self._resolver, self._state)
            return self._table

    def forget(self) -> None:
        """Free the memory of the table, which is read again when it is needed."""
        self._table = self.placed = None

    def look(self) -> None:
        """Read the table if a tier has it; make nothing."""
        with self._lock:
            if self._table is None:
                from layercache.files.tables import kept_table

                self._table = kept_table(self._resolver, self._state)

    @property
    def is_at_hand(self) -> bool:
        """Whether a trusted tier has the tar, so that any parts of it cost no more than their bytes."""
        from layercache.files.tables import tar_at_hand

        return tar_at_hand(self._resolver, self._state)

    @property
    def has_points(self) -> bool:
        """Whether a part can be read without all that is before it, because there is a seek index."""
        from layercache.files import seek_points

        index = seek_points.find(self._resolver, self._state)
        return index is not None and index.has_points

    def read(self, start: int, end: int) -> Reader:
        """The bytes ``start`` to ``end`` (exclusive) of the tar, verified, by the way that costs least."""
        from layercache.files.tar_reader import open_tar

        return open_tar(self._resolver, self._state, start, end)

    def read_in_pass(self, start: int, end: int) -> Reader:
        """The same out of a pass over the whole layer, which a tier keeps, if it is read to its end."""
        return self._resolver.open(self._state, UNCOMPRESSED, start, end)
