"""Checks of a tier in a registry, with blobs of random bytes and an artefact.

No manifest refers to these blobs, so the registry's garbage collection removes those that we cannot delete.
"""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING

from layercache.doctor.check import Answer, milliseconds
from layercache.doctor.probe import Probe
from layercache.doctor.sources import credentials, reach
from layercache.errors import NotFoundError, SourceError
from layercache.oci.digest import Digest
from layercache.registry.retry import TransientError
from layercache.streams.readers import CHUNK
from layercache.tiers.registry.record import NAME_TYPE, artefact
from layercache.tiers.registry.tier import RegistryTier

if TYPE_CHECKING:
    from layercache.doctor.check import Examination

TAG = "doctor"
"""The tag of the artefact. It is always the same, so artefacts that cannot be deleted do not accumulate."""


class RegistryProbe(Probe[RegistryTier]):
    """Writes, reads and deletes blobs in the tier's repository."""

    # Less than for other tiers: deleted blobs occupy space until the next garbage collection.
    big = 4 << 20

    def __init__(self, tier: RegistryTier) -> None:
        super().__init__(tier)
        self._client = tier.client
        self._repository = tier.repository
        self._digests: dict[str, Digest] = {}
        self._sent = 0
        self._keeps = False

    def _look(self, examination: Examination, seconds: float) -> bool:
        client, registry, repository = self._client, self._repository.registry, self._repository.repository
        examination.run("credentials", lambda: credentials(client, registry, repository), seconds)
        reached = examination.run("reached", lambda: reach(client, registry), seconds)
        return reached and examination.run("listed", self._list, seconds)

    def _delete(self) -> Answer:
        try:
            return super()._delete()
        except TransientError:
            raise
        except SourceError as error:
            self._keeps = True
            hint = (
                "the cache works without deletion, but rm and verify cannot remove anything. To enable it, "
                "allow deletion in the registry (docker-registry: storage.delete.enabled) and for this user"
            )
            return Answer(error.message, "warning", hint)

    def _try_more(self, examination: Examination, seconds: float) -> None:
        examination.run("artefact", self._put_artefact, seconds)
        own_names = "not applicable: blobs are named by their hash, and the last writer of a tag wins"
        examination.run("conditions", lambda: Answer(own_names, "skipped"))

    def _end(self, examination: Examination, seconds: float) -> None:
        if self._keeps:
            examination.run("left behind", self._left, seconds)

    def _put_artefact(self) -> Answer:
        """Check that the registry stores and finds artefacts, and reports missing ones as missing."""
        begun = time.perf_counter()
        self._written.add(TAG)
        try:
            self._tier.records.read(Digest.of(os.urandom(32)))
            self._tier.records.put(TAG, artefact(NAME_TYPE, {}, []))
            self._repository.manifest(TAG)
        except TransientError:
            raise
        except NotFoundError as error:
            return Answer(error.message, "failed", "the registry accepted the artefact but does not find it")
        except SourceError as error:
            hint = "use a registry that accepts OCI artefacts"
            return Answer(error.message, "failed", error.hint or hint)
        spent = milliseconds(begun)
        if not self._keeps:
            self._remove(TAG)
        return spent

    def _left(self) -> Answer:
        detail = f"{len(self._digests)} blobs of {self._sent / 1e6:.1f} MB, and the tag {TAG}"
        hint = (
            "the registry's garbage collection removes the blobs, since no manifest refers to them; "
            "the tag is reused by the next check"
        )
        return Answer(detail, "warning", hint, self._sent, "bytes")

    def _send(self, name: str, data: bytes) -> None:
        digest = self._digests[name] = Digest.of(data)
        self._repository.push(digest, io.BytesIO(data))
        self._sent += len(data)

    def _get(self, name: str) -> bytes:
        with self._repository.open_blob(self._digests[name]) as reader:
            return b"".join(iter(lambda: reader.read(CHUNK), b""))

    def _remove(self, name: str) -> None:
        if name == TAG:
            self._tier.records.delete(TAG)
        else:
            self._repository.delete_blob(self._digests[name])

    def _has(self, name: str) -> bool:
        return self._repository.has_blob(self._digests[name])
