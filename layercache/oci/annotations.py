"""Annotations by which tools name images in an index."""

from __future__ import annotations

REF_NAME = "org.opencontainers.image.ref.name"
"""The name of an entry of index.json: a tag, or a reference in full (image-spec annotations.md)."""

FULL_NAME = "io.containerd.image.name"
"""The full reference, as containerd and Docker write it; `REF_NAME` is the tag alone then."""
