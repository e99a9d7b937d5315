"""What becomes of a transfer's bytes: the caller that starts a transfer decides that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from layercache.errors import LayercacheError
    from layercache.oci.digest import Hash
    from layercache.transfer.spool import TierSpool


class Stage(Protocol):
    """Judges the bytes of one transfer, and keeps them.

    The thread that drives the transfer calls ``progressed`` (many times), ``verified`` and ``stored``, in
    this order and with no lock held. ``settled`` comes exactly once: after ``stored``, or as soon as the
    transfer fails or is given up, from the thread that gives it up. ``damaged`` comes from a follower's.
    """

    def verified(self, found: Hash, size: int) -> None:
        """All bytes have come: their hash, and their number. Raises where they are wrong.

        Followers get the last bytes once this has returned; what it raises, they raise.
        """

    def stored(self, spool: TierSpool, found: Hash) -> None:
        """Make an entry of what is in the spool. Followers see the end once this has returned or raised."""

    def settled(self, error: BaseException | None) -> None:
        """The transfer has ended, well or not: nobody can begin to follow it.

        ``error``: why it failed; a `GivenUpError` if its readers, or the cache, gave it up.
        """

    def is_worth_finishing(self) -> bool:
        """Whether to go on without readers. Asked as they leave, perhaps while the collector runs."""

    def finishing(self) -> None:
        """It goes on without readers."""

    def progressed(self, count: int) -> None:
        """So many more bytes have come."""

    def damaged(self, found: Hash) -> LayercacheError:
        """The bytes were right, and published, and have been changed since: the error to raise."""
