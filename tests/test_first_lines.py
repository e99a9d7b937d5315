"""The first lines that a user writes run, and need no casts or ignores to satisfy a strict type checker.

The type checker is mypy in `make check`, for which this file is like a user's: strict, and an ignore that is
not needed is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servers.images import make_layer

import layercache

if TYPE_CHECKING:
    from pathlib import Path


def test_the_first_ten_lines_run(tmp_path: Path) -> None:
    made = make_layer({"file": b"first"})
    (tmp_path / "layer.tar.gz").write_bytes(made.blob)
    with layercache.open("memory://") as cache:
        layer = cache.put(tmp_path / "layer.tar.gz")
        assert (len(layer.digest.hex), layer.diff_id.algorithm) == (64, "sha256")
        assert layer.media_type == made.media_type
        layer = cache.get(layer.diff_id)
        with layer.compressed(0, 512) as head, layer.uncompressed() as tar:
            assert (head.read(), tar.read()) == (made.blob[:512], made.tar)
        layer = cache.layer(layer.digest, diff_id=layer.diff_id)
        assert layer.digest in cache
