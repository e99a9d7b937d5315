"""What ``docker save`` writes, as a source: ``docker-archive:PATH[:REF]``.

An archive has no manifest of the kind that registries have: one is made of what is there, in Docker's schema
2. A layer that lies in the archive as a plain tar has its diff ID as digest; of a compressed one the digest
is found by hashing it, once. The format is described in moby's image-spec, v1.2: manifest.json; what Docker
25 and newer save is an OCI layout too, but has the same manifest.json.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

import msgspec

from layercache.errors import FormatError, InvalidNameError, NotFoundError, SourceError
from layercache.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER_OF,
    DOCKER_MANIFEST,
    DOCUMENT_MAX,
    NO_COMPRESSION,
    NOT_VALID,
    Descriptor,
    ImageConfig,
    decode,
)
from layercache.oci.digest import DiffID, Digest
from layercache.oci.documents import check_limit
from layercache.oci.image_names import unnamed
from layercache.oci.reference import Reference, canonical
from layercache.sources.file_section import PartReader
from layercache.sources.inflated import InflatedFile, sniff_archive
from layercache.sources.names import ARCHIVE, OCI_ARCHIVE, split_path
from layercache.sources.opened_archive import OpenedArchive, check_there
from layercache.statistics.places import Place
from layercache.streams.hashing import chunks, hash_chunks
from layercache.streams.readers import HEAD
from layercache.value import json_decoder

if TYPE_CHECKING:
    from layercache.sources.tar_index import Member, Members

MANIFEST = "manifest.json"

TAGS_MAX = 100
"""Tags of an image that are looked at: each becomes an object in every tier."""


class _Item(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in manifest.json."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


@dataclass(frozen=True)
class _Found:
    """The image that was asked for: its manifest, and where its blobs lie."""

    manifest: bytes
    root: Descriptor
    blobs: dict[Digest, tuple[int, Member]]
    references: list[Reference]


class ArchiveSource:
    """One image of an archive. It is looked through at the first question, and kept open until `close`.

    Layers inside it that are compressed as no registry has them, by xz or bzip2, are inflated once, into a
    temporary file without a name.
    """

    def __init__(self, path: str, ref: str = "", *, max_document_size: int = DOCUMENT_MAX) -> None:
        self._path = path
        self._max_size = max_document_size
        self._ref = ref
        self._lock = threading.Lock()
        self._found: _Found | None = None
        self._opened = ExitStack()

    @classmethod
    def parse(cls, text: str, *, max_document_size: int = DOCUMENT_MAX) -> Self:
        """``PATH[:REF]``, REF one of the image's tags or ``@N``, its place in manifest.json from 0.

        ``-`` is stdin.         For a ":" in the path see `split_path`.
        """
        path, ref = split_path(text, os.path.exists)
        check_there(path, f"{ARCHIVE}{path}")
        return cls(path, ref, max_document_size=max_document_size)

    @property
    def name(self) -> str:
        return f"{ARCHIVE}{self._path}{f':{self._ref}' if self._ref else ''}"

    @property
    def place(self) -> Place:
        return Place("archive", f"{ARCHIVE}{self._path}", self.name)

    def root(self, *, new: bool = False) -> Descriptor:  # noqa: ARG002  # both cost the same here
        return self._load().root

    def references(self) -> list[Reference]:
        return self._load().references

    def document(self, descriptor: Descriptor) -> bytes:
        found = self._load()
        if descriptor.digest != found.root.digest:
            raise NotFoundError(f"{self.name} has no manifest {descriptor.digest}", looked_in=[self._path])
        return found.manifest

    def open_blob(self, descriptor: Descriptor, start: int = 0, end: int | None = None) -> PartReader:
        with self._lock:
            found = self._load_locked()
            if descriptor.digest not in found.blobs:
                raise NotFoundError(f"{self.name} has no blob {descriptor.digest}", looked_in=[self._path])
            fd, member = found.blobs[descriptor.digest]
            if not 0 <= start <= member.size:
                raise ValueError(f"no offset {start} in {member.size} bytes")
            stop = member.size if end is None else min(end, member.size)
            return PartReader(os.dup(fd), member.start + start, member.start + stop)

    def close(self) -> None:
        with self._lock:
            self._found = None
            self._opened.close()

    def _load(self) -> _Found:
        with self._lock:
            return self._load_locked()

    def _load_locked(self) -> _Found:
        if self._found is None:
            with ExitStack() as opened:
                archive = OpenedArchive(self._path, self.name)
                opened.callback(archive.close)
                self._found = self._image(archive.fd, archive.members, archive.inflated)
                self._opened = opened.pop_all()
        return self._found

    def _image(self, fd: int, members: Members, inflated: InflatedFile) -> _Found:
        item = self._chosen(self._items(fd, members))
        config_member = members.find(item.config)
        config = self._small(fd, config_member, item.config)
        image = decode(config, ImageConfig, f"{self.name}: {item.config}")
        layers = item.layers or []
        if len(layers) != len(image.diff_ids):
            raise SourceError(f"{self.name} names {len(layers)} layers, its config {len(image.diff_ids)}")
        blobs = {Digest.of(config): (fd, config_member)}
        entries = [_entry(DOCKER_CONFIG, Digest.of(config), config_member.size)]
        insides: dict[Member, tuple[int, Member]] = {}
        for name, diff_id in zip(layers, image.diff_ids, strict=True):
            member = members.find(name)
            compression = sniff_archive(os.pread(fd, min(HEAD, member.size), member.start))
            if compression is None:
                raise SourceError(f"{self.name}: the layer {name!r} is not a tar, nor a compressed one")
            place = fd, member
            if compression not in DOCKER_LAYER_OF:  # to registries it is a tar
                if member not in insides:
                    insides[member] = inflated.append(_part(fd, member), compression, f"{self.name}: {name}")
                place, compression = insides[member], NO_COMPRESSION
            digest = Digest(str(diff_id)) if compression == NO_COMPRESSION else _digest(*place, diff_id)
            blobs[digest] = place
            entries.append(_entry(DOCKER_LAYER_OF[compression], digest, place[1].size))
        manifest = msgspec.json.encode(
            {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": entries[0], "layers": entries[1:]}
        )
        root = Descriptor(media_type=DOCKER_MANIFEST, digest=Digest.of(manifest), size=len(manifest))
        return _Found(manifest, root, blobs, _references(item) or [unnamed(root.digest)])

    def _items(self, fd: int, members: Members) -> list[_Item]:
        if MANIFEST not in members:
            hint = "docker save has written one since Docker 1.10"
            if "index.json" in members:
                hint = f"it is an OCI layout: name it {OCI_ARCHIVE}{self._path}"
            raise SourceError(
                f"{self.name} is not an archive of docker save: it has no {MANIFEST}", hint=hint
            )
        data = self._small(fd, members.find(MANIFEST), MANIFEST)
        try:
            return cast("list[_Item]", json_decoder(list[_Item]).decode(data))
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
            wanted = canonical(self._ref)
            found = [item for item in items if wanted in map(canonical, item.repo_tags or [])]
        else:
            found = items
        if not found:
            raise NotFoundError(f"{self.name} is not in the archive", looked_in=[self._path], hint=hint)
        if len(found) > 1:
            raise SourceError(f"{self.name} holds several images", hint=f"add one of :REF or :@N; {hint}")
        return found[0]

    def _small(self, fd: int, member: Member, name: str) -> bytes:
        check_limit(f"{self.name}: {name!r}", member.size, self._max_size)
        with _part(fd, member) as reader:
            return reader.read()


def _references(item: _Item) -> list[Reference]:
    """The image's tags, as far as they are references."""
    found: dict[Reference, None] = {}
    for tag in (item.repo_tags or [])[:TAGS_MAX]:
        with suppress(InvalidNameError):
            found[Reference.parse(tag)] = None
    return list(found)


def _digest(fd: int, member: Member, diff_id: DiffID) -> Digest:
    """The name of a layer that lies there compressed, by the diff ID's algorithm."""
    with _part(fd, member) as reader:
        return Digest(hash_chunks(chunks(reader), diff_id.algorithm)[0])


def _part(fd: int, member: Member) -> PartReader:
    return PartReader(os.dup(fd), member.start, member.start + member.size)


def _entry(media_type: str, digest: Digest, size: int) -> dict[str, str | int]:
    return {"mediaType": media_type, "size": size, "digest": str(digest)}
