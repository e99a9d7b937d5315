"""The first lines that a user writes need no casts, asserts or ignores to satisfy a strict type checker."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FIRST_LINES = """\
import layercache

with layercache.open("memory://") as cache:
    layer = cache.put("layer.tar.gz")
    print(layer.digest.hex, layer.diff_id.algorithm, layer.media_type)
    layer = cache.get(layer.diff_id)
    with layer.compressed(0, 512) as head, layer.uncompressed() as tar:
        print(len(head.read()), len(tar.read()))
    layer = cache.layer(layer.digest, diff_id=layer.diff_id)
    assert layer.digest in cache
"""


def test_the_first_ten_lines_pass_a_strict_type_checker(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FIRST_LINES)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}/cache", program.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
