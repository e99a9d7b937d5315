"""The associations of the earlier format: two objects each, one under each of the names.

::

    associations/computed/by-diffid/<alg>/<hex>/<alg>-<hex>     what inflates to a tar
    associations/computed/by-digest/<alg>/<hex>                 what a blob inflates to
    associations/claimed/by-diffid/<alg>/<hex>/<alg>-<hex>
    associations/claimed/by-digest/<alg>/<hex>/<alg>-<hex>

Each is an OCI descriptor of the blob, with the diff ID and the tar's size as annotations.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from layercache.backend.capabilities import LocalPath
from layercache.errors import FormatError, InvalidNameError
from layercache.oci.descriptor import Descriptor
from layercache.oci.descriptor import decode as decode_document
from layercache.tiers.association import Association
from layercache.tiers.format import EARLIER

if TYPE_CHECKING:
    from layercache.backend import Backend
    from layercache.oci.digest import Hash

_COMPUTED = f"{EARLIER}computed/"
_CLAIMED = f"{EARLIER}claimed/"

FOLDERS = tuple(f"{state}{role}/" for state in (_COMPUTED, _CLAIMED) for role in ("by-diffid", "by-digest"))
"""Where they are. By diff ID first, as they were written."""

_HEX = r"(?:sha256{0}[0-9a-f]{{64}}|sha512{0}[0-9a-f]{{128}})"
_NAME, _JOINED = _HEX.format("/"), _HEX.format("-")
_KEY = re.compile(
    rf"{EARLIER}(?:computed/by-digest/{_NAME}"
    rf"|(?:computed/by-diffid|claimed/by-diffid|claimed/by-digest)/{_NAME}/{_JOINED})"
)


def is_association(key: str) -> bool:
    """Whether an object's name is that of an association."""
    return _KEY.fullmatch(key) is not None


def keys_of(fact: Association) -> tuple[str, str]:
    """The names of the two objects of a fact."""
    state = _COMPUTED if fact.computed else _CLAIMED
    by_digest = f"{state}by-digest/{_path(fact.digest)}"
    if not fact.computed:
        by_digest += f"/{_joined(fact.diff_id)}"
    return f"{state}by-diffid/{_path(fact.diff_id)}/{_joined(fact.digest)}", by_digest


def decode(key: str, data: bytes) -> Association | None:
    """Read an association. None for what is torn, and for one that has another's name."""
    try:
        fact = Association.of(
            decode_document(data, Descriptor, "an association"), computed=key.startswith(_COMPUTED)
        )
    except (FormatError, InvalidNameError):
        return None
    return fact if key in keys_of(fact) else None


def remove_folders(backend: Backend) -> None:
    """Remove the empty folders of a store on this machine, and follow no links."""
    if not isinstance(backend, LocalPath):
        return
    root = backend.path(EARLIER.rstrip("/"))
    with suppress(OSError):  # there is none, or it is not empty
        for _, folders, _, above in os.fwalk(root, topdown=False):
            for name in folders:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=above)
        os.rmdir(root)


def _path(name: Hash) -> str:
    return name.replace(":", "/")


def _joined(name: Hash) -> str:
    return name.replace(":", "-")
