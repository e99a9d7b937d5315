"""A tier: a place that has blobs, facts, images and derived objects, and the policy of what it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from layercache.tiers.lease_store import LeaseStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.errors import BackendError, NotFoundError
    from layercache.oci.digest import Hash
    from layercache.tiers.facts import FactStore
    from layercache.tiers.policy import Policy
    from layercache.tiers.stores import BlobStore, DerivedStore, ImageStore


class Tier(ABC):
    """One place, and its four stores (see `layercache.tiers.stores`). Thread-safe.

    ``name``: how messages and statistics call it. ``remote``: its bytes travel; a form that can be made
    nearby is not brought from there, and it is filled in the background. ``leases`` only save work.
    """

    lost = False
    """Whether it has failed, and has not been seen to work since. An attribute: each call looks at it."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        *,
        remote: bool,
        blobs: BlobStore,
        facts: FactStore,
        images: ImageStore,
        derived: DerivedStore,
    ) -> None:
        self.name = name
        self.policy = policy
        self.remote = remote
        self.blobs = blobs
        self.facts = facts
        self.images = images
        self.derived = derived
        self.leases = LeaseStore()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def failure(self) -> BackendError | None:
        """Why it is not asked just now; None where it is (see `TolerantTier`)."""
        return None

    @property
    def write_failure(self) -> BackendError | None:
        """Why nothing is written there just now."""
        return None

    def mark_failed(self, error: BackendError, *, writing: bool = False) -> NotFoundError:  # noqa: ARG002
        """Report a failure where other tiers could serve; what to raise instead. Here it is raised itself."""
        raise error

    def report_refreshed(self, report: Callable[[Hash], object]) -> None:  # noqa: B027  # most refresh nothing
        """Call ``report`` with the name of each blob whose time was refreshed because it is used."""

    def mark_answered(self, *, writing: bool = False) -> None:
        """Report that it was read, or written to, without a failure. To be called where it is ``lost``."""
        raise RuntimeError(f"{self.name} was not lost ({writing=})")

    @abstractmethod
    def close(self) -> None:
        """Give back connections and handles. Closing twice is not an error."""
