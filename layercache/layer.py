"""A layer: two names, two forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from layercache.errors import NotFoundError
from layercache.oci.descriptor import OCTETS
from layercache.oci.forms import COMPRESSED, UNCOMPRESSED, check_form
from layercache.resolver.layer_state import LayerState
from layercache.streams.readers import stream

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Callable, Mapping, Sequence

    from layercache.files.extract import Extracted
    from layercache.files.layer_files import LayerFiles
    from layercache.oci.digest import DiffID, Digest
    from layercache.oci.forms import Form
    from layercache.resolver.identity import LayerIdentity
    from layercache.resolver.resolver import Resolver
    from layercache.resolver.responses import Responses
    from layercache.sources.origin import BlobSource

Forms = Literal["compressed", "uncompressed", "both"]


class Names(NamedTuple):
    """The two names of a layer; None for one that is not known."""

    digest: Digest | None
    diff_id: DiffID | None


class Layer:
    """A layer of an image, or another blob, that can be read in the forms it has.

    No property does any work. What is not known yet is known after the form that shows it was read or filled
    once. So ``layer.fill("uncompressed")`` is how to learn the diff ID of a blob that nobody has inflated.
    `digest` and `diff_id` raise while they are not known; `names` has None for them.
    """

    def __init__(
        self,
        resolver: Resolver,
        identity: LayerIdentity,
        source: BlobSource | None = None,
        *,
        image: str = "",
        responses: Responses | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self._resolver = resolver
        self._state = LayerState(identity, source, image, responses, annotations)
        self._files: LayerFiles | None = None

    @property
    def names(self) -> Names:
        """Both names as far as they are known: what was not inflated, or is not a layer, has no diff ID."""
        identity = self._state.identity
        return Names(identity.digest, identity.diff_id)

    @property
    def digest(self) -> Digest:
        """The name of the compressed blob; where several lead to the tar, the nearest one's.

        Known for all layers but one that was asked for by its diff ID while only its tar is cached: then this
        raises `NotFoundError`.
        """
        if (digest := self._state.identity.digest) is not None:
            return digest
        raise NotFoundError(
            f"no digest of {self._state.identity.diff_id} is known: only its tar is cached",
            hint="pull its image (layercache pull IMAGE), or use layer.names",
        )

    @property
    def digests(self) -> list[Digest]:
        """Every known digest that leads to this layer: its gzip and its zstd, say."""
        return self._state.identity.digests()

    @property
    def diff_id(self) -> DiffID:
        """The name of the tar inside. Raises `NotFoundError` while it is not known, or if there is none."""
        if (diff_id := self._state.identity.diff_id) is not None:
            return diff_id
        raise NotFoundError(
            f"the diff ID of {self._state.identity.digest} is not known",
            hint='layer.fill("uncompressed") computes it; layer.names has None for it',
        )

    @property
    def computed(self) -> bool:
        """Whether digest and diff ID were seen to belong together; else the diff ID is an image's claim."""
        return self._state.identity.computed

    @property
    def size(self) -> int | None:
        """Bytes of the compressed blob, as counted, or else as stated or claimed."""
        identity = self._state.identity
        return identity.claim.size if identity.size is None and identity.claim else identity.size

    @property
    def uncompressed_size(self) -> int | None:
        """Bytes of the tar, as counted or else as claimed."""
        identity = self._state.identity
        counted = identity.uncompressed_size
        return identity.claim.uncompressed_size if counted is None and identity.claim else counted

    @property
    def media_type(self) -> str:
        """The compressed blob's; ``application/octet-stream`` while it is not known."""
        identity = self._state.identity
        known = identity.media_type
        return identity.claim.media_type if known == OCTETS and identity.claim else known

    def compressed(self, start: int = 0, end: int | None = None) -> BinaryIO:
        """The blob as it is distributed: bytes ``start`` to ``end`` (exclusive; None: to its end).

        It is inflated only where the layer was asked for by its diff ID and nobody here has computed that
        this blob belongs to it: then its last 512 KiB are given once that was found true, and a part of it
        only after that. The stream is seekable only where ``seekable()`` says so. Wrong bytes end in an
        error, never in a clean end.

        A part that no trusted tier has is read from a transfer of the blob that is on its way, and then ends
        only after the whole was verified, or else straight from the nearest place that has it. Only its
        length can be checked then, and it is not stored; with ``verify_always`` the whole is fetched and
        verified instead. What lies past the end of the blob is not there: such a part is short, or empty.

        Raises `NotFoundError` where only the tar is cached and no source is known, `BackendError`,
        `SourceError`, `ValueError` unless 0 <= start <= end; reading may raise `DigestMismatchError` too.
        """
        return stream(self._resolver.open(self._state, COMPRESSED, start, end))

    def uncompressed(self, start: int = 0, end: int | None = None) -> BinaryIO:
        """The tar: bytes ``start`` to ``end`` (exclusive; None: to its end).

        Inflates the blob if no tier has the tar, and keeps it where a tier keeps tars. A part of it is read
        from a trusted tier, or else out of this pass as it grows; then its last 512 KiB (all of a smaller
        part) are given only after the whole was verified, and the tar is kept for the next part.

        Raises as `compressed` does, and `NotALayerError` for what is not a layer, `FormatError` for a broken
        stream, `LimitError` for a decompression bomb.
        """
        if not start and end is None and self._resolver.keeper.store(UNCOMPRESSED) is None:
            from layercache.files.tar_reader import open_whole

            if whole := open_whole(self._resolver, self._state):
                return stream(whole)
        return stream(self._resolver.open(self._state, UNCOMPRESSED, start, end))

    def files(self) -> LayerFiles:
        """The entries of the tar: iterate over them, in its order, whiteouts too.

        Nothing is inflated if a tier has the layer's table of contents; else the table is made, in one pass
        over the layer, at the first iteration. Iterating raises as `uncompressed` does.
        """
        if self._files is None:
            from layercache.files.layer_files import LayerFiles

            self._files = LayerFiles(self._resolver, self._state)
        return self._files

    def open(self, path: str) -> io.BufferedReader:
        """A regular file of this layer, as a buffered, seekable stream of its bytes.

        Links are followed inside the layer. Raises `NotFoundError`, `NotAFileError` for a folder or a device,
        and as `uncompressed`, also while it is read: `DigestMismatchError` before the last bytes if the file,
        read in order from its start, has another sha256 than the layer's table says.
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
        """Write files of this layer into a folder: those that ``paths`` lead to, folders whole, or all.

        As `Image.extract`, of this layer alone: what it hides in lower layers has no part in that.
        """
        from layercache.files.extract import extract
        from layercache.files.restore import Restore
        from layercache.files.wanted import Wanted

        restore = Restore(owners=owners, devices=devices, set_id=set_id)
        return extract(Wanted(self.files().view, paths), destination, restore, progress)

    def stat(self) -> int:
        """Bytes of the compressed blob, of the nearest place that has it. The bytes themselves do not travel.

        A registry is asked by HEAD. Raises as `compressed` does.
        """
        from layercache.resolver.whereabouts import size_of_blob

        return size_of_blob(self._resolver, self._state)

    def is_on_its_way(self, form: Form) -> bool:
        """Whether this process is just fetching or making the form, so that a read follows that."""
        check_form(form)
        return self._resolver.is_on_its_way(self._state, form)

    def signed_url(self, form: Form, seconds: int) -> str | None:
        """A URL by which anybody can read the form for that time, straight from a bucket that has it.

        None if no tier has it, or can sign URLs, or the size of the form is not known. What is read there is
        checked by nobody here: compare it with the name. Costs a request to each bucket that is asked.
        """
        from layercache.resolver.whereabouts import signed_url

        check_form(form)
        return signed_url(self._resolver, self._state, form, seconds)

    def path(self, form: Form = UNCOMPRESSED) -> str | None:
        """The file in which the nearest tier has the form, for sendfile(2), mmap and all that wants a name.

        None where it has none, or where only a claim leads to the blob: `fill` it first. Read the file only,
        and open it soon: a limit on the tier's size may take the name away, not the bytes
        of a process that has it open.
        """
        check_form(form)
        return self._resolver.path(self._state, form)

    def fill(self, form: Forms = "both") -> None:
        """See to it that a tier has the form, without reading it.

        Raises as the streams do, and `ConfigError` where no tier keeps the form.
        """
        check_form(form, both=True)
        self._resolver.fill(self._state, *((UNCOMPRESSED, COMPRESSED) if form == "both" else (form,)))

    def compress(
        self,
        kind: str,
        *,
        level: int | None = None,
        everywhere: bool = True,
        progress: Callable[[int], object] = lambda _size: None,
    ) -> Layer:
        """Compress the tar to "zstd" or "gzip"; return the same layer by its new digest.

        ``level``: 1 to 22 for zstd (default 3), 1 to 9 for gzip (default 6). The same version of layercache
        with the same libzstd or zlib always makes the same bytes. What was written is inflated again and
        compared with the diff ID before it is stored, in every tier that keeps compressed layers, or, unless
        ``everywhere``, in the nearest one. A zstd consists of independent frames of 4 MiB of the tar.
        ``progress`` is called with the size of each part of the tar that was read.

        Raises as `uncompressed` does, `ValueError` for another ``kind`` or ``level``, and `ConfigError` where
        no tier keeps compressed layers.
        """
        from layercache.resolver.compressor import compress
        from layercache.streams.compress import Compression

        compression = Compression.of(kind, level)
        identity = compress(self._resolver, self._state, compression, progress, everywhere=everywhere)
        return Layer(self._resolver, identity)

    def doubt(self, form: Form) -> bool:
        """Hash the trusted entries of this form, as bytes were wrong; return whether any was quarantined.

        Then another read takes another way.
        """
        return self._resolver.doubt(self._state, form)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Pickle the cache as the arguments of `layercache.open`, and what is known of it, no bytes."""
        if (reopening := self._resolver.reopening) is None:
            raise TypeError("only layers of a cache that layercache.open has opened can be pickled")
        identity = self._state.identity
        media_type = None if identity.media_type == OCTETS else identity.media_type
        return reopening.layer, (*self.names, identity.size, media_type, self._state.image)

    def __repr__(self) -> str:
        return f"<Layer digest={self.names.digest} diff_id={self.names.diff_id}>"
