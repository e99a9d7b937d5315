"""Bytes that the kernel moves count as given, also where another copy goes on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, cast

import pytest
from fixtures.layers import flipped, large
from fixtures.stores import Fetch, far, open_cache, write_blob

from layercache.streams.spliced import splice_to
from layercache.tiers.opening import open_tier

if TYPE_CHECKING:
    import io
    from pathlib import Path


@pytest.mark.skipif(sys.platform != "linux", reason="splice(2) is Linux's")
def test_what_the_kernel_moved_is_not_given_again_by_the_next_copy(tmp_path: Path) -> None:
    layer = large(1, "none")
    wrong = far(keep="compressed")
    write_blob(wrong, layer.digest, flipped(layer.blob, -1))
    ours = open_tier(f"file://{tmp_path}?keep=compressed", nearest=True)
    read_end, write_end = os.pipe2(os.O_NONBLOCK)
    with open_cache(ours, wrong) as cache, os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb"):
        asked_for = cache.layer(layer.digest, size=len(layer.blob), fetch=Fetch(layer.blob))
        with asked_for.compressed() as stream:
            reader = cast("io.BufferedReader", stream)
            given = reader.read1(1 << 20)
            count = splice_to(reader.raw, write_end, len(layer.blob))
            given += os.read(read_end, count)
            while part := reader.read1(1 << 20):
                given += part
        assert cache.counters.failed, "the far copy was found wrong"
    assert count > 0
    assert given == layer.blob
