"""The files of an image or a layer mounted at a folder, by FUSE: read-only, and fetched when they are read.

``inodes.py``: what the system knows of each file; ``operations.py``: what it asks for; ``open_files.py``: the
files that programs have open; ``mounting.py``: from the checks before to the end.
"""

from __future__ import annotations

from layercache.mount.mounting import mount

__all__ = ["mount"]
