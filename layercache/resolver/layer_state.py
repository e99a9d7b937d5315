"""The one thing about a layer that changes: which identity is the current one; and where it comes from."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from layercache.oci.forms import Form
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.responses import Responses
    from layercache.sources.origin import BlobSource
    from layercache.tiers.tier import Tier


class LayerState:
    """The current identity of one `Layer`, and the source that has its blob when no tier does.

    Two kinds of threads write it: the one that opens the layer (which digest is meant, the size of the entry
    that was found), and the one that drives a transfer of it, or follows one (what the pass has found out).
    Both may do so at once, where a layer is read in both forms, so each change is computed from the current
    identity under the lock. Readers need no lock: they get one identity, which never changes.

    A change is pure: it opens nothing, waits for nothing and takes no other lock. What it raises leaves the
    identity as it was.
    """

    __slots__ = ("_lock", "annotations", "identity", "image", "responses", "source", "stored")

    def __init__(
        self,
        identity: LayerIdentity,
        source: BlobSource | None = None,
        image: str = "",
        responses: Responses | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.identity = identity
        self.source = source
        self.responses = responses
        """What remote tiers answered the look-up with, until the layer is read; else None."""
        self.image = image
        """The image that the layer was opened through, for messages; "" if there is none."""
        self.annotations = annotations or {}
        """Those of the layer's descriptor in a verified manifest."""
        self.stored: dict[Form, Sequence[Tier]] = {}
        """Where the passes that were begun for this layer have stored a form, since somebody last began to
        fill tiers with it. Two who do so at once may see less: then they look at the tiers.
        """
        self._lock = threading.Lock()

    def give_up_responses(self) -> None:
        """Close what was opened before anybody read the layer, and is not what was read then."""
        responses, self.responses = self.responses, None
        if responses is not None:
            responses.close()

    def update(self, change: Callable[[LayerIdentity], LayerIdentity]) -> LayerIdentity:
        """Replace the identity by what follows from it; the new one."""
        with self._lock:
            self.identity = identity = change(self.identity)
        return identity
