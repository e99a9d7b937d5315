"""Parses the target of an export: a transport's prefix, as in skopeo, or ``-`` for stdout."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, ClassVar, Protocol

from layercache.errors import ConfigError, InvalidNameError
from layercache.oci.reference import Reference, without_user
from layercache.sources.names import (
    ARCHIVE,
    LAYOUT,
    OCI_ARCHIVE,
    OTHERS,
    REGISTRY,
    registry_hint,
    split_path,
)
from layercache.streams.named_file import STDOUT, is_stdout

if TYPE_CHECKING:
    from collections.abc import Callable

    from layercache.export.contents import Contents
    from layercache.export.to_daemon import DockerAddress
    from layercache.registry.client import RegistryClient

DAEMON = "docker-daemon:"
STORAGE = "containers-storage:"
KNOWN = (
    "- (an archive on stdout)",
    "oci:PATH[:REF]",
    "oci-archive:PATH[:REF]",
    "docker-archive:PATH[:REF]",
    "docker-daemon:[NAME:TAG]",
    "containers-storage:[NAME:TAG]",
    "docker://REGISTRY/REPOSITORY[:TAG]",
)

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")
_ARCHIVE_NAME = re.compile(r".*\.(?:tar|tgz|tar\.[a-z0-9]+)(?::.*)?", re.DOTALL)


class Target(Protocol):
    """Where an image goes. ``one_platform``: it holds no index, and the layers as tars."""

    one_platform: ClassVar[bool]

    def write(self, contents: Contents, seen: Callable[[int], object]) -> tuple[int, int]:
        """Write everything; return blobs and bytes written. ``seen`` gets each part of a layer's bytes."""


class Targets:
    """Opens the targets of images. ``client`` is called only for a registry, ``docker`` for a daemon."""

    def __init__(self, client: Callable[[], RegistryClient], docker: Callable[[], DockerAddress]) -> None:
        self._client = client
        self._docker = docker

    def parse(self, target: str, image: Reference) -> Target:
        """The target of an image. Raises `ConfigError` for what is not one, with what was probably meant."""
        for prefix, opened in (
            (LAYOUT, self._layout),
            (OCI_ARCHIVE, self._oci_archive),
            (ARCHIVE, self._archive),
            (DAEMON, self._daemon),
            (STORAGE, self._storage),
            (REGISTRY, self._registry),
        ):
            if target.startswith(prefix):
                return opened(target.removeprefix(prefix), image)
        if target == STDOUT:
            return self._archive(STDOUT, image)
        raise ConfigError(f"{without_user(target)!r} is not a target of an export", hint=_meant(target))

    def _layout(self, text: str, image: Reference) -> Target:
        from layercache.export.layout_index import EntryNames
        from layercache.export.to_layout import LayoutTarget

        path, ref = _split(LAYOUT, text, os.path.isdir)
        if text.startswith("//") and not os.path.isdir(path) and (hint := registry_hint(text)):
            raise ConfigError(
                f"{LAYOUT}{text} is the path of an OCI layout, {path}",
                hint=f"{hint.replace('has no prefix: ', 'is ' + REGISTRY)}; copy fills a cache in a registry",
            )
        if path == STDOUT:
            raise ConfigError("an OCI layout is a folder", hint=f"its archive on stdout is {OCI_ARCHIVE}-")
        return LayoutTarget(path, EntryNames.chosen(ref, image))

    def _oci_archive(self, text: str, image: Reference) -> Target:
        from layercache.export.layout_index import EntryNames
        from layercache.export.to_archive import OciArchiveTarget

        path, ref = _split(OCI_ARCHIVE, text, os.path.lexists)
        return OciArchiveTarget(path, EntryNames.chosen(ref, image))

    def _archive(self, text: str, image: Reference) -> Target:
        from layercache.export.to_archive import ArchiveTarget

        path, ref = _split(ARCHIVE, text, os.path.lexists)
        return ArchiveTarget(path, _tag(ref, image))

    def _daemon(self, text: str, image: Reference) -> Target:
        from layercache.export.to_daemon import DaemonTarget

        return DaemonTarget(self._docker(), _required(DAEMON, _tag(text, image)))

    def _storage(self, text: str, image: Reference) -> Target:
        from layercache.export.to_storage import StorageTarget

        named = Reference.parse(text) if text else image
        _required(STORAGE, named.tag or "")
        return StorageTarget(Reference(named.registry, named.repository, named.tag))

    def _registry(self, text: str, image: Reference) -> Target:
        from layercache.export.to_registry import RegistryTarget

        return RegistryTarget(self._client(), Reference.parse(text), image)


def writes_to_stdout(target: str) -> bool:
    """Whether an archive of this target comes out of this process's standard output."""
    for prefix in (ARCHIVE, OCI_ARCHIVE):
        if target.startswith(prefix):
            return is_stdout(split_path(target.removeprefix(prefix), os.path.lexists)[0])
    return target == STDOUT


def _split(prefix: str, text: str, is_there: Callable[[str], bool]) -> tuple[str, str]:
    path, ref = split_path(text, is_there)
    if not path:
        raise ConfigError(f"{prefix}{text} names no path", hint=f"wanted {prefix}PATH[:REF]")
    return path, ref


def _tag(text: str, image: Reference) -> str:
    """The name and tag that ``docker load`` gives the image; "" for an image that is named by its digest.

    In full, since podman would take a short one for a name of localhost.
    """
    named = Reference.parse(text) if text else image
    return str(Reference(named.registry, named.repository, named.tag)) if named.tag else ""


def _required(prefix: str, name: str) -> str:
    if not name:
        raise ConfigError("the image has no tag to be loaded under", hint=f"name it: {prefix}NAME:TAG")
    return name


def _meant(target: str) -> str:
    """What the user probably meant by a target without a known transport."""
    if url := _URL.match(target):
        rest = target[url.end() :]
        if url[1] in ("http", "https"):
            return f"an image in a registry is {REGISTRY}{rest}"
        return f"layercache copy fills a cache at {url[1]}://; known targets: {', '.join(KNOWN)}"
    if OTHERS.match(target):
        return f"known targets: {', '.join(KNOWN)}"
    if _ARCHIVE_NAME.fullmatch(target):
        return f"for docker load: {ARCHIVE}{target}; as an OCI archive: {OCI_ARCHIVE}{target}"
    if f"{target}:" in (LAYOUT, OCI_ARCHIVE, ARCHIVE, DAEMON, STORAGE):
        return f"a colon follows: {target}:"
    if os.path.exists(target) and not os.path.isdir(target):
        return f"for docker load: {ARCHIVE}{target}; as an OCI archive: {OCI_ARCHIVE}{target}"
    if target.startswith((".", "/", "~")) or target.endswith("/") or os.path.exists(target):
        return f"as a folder: {LAYOUT}{target}; as a file for docker load: {ARCHIVE}{target}.tar"
    try:
        Reference.parse(target)
    except InvalidNameError:
        return f"known targets: {', '.join(KNOWN)}"
    return f"in a registry: {REGISTRY}{target}; as a folder: {LAYOUT}{target}"
