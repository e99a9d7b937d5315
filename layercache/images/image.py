"""An image: its manifest, its configuration, its layers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from layercache.oci.descriptor import Descriptor, Platform

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Callable, Sequence

    from layercache.files.extract import Extracted
    from layercache.files.merged import ImageFile, ImageFiles
    from layercache.layer import Layer
    from layercache.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Image:
    """One platform of an image. Its layers are lazy: they fill the cache as they are read."""

    name: str
    """The full reference, or the path, by which it was opened."""
    descriptor: Descriptor
    """Of the manifest: media type, digest, size in bytes."""
    root: Descriptor
    """Of what the name leads to: the manifest, or the index that lists it."""
    raw_manifest: bytes
    """The manifest as it was pushed, byte for byte: it hashes to `digest`."""
    manifest: dict[str, Any]
    """The manifest's JSON, nothing left out."""
    config: dict[str, Any]
    """The config's JSON; empty for an artefact, whose config is not an image's."""
    raw_config: bytes
    """The config, byte for byte; empty if there is none."""
    layers: list[Layer]
    """The layers, lowest first, without foreign ones."""
    foreign: list[Descriptor]
    """Non-distributable layers, which are never fetched."""
    _files: list[ImageFiles] = field(default_factory=list, init=False, repr=False, compare=False)
    # Empty until somebody asks for files.

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.descriptor.digest

    @property
    def platform(self) -> Platform:
        """The platform in the config."""
        found = [self.config.get(each) or "" for each in ("architecture", "os", "variant")]
        return Platform(architecture=found[0], os=found[1], variant=found[2])

    def __reduce__(self) -> tuple[type[Image], tuple[object, ...]]:
        """Pickle the documents, and the layers without their bytes."""
        return Image, tuple(getattr(self, each.name) for each in fields(self) if each.init)

    def files(self) -> ImageFiles:
        """The files of the image as they would be on a disk: iterate over them, or look them up.

        Whiteouts and opaque folders are applied. Nothing is read before a file is asked for; then the layers'
        tables are, as far as necessary. Foreign layers are left out.
        """
        if not self._files:
            from layercache.files.merged import ImageFiles

            self._files.append(ImageFiles([layer.files().tar for layer in self.layers]))
        return self._files[0]

    def open(self, path: str | ImageFile) -> io.BufferedReader:
        """A regular file of the image, as a buffered, seekable stream of its bytes.

        Links are followed inside the image and never out of it. Raises `NotFoundError`, with similar paths as
        a hint, `NotAFileError` for a folder or a device, and as `Layer.open`.
        """
        return self.files().open(path)

    def extract(
        self,
        destination: str | os.PathLike[str],
        paths: Sequence[str] | None = None,
        *,
        owners: bool = False,
        devices: bool = False,
        set_id: bool = False,
        progress: Callable[[int], object] = lambda _size: None,
    ) -> Extracted:
        """Write files of the image into a folder: those that ``paths`` lead to, folders whole, or all.

        The folder is made if it is missing. In one that has files, those of the same place are replaced, and
        folders are merged. Nothing is written outside of it, whatever the layers say. Modes (without set-id
        bits), times, links and the attributes ``user.*`` are restored, and holes stay holes; ``set_id``: also
        set-id bits; ``owners``: also numeric owners and other attributes, which only root may; ``devices``:
        also device nodes and pipes, which are else listed in `Extracted.skipped`. Each tar is read once, and
        only as far as necessary. ``progress`` is called by several threads, with numbers of bytes written.

        An interrupted extraction leaves no part of a file under its name. Raises `NotFoundError` for a path
        that is not there, `ConfigError` where the destination is not a folder, `SourceError` where it cannot
        be written, `DigestMismatchError` for a file that is not what its layer's table says, and as
        `Layer.uncompressed`.
        """
        from layercache.files.extract import extract
        from layercache.files.restore import Restore
        from layercache.files.wanted import Wanted

        restore = Restore(owners=owners, devices=devices, set_id=set_id)
        return extract(Wanted(self.files(), paths), destination, restore, progress)
