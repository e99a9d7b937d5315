"""One path of a large layer is looked up without making the entries of all others; `test_stacks` has proof.

Counted is how many entries are made of the table's columns, one by one or many at once.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from files.made import hardlink, make_tar, symlink
from files.stacks import Listed

from layercache.files import direct_paths
from layercache.files.merged import ImageFiles
from layercache.index.columns import Columns
from layercache.index.table import TableBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from tarfile import TarInfo

    import layercache
    from layercache.index.entry import FileEntry

    Member = str | TarInfo | tuple[str | TarInfo, bytes]

COUNT = 1000
FOLDERS = ["usr/", *(f"usr/{number}/" for number in range(100))]
FILES = [f"usr/{number % 100}/{number}" for number in range(COUNT)]
LARGE: list[Member] = [*FOLDERS, *((name, name.encode()) for name in FILES)]
SOME = FILES[734]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FileEntry]:
    """All entries that are made of columns from now on."""
    entries: list[FileEntry] = []
    one, many = Columns.entry, Columns.__iter__

    def entry(self: Columns, at: int) -> FileEntry:
        entries.append(one(self, at))
        return entries[-1]

    def each(self: Columns) -> Iterator[FileEntry]:
        for found in many(self):
            entries.append(found)
            yield found

    monkeypatch.setattr(Columns, "entry", entry)
    monkeypatch.setattr(Columns, "__iter__", each)
    return entries


def stack(*layers: Sequence[Member]) -> ImageFiles:
    """An image of tables as they are stored, lowest first."""
    tars = []
    for members in layers:
        builder = TableBuilder()
        builder.data(tar := make_tar(*members))
        tars.append(Listed(builder.finish(), tar))
    return ImageFiles(tars)


def test_the_first_byte_of_a_file_takes_the_entries_of_its_folders_and_no_others(
    cache: layercache.Cache, made: list[FileEntry]
) -> None:
    layer = cache.put(io.BytesIO(make_tar(*LARGE)))
    assert len(layer.files()) == COUNT + len(FOLDERS)
    made.clear()
    with cache.get(str(layer.diff_id)).open(SOME) as file:
        assert file.read() == SOME.encode()
    assert {each.path for each in made} == {"usr", "usr/34", SOME}
    assert len(made) < 20


def test_folders_without_entries_are_implied_by_one_of_those_that_are_in_them(made: list[FileEntry]) -> None:
    view = stack(LARGE[len(FOLDERS) :])
    assert view.lookup(SOME).path == SOME
    assert view.lookup("usr/34").implied
    assert len(made) < 20


def test_a_layer_with_entries_for_its_folders_is_looked_through_over_another_one(
    made: list[FileEntry],
) -> None:
    below: list[Member] = [*LARGE, "etc/", "etc/gone", "etc/kept", "srv/", "srv/gone"]
    marks: list[Member] = ["etc/", "etc/.wh.gone", "srv/", "srv/.wh..wh..opq"]
    view = stack(below, [*marks, *(f"etc/{number}" for number in range(COUNT))])
    assert (view.lookup(SOME).layer, view.lookup("etc/7").layer, view.lookup("etc/kept").layer) == (0, 1, 0)
    assert view.get("etc/gone") is view.get("srv/gone") is None
    assert len(made) < 80


def test_a_hard_link_takes_the_file_that_it_is_another_name_of(made: list[FileEntry]) -> None:
    view = stack([*LARGE, hardlink("a", "b"), hardlink("c", SOME), hardlink("d", "c")])
    assert view.lookup("d").entry.offset == view.lookup(SOME).entry.offset
    assert len(made) < 30


BELOW: list[Member] = ["usr/", symlink("lib", "usr"), "bin/", "again/", "again/old"]


@pytest.mark.parametrize(
    "more",
    [
        [symlink("bin", "usr"), "bin/sh"],
        [hardlink("new", "gone")],
        [("usr/x", b"1"), hardlink("new", "lib/x")],
        ["lib/7", "lib/"],
        ["again", "again/"],
        ["file", "file/inside"],
        ["x/", "x/.wh.y/", "x/.wh.y/z"],
    ],
    ids=[
        "a link on the way",
        "a hard link to nothing",
        "a hard link through a link",
        "a folder after what is in it",
        "a file that is replaced by a folder",
        "a file that becomes a folder",
        "a folder that is named as a mark is",
    ],
)
@pytest.mark.parametrize("over_another", [False, True])
def test_odd_tars_are_read_as_if_all_of_them_were_placed(more: list[Member], over_another: bool) -> None:
    tars = stack(*([BELOW] if over_another else []), [*LARGE, *more]).layers
    whole = {each.path: each for each in ImageFiles(tars)}
    places = ["usr/sh", "usr/x", "usr/7", "lib/7", "new", "again/old", "file", "file/inside", "x/.wh.y"]
    for place in places:
        for tar in tars:
            tar.forget()
        assert ImageFiles(tars).get_place(place) == whole.get(place), place


def test_a_folder_that_only_a_layer_below_names_may_be_a_link_there() -> None:
    files: list[Member] = [f"lib/{number}" for number in range(COUNT)]
    view = stack(BELOW, files)
    assert view.lookup("usr/7").layer == view.lookup("lib/7").layer == 1


def test_after_many_look_ups_the_layer_is_placed_and_no_entry_is_made_again(made: list[FileEntry]) -> None:
    view = stack(LARGE)
    for name in FILES[: len(LARGE) // direct_paths.LOOK_UP + 1]:
        assert view.get_place(name) is not None
    made.clear()
    assert all(view.get_place(name) for name in FILES)
    assert made == []


def test_what_is_kept_for_look_ups_is_given_up_once_the_layer_is_placed() -> None:
    view = stack(LARGE, LARGE)
    assert view.get_place(SOME) is not None
    assert [tar.direct is not None for tar in view.layers] == [False, True]
    for name in FILES[: len(LARGE) // direct_paths.LOOK_UP]:
        assert view.get_place(name) is not None
    assert view.layers[1].direct is None
    assert view.get_place(SOME) is not None
    assert view.layers[1].direct is None, "it is not made again"
