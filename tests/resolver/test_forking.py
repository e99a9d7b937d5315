"""A forked child inherits an open cache, and uses it as its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fixtures.layers import sample

if TYPE_CHECKING:
    from pathlib import Path

FORKING = """
import os, sys
import layercache

url, kept, new = sys.argv[1:]
with layercache.open([url, "memory://forked"]) as cache:
    layer = cache.put(kept)
    with open(new, "rb") as file:
        blob = file.read()
    other = layercache.Digest.of(blob)
    stream = cache.layer(other, fetch=lambda _: open(new, "rb")).uncompressed()
    stream.read(1)  # a pass that is on its way in the parent alone
    child = os.fork()
    if not child:
        code = 1
        try:
            with cache.get(layer.diff_id).uncompressed() as tar:
                tar.read()
            with cache.layer(other, fetch=lambda _: open(new, "rb")).uncompressed() as tar:
                tar.read()
            assert cache.get(other).computed
            cache.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with stream:
        assert stream.read()
    with cache.get(other).compressed() as file:
        assert file.read() == blob
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork(2)")
def test_a_forked_child_can_use_an_open_cache(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(sample(1).blob)
    (tmp_path / "new").write_bytes(sample(2, size=3 << 20).blob)
    url = f"file://{tmp_path}/cache?sync=false"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, url, str(tmp_path / "kept"), str(tmp_path / "new")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
