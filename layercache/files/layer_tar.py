"""One layer's tar as the files in it need it: its table of contents, and ranges of its bytes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from layercache.errors import IntegrityError
from layercache.events import Event
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED

if TYPE_CHECKING:
    from layercache.backend import Reader
    from layercache.files.direct_paths import DirectPaths
    from layercache.files.own_tar import OwnTar
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
        self._own: OwnTar | None = None  # once an offset of its table was given, it is what is read
        self._may_be_own = True
        self._is_filled = False
        self.placed: Placed | None = None
        """Where the entries belong, if that is the same whatever lies below, and once it is known."""
        self.direct: DirectPaths | None = None
        """For look-ups before it is placed, from the first one on."""

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
                self._table = self._read_table()
            return self._table

    def _read_table(self) -> FileTable:
        """The table that is kept or takes no pass, else one that is made."""
        from layercache.files.tables import kept_table, table_of

        if self._own is None and self._may_be_own and self._state.annotations and not self.is_at_hand:
            table = kept_table(self._resolver, self._state)
            self._own = self._find_own() if table is None else None
        if self._own is not None:
            return self._own.table
        self._may_be_own = False  # offsets are those of the tar from now on
        return table_of(self._resolver, self._state)

    def _find_own(self) -> OwnTar | None:
        from layercache.files.own_tar import find_own_tar

        try:
            return find_own_tar(self._resolver, self._state)
        except IntegrityError as error:
            note = f"its own table of files is not used: {error.message}"
            event = Event("failed", self._state.identity.digest, COMPRESSED, "its image", note=note)
            self._resolver.near.observers.emit(event)
            return None

    def forget(self) -> None:
        """Free the memory of the table, which is read again when it is needed."""
        self._table = self.placed = self.direct = None

    def look(self) -> None:
        """Read the table if a tier has it; make nothing."""
        with self._lock:
            if self._table is None:
                from layercache.files.tables import kept_table

                self._table = None if self._own else kept_table(self._resolver, self._state)
                self._may_be_own = self._may_be_own and self._table is None

    @property
    def is_at_hand(self) -> bool:
        """Whether a trusted tier has the tar."""
        from layercache.files.tables import tar_at_hand

        if self._own is not None:
            return False
        return tar_at_hand(self._resolver, self._state)

    @property
    def has_points(self) -> bool:
        """Whether a part can be read without all that is before it, because there is a seek index."""
        if self._own is not None:
            return True
        from layercache.files import seek_points

        index = seek_points.find(self._resolver, self._state)
        return index is not None and index.has_points

    def is_read_in_parts(self, size: int) -> bool:
        """Whether parts with so many bytes in all are read one by one, and not in a pass over the whole tar.

        They cost no more than their bytes where a tier has the tar, unless that hashes the whole for each.
        """
        if self.is_at_hand:
            return not self._resolver.near.verify_always
        return 2 * size < self.table.tar_size and self.has_points

    def read(self, start: int, end: int) -> Reader:
        """The bytes ``start`` to ``end`` (exclusive) of the tar, verified, by the way that costs least."""
        if self._own is not None:
            return self._own.read(start, end)
        from layercache.files.tar_reader import open_tar

        return open_tar(self._resolver, self._state, start, end)

    def read_in_pass(self, start: int, end: int) -> Reader:
        """The same out of a pass over the whole layer, which a tier keeps, if it is read to its end."""
        if self._own is not None:
            if not self._is_filled and self._resolver.keeper.store(COMPRESSED):
                self._resolver.fill(self._state, COMPRESSED)  # much of it is wanted: let a tier keep it
                self._is_filled = True
            return self._own.read(start, end)
        return self._resolver.open(self._state, UNCOMPRESSED, start, end)

    def read_ahead(self, start: int, end: int) -> Reader:
        """As `read_in_pass`, with several threads where that can be done: it takes more memory, too."""
        from layercache.files.tar_reader import open_whole

        found = None if self._own else open_whole(self._resolver, self._state, start, end)
        return found or self.read_in_pass(start, end)
