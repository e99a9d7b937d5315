"""The two names of a layer: ``Digest`` of the blob as distributed, ``DiffID`` of the tar inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from layercache.errors import InvalidNameError, wrong_type

if TYPE_CHECKING:
    from hashlib import _Hash as Hasher

    from _typeshed import ReadableBuffer

HEX_LENGTH = {"sha256": 64, "sha512": 128}
"""The registered algorithms of the OCI image-spec (descriptor.md, "Registered algorithms")."""

_HEX_DIGITS = "0123456789abcdef"


def hasher(algorithm: str, data: ReadableBuffer = b"") -> Hasher:
    """A running hash. Only what hashes loads OpenSSL: a cached layer of the right size is not hashed."""
    import hashlib

    return hashlib.new(algorithm, data)


class Hash(str):
    """``algorithm:hex`` of unknown role: a digest or a diff ID.

    A string in every way, so that it prints, compares and serialises as one; constructing it checks
    the form strictly as the OCI image-spec has it: a registered algorithm, lower-case hex, the
    algorithm's length. Raises `InvalidNameError`.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if isinstance(text, Hash):  # was checked when it was made
            return text if type(text) is cls else str.__new__(cls, text)
        try:
            algorithm, _, encoded = text.partition(":")
            # A regular expression takes 0.1 µs less, and each start would have to compile it.
            if HEX_LENGTH.get(algorithm) == len(encoded) and bytes.fromhex(encoded).hex() == encoded:
                return str.__new__(cls, text)
        except (TypeError, AttributeError):
            raise wrong_type("a digest or a diff ID, a str (sha256:…)", text) from None
        except ValueError:  # not hex
            pass
        raise _wrong_name(text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """Twelve hex digits with the algorithm, for tables and messages."""
        return self[: len(self.algorithm) + 13]

    def hasher(self) -> Hasher:
        """A new running hash of this name's algorithm."""
        return hasher(self.algorithm)

    @classmethod
    def of(cls, data: ReadableBuffer, algorithm: str = "sha256") -> Self:
        """The name of these bytes."""
        return cls.from_hasher(hasher(algorithm, data))

    @classmethod
    def from_hasher(cls, hasher: Hasher) -> Self:
        return cls(f"{hasher.name}:{hasher.hexdigest()}")


class Digest(Hash):
    """The hash of a blob as a registry serves it: gzip, zstd or plain."""

    __slots__ = ()


class DiffID(Hash):
    """The hash of a layer's uncompressed tar."""

    __slots__ = ()


def _wrong_name(text: str) -> InvalidNameError:
    lower = text.lower()
    algorithm, _, encoded = lower.partition(":")
    length = HEX_LENGTH.get(algorithm)
    if length is None:
        known = " or ".join(f"{name}:<{size} hex digits>" for name, size in HEX_LENGTH.items())
        hint = f"expected {known}"
    elif length == len(encoded) and not encoded.strip(_HEX_DIGITS):
        hint = f"hex digits are lower case: {lower}"
    else:
        hint = f"{algorithm} has {length} lower-case hex digits, found {len(encoded)} characters"
    return InvalidNameError(f"not a digest or diff ID: {text!r}", hint=hint)
