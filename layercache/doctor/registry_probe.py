"""A tier in a registry tried: blobs of random bytes under their own hash, and an artefact.

No manifest refers to these blobs: where they cannot be deleted, a garbage collection takes them.
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
    from layercache.doctor.check import Subject

TAG = "doctor"
"""Where the artefact stands for a moment. Always the same one: what cannot be deleted never adds up."""


class RegistryProbe(Probe[RegistryTier]):
    """Blobs in the tier's repository."""

    # Less than elsewhere: what is deleted takes its room until the next garbage collection.
    big = 4 << 20

    def __init__(self, tier: RegistryTier) -> None:
        super().__init__(tier)
        self._client = tier.client
        self._repository = tier.repository
        self._digests: dict[str, Digest] = {}
        self._sent = 0
        self._keeps = False

    def _look(self, subject: Subject, seconds: float) -> bool:
        client, registry, repository = self._client, self._repository.registry, self._repository.repository
        subject.run("credentials", lambda: credentials(client, registry, repository), seconds)
        reached = subject.run("reached", lambda: reach(client, registry), seconds)
        return reached and subject.run("listed", self._list, seconds)

    def _delete(self) -> Answer:
        try:
            return super()._delete()
        except TransientError:
            raise
        except SourceError as error:
            self._keeps = True
            hint = (
                "a cache works without. To let layercache rm and verify remove what is there, allow deleting "
                "(docker-registry: storage.delete.enabled), and this user to do it"
            )
            return Answer(error.message, "warning", hint)

    def _try_more(self, subject: Subject, seconds: float) -> None:
        subject.run("artefact", self._put_artefact, seconds)
        own_names = "not applicable: a blob's name is its hash, and of tags the last writer wins"
        subject.run("created once", lambda: Answer(own_names, "skipped"))

    def _end(self, subject: Subject, seconds: float) -> None:
        if self._keeps:
            subject.run("left behind", self._left, seconds)

    def _put_artefact(self) -> Answer:
        """Whether it takes and finds what a tier writes down names and images as, and reports absence."""
        begun = time.perf_counter()
        self._written.add(TAG)
        try:
            self._tier.records.read(Digest.of(os.urandom(32)))
            self._tier.records.put(TAG, artefact(NAME_TYPE, {}, []))
            self._repository.manifest(TAG)
        except TransientError:
            raise
        except NotFoundError as error:
            return Answer(error.message, "failed", "the registry took the artefact, and does not find it")
        except SourceError as error:
            hint = "a cache there needs a registry that takes OCI artefacts"
            return Answer(error.message, "failed", error.hint or hint)
        spent = milliseconds(begun)
        if not self._keeps:
            self._remove(TAG)
        return spent

    def _left(self) -> Answer:
        detail = f"{len(self._digests)} blobs of {self._sent / 1e6:.1f} MB, and the tag {TAG}"
        hint = (
            "no manifest refers to the blobs: the registry's garbage collection removes them. "
            "The tag is there once, however often this is done"
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
