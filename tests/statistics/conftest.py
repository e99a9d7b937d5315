"""A layer of 100 KB has many chunks here."""

from fixtures.chunks import small_chunks

__all__ = ["small_chunks"]
