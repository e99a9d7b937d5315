"""An entry of a tar says what it hides."""

from __future__ import annotations

import pytest

from layercache.index.entry import FileEntry


@pytest.mark.parametrize(
    ("path", "hidden", "is_opaque"),
    [
        ("etc/.wh.passwd", "etc/passwd", False),
        (".wh.top", "top", False),
        ("etc/.wh..wh..opq", None, True),
        (".wh..wh..opq", None, True),
        ("etc/passwd", None, False),
        ("etc/x.wh.y", None, False),
        (".wh.folder/file", None, False),
        ("", None, False),
    ],
)
def test_the_last_part_of_a_path_says_what_is_hidden(path: str, hidden: str | None, is_opaque: bool) -> None:
    entry = FileEntry(path)
    assert (entry.hidden, entry.is_opaque) == (hidden, is_opaque)
