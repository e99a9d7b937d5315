"""Blobs that a client wants to have in a second repository without sending them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import LayercacheError
from layercache.serve.messages import RegistryError
from layercache.serve.routes import Route
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.oci.descriptor import Descriptor
    from layercache.oci.digest import Digest, Hash
    from layercache.oci.reference import Reference
    from layercache.registry.client import RegistryClient
    from layercache.serve.access import Admitted
    from layercache.serve.messages import Request


class Mounts:
    """Finds them in the other repository, if the client may read that. Thread-safe: nothing changes."""

    def __init__(
        self,
        find: Callable[[Reference, Hash, RegistryClient | None], Descriptor | None],
        admit: Callable[[Request, Route], Admitted],
    ) -> None:
        self._find = find
        self._admit = admit

    def find(self, request: Request, digest: Digest) -> Descriptor | None:
        """The blob in the repository that the query names as ``from``; None: the client has to send it.

        What a client may not read, or the upstream is not there to confirm, is as if it were not there.
        """
        source = request.query.get("from", "")
        if not source:
            return None
        read = replace(request, method="HEAD", body=None)
        try:
            admitted = self._admit(read, Route("blob", source, digest))
            found = self._find(admitted.reference, digest, admitted.registries)
        except (RegistryError, LayercacheError):
            return None
        return found if found and found.digest == digest else None
