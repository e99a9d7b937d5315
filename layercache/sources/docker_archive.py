"""What ``docker save`` writes, as a source: ``docker-archive:PATH[:REF]``.

An archive has no manifest of the kind that registries have: one is made of what is there, in Docker's
schema 2. A layer that lies in the archive as a plain tar has its diff ID as digest; of a compressed one
the digest is found by hashing it, once. The format is told in moby's image-spec, v1.2: manifest.json; what
Docker 25 and newer save is an OCI layout too, but has the same manifest.json.
"""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass
from typing import Self

import msgspec

from layercache.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER_OF,
    DOCKER_MANIFEST,
    DOCUMENT_MAX,
    GZIP,
    NO_COMPRESSION,
    NOT_VALID,
    ZSTD,
    Descriptor,
    ImageConfig,
    decode,
)
from layercache.digest import DiffID, Digest
from layercache.errors import FormatError, InvalidNameError, NotFoundError, SourceError
from layercache.inflate import InflatedReader, Limits
from layercache.reference import Reference
from layercache.sources.archive_members import Member, Members
from layercache.sources.names import ARCHIVE, split_path
from layercache.sources.part import PartReader, open_file
from layercache.streams import CHUNK, HEAD, sniff

MANIFEST = "manifest.json"


class _Item(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in manifest.json."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


@dataclass(frozen=True)
class _Found:
    """The image that was asked for: its manifest, and where its blobs lie."""

    fd: int
    manifest: bytes
    root: Descriptor
    blobs: dict[Digest, Member]


class ArchiveSource:
    """One image of an archive. It is looked through at the first question, and kept open until `close`.

    An archive that is compressed as a whole is inflated once, into a temporary file without a name.
    """

    def __init__(self, path: str, ref: str = "", *, max_document_size: int = DOCUMENT_MAX) -> None:
        self._path = path
        self._max_size = max_document_size
        self._ref = ref
        self._lock = threading.Lock()
        self._found: _Found | None = None

    @classmethod
    def parse(cls, text: str, *, max_document_size: int = DOCUMENT_MAX) -> Self:
        """``PATH[:REF]``, REF one of the image's tags or ``@N``, its place in manifest.json from 0.

        For a ":" in the path see `split_path`.
        """
        path, ref = split_path(text, os.path.isfile)
        fd, _ = open_file(path, f"{ARCHIVE}{path}")
        os.close(fd)
        return cls(path, ref, max_document_size=max_document_size)

    @property
    def name(self) -> str:
        return f"{ARCHIVE}{self._path}{f':{self._ref}' if self._ref else ''}"

    def root(self, *, new: bool = False) -> Descriptor:  # noqa: ARG002  # both cost the same here
        return self._load().root

    def document(self, descriptor: Descriptor) -> bytes:
        found = self._load()
        if descriptor.digest != found.root.digest:
            raise NotFoundError(f"{self.name} has no manifest {descriptor.digest}", looked_in=[self._path])
        return found.manifest

    def open_blob(self, descriptor: Descriptor, start: int = 0) -> PartReader:
        with self._lock:
            found = self._load_locked()
            member = found.blobs.get(descriptor.digest)
            if member is None:
                raise NotFoundError(f"{self.name} has no blob {descriptor.digest}", looked_in=[self._path])
            if not 0 <= start <= member.size:
                raise ValueError(f"no offset {start} in {member.size} bytes")
            return PartReader(os.dup(found.fd), member.start + start, member.start + member.size)

    def close(self) -> None:
        with self._lock:
            found, self._found = self._found, None
            if found is not None:
                os.close(found.fd)

    def _load(self) -> _Found:
        with self._lock:
            return self._load_locked()

    def _load_locked(self) -> _Found:
        if self._found is None:
            fd = self._open()
            try:
                members = Members.read(fd, os.fstat(fd).st_size, self.name)
                self._found = self._image(fd, members)
            except BaseException:
                os.close(fd)
                raise
        return self._found

    def _open(self) -> int:
        fd, size = open_file(self._path, self.name)
        compression = sniff(os.pread(fd, HEAD, 0))
        if compression not in (GZIP, ZSTD):
            return fd
        with (
            InflatedReader(PartReader(fd, 0, size), compression, Limits(), self.name) as inflated,
            tempfile.TemporaryFile(buffering=0) as file,
        ):
            while chunk := inflated.read(CHUNK):
                file.write(chunk)
            return os.dup(file.fileno())

    def _image(self, fd: int, members: Members) -> _Found:
        item = self._chosen(self._items(fd, members))
        config_member = members.find(item.config)
        config = self._small(fd, config_member, item.config)
        image = decode(config, ImageConfig, f"{self.name}: {item.config}")
        layers = item.layers or []
        if len(layers) != len(image.diff_ids):
            raise SourceError(f"{self.name} names {len(layers)} layers, its config {len(image.diff_ids)}")
        blobs = {Digest.of(config): config_member}
        entries = [_entry(DOCKER_CONFIG, Digest.of(config), config_member.size)]
        for name, diff_id in zip(layers, image.diff_ids, strict=True):
            member = members.find(name)
            media_type, digest = self._layer(fd, member, name, diff_id)
            blobs[digest] = member
            entries.append(_entry(media_type, digest, member.size))
        manifest = msgspec.json.encode(
            {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": entries[0], "layers": entries[1:]}
        )
        root = Descriptor(media_type=DOCKER_MANIFEST, digest=Digest.of(manifest), size=len(manifest))
        return _Found(fd, manifest, root, blobs)

    def _items(self, fd: int, members: Members) -> list[_Item]:
        if MANIFEST not in members:
            hint = "docker save has written one since Docker 1.10"
            if "index.json" in members:
                hint = "it is an OCI layout: unpack it into a folder and name that: oci:FOLDER"
            raise SourceError(f"{self.name} is no archive of docker save: it has no {MANIFEST}", hint=hint)
        data = self._small(fd, members.find(MANIFEST), MANIFEST)
        try:
            return msgspec.json.decode(data, type=list[_Item])
        except NOT_VALID as error:
            raise FormatError(f"{self.name}: {MANIFEST} is not valid: {error}") from error

    def _chosen(self, items: list[_Item]) -> _Item:
        there = [
            ", ".join(item.repo_tags or []) or f"@{number} (untagged)" for number, item in enumerate(items)
        ]
        hint = f"it holds {'; '.join(there) or 'no image at all'}"
        if self._ref.startswith("@"):
            number = int(self._ref[1:]) if self._ref[1:].isdecimal() else len(items)
            found = items[number : number + 1]
        elif self._ref:
            wanted = _canonical(self._ref)
            found = [item for item in items if wanted in map(_canonical, item.repo_tags or [])]
        else:
            found = items
        if not found:
            raise NotFoundError(f"{self.name} is not in the archive", looked_in=[self._path], hint=hint)
        if len(found) > 1:
            raise SourceError(f"{self.name} holds several images", hint=f"add one of :REF or :@N; {hint}")
        return found[0]

    def _layer(self, fd: int, member: Member, name: str, diff_id: DiffID) -> tuple[str, Digest]:
        compression = sniff(os.pread(fd, min(HEAD, member.size), member.start))
        if compression is None:
            raise SourceError(f"{self.name}: the layer {name!r} is no tar, gzip or zstd")
        if compression == NO_COMPRESSION:
            return DOCKER_LAYER_OF[compression], Digest(str(diff_id))
        hasher = diff_id.hasher()
        with _part(fd, member) as reader:
            while chunk := reader.read(CHUNK):
                hasher.update(chunk)
        return DOCKER_LAYER_OF[compression], Digest.from_hasher(hasher)

    def _small(self, fd: int, member: Member, name: str) -> bytes:
        if member.size > self._max_size:
            raise SourceError(f"{self.name}: {name!r} has {member.size} bytes, which is not believed")
        with _part(fd, member) as reader:
            return reader.read()


def _part(fd: int, member: Member) -> PartReader:
    return PartReader(os.dup(fd), member.start, member.start + member.size)


def _entry(media_type: str, digest: Digest, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "size": size, "digest": str(digest)}


def _canonical(tag: str) -> str:
    try:
        return str(Reference.parse(tag))
    except InvalidNameError:
        return tag
