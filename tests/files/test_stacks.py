"""Any stack of layers: the merged view, and what is extracted, are what unpacking them in turn leaves."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import tarfile
import tempfile
from typing import TYPE_CHECKING

import pytest
from files.made import info, make_tar, on_disk
from files.stacks import Listed
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from layercache.errors import FormatError
from layercache.files.direct_paths import DirectPaths
from layercache.files.extract import extract
from layercache.files.merged import ImageFiles
from layercache.files.restore import Restore
from layercache.files.wanted import Wanted
from layercache.index.table import TableBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINKS = 40


class LoopError(Exception):
    pass


class Unpacked:
    """A folder into which layers are unpacked one after the other, entry by entry, as umoci does it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.dangling: set[str] = set()

    def resolve(self, path: str) -> str:
        """The place of a folder; links are followed inside the root, what is missing is taken as it is."""
        here, parts, links = "", path.split("/")[::-1], 0
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = os.path.dirname(here)
                continue
            place = os.path.join(here, part)
            if os.path.islink(os.path.join(self.root, place)):
                links += 1
                if links > MAX_LINKS:
                    raise LoopError
                target = os.readlink(os.path.join(self.root, place))
                here = "" if target.startswith("/") else here
                parts += target.split("/")[::-1]
            else:
                here = place
        return here

    def make_folders(self, place: str) -> None:
        parts = place.split("/") if place else []
        for count in range(len(parts)):
            path = os.path.join(self.root, *parts[: count + 1])
            if os.path.lexists(path) and not os.path.isdir(path):
                os.unlink(path)
            if not os.path.lexists(path):
                os.mkdir(path)
                os.chmod(path, 0o755)
            self.dangling.discard("/".join(parts[: count + 1]))

    def remove(self, place: str, kept: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        path = os.path.join(self.root, place)
        if os.path.isdir(path) and not os.path.islink(path):
            for name in os.listdir(path):
                self.remove(os.path.join(place, name), kept)
            if place and place not in kept:
                os.rmdir(path)
        elif place not in kept and os.path.lexists(path):
            os.unlink(path)
        self.dangling -= {
            each for each in self.dangling if each not in kept and f"{each}/".startswith(f"{place}/")
        }

    def apply(self, members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> None:
        touched: set[str] = set()
        for member, data in members:
            folder, name = os.path.split(member.name)
            folder = self.resolve(folder)
            if name == ".wh..wh..opq":
                if os.path.isdir(os.path.join(self.root, folder)):
                    for each in os.listdir(os.path.join(self.root, folder)):
                        self.remove(os.path.join(folder, each), touched)
            elif name.startswith(".wh."):
                self.remove(os.path.join(folder, name[4:]), touched)
            else:
                self.unpack(member, data, folder, os.path.join(folder, name))
                place = os.path.join(folder, name)
                while place:
                    touched.add(place)
                    place = os.path.dirname(place)

    def unpack(self, member: tarfile.TarInfo, data: bytes, folder: str, place: str) -> None:
        path = os.path.join(self.root, place)
        source = ""
        if member.islnk():
            above, name = os.path.split(member.linkname)
            source = os.path.join(self.resolve(above), name)
        self.make_folders(folder)
        is_folder = os.path.isdir(path) and not os.path.islink(path)
        if member.isdir():
            if not is_folder:
                self.remove(place)
                os.mkdir(path)
            os.chmod(path, member.mode)
            self.dangling.discard(place)
            return
        from_ = os.path.join(self.root, source)
        linked = (
            member.islnk() and os.path.lexists(from_) and (os.path.islink(from_) or not os.path.isdir(from_))
        )
        if linked and f"{source}/".startswith(f"{place}/"):
            linked = False  # it would be removed first
        if not (linked and source == place):
            self.remove(place)
        if member.issym():
            os.symlink(member.linkname, path)
        elif member.isreg():
            with open(path, "wb") as file:
                file.write(data)
            os.chmod(path, member.mode)
        elif linked:
            os.link(from_, path, follow_symlinks=False)
        if member.islnk() and (not linked or source in self.dangling):
            self.dangling.add(place)
        else:
            self.dangling.discard(place)


PLACES = ["/".join(parts) for depth in (1, 2, 3) for parts in itertools.product("abc", repeat=depth)]
PATHS = st.sampled_from(PLACES)
TARGETS = st.builds(
    lambda start, parts: start + "/".join(parts),
    st.sampled_from(["", "", "/", "../", "../../"]),
    st.lists(st.sampled_from(["a", "b", "c", ".."]), min_size=1, max_size=3),
)
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o700])


def _mark(path: str, opaque: bool) -> tuple[tarfile.TarInfo, bytes]:
    folder, name = os.path.split(path)
    return info(os.path.join(folder, ".wh..wh..opq" if opaque else f".wh.{name}")), b""


MEMBERS = st.one_of(
    st.builds(lambda path, mode: (info(f"{path}/", mode=mode | 0o100), b""), PATHS, MODES),
    st.builds(lambda path, mode, data: (info(path, mode=mode), data), PATHS, MODES, st.binary(max_size=3)),
    st.builds(lambda path, to: (info(path, tarfile.SYMTYPE, linkname=to), b""), PATHS, TARGETS),
    st.builds(lambda path, to: (info(path, tarfile.LNKTYPE, linkname=to), b""), PATHS, PATHS),
    st.builds(_mark, PATHS, st.booleans()),
)
PHASES = tuple(phase for phase in Phase if phase is not Phase.explain)  # which takes minutes here
STACKS = st.lists(st.lists(MEMBERS, max_size=6), min_size=1, max_size=4)


def view_of(layers: Sequence[Sequence[tuple[tarfile.TarInfo, bytes]]]) -> ImageFiles:
    tars = []
    for members in layers:
        builder = TableBuilder()
        builder.data(tar := make_tar(*members))
        tars.append(Listed(builder.finish(), tar))
    return ImageFiles(tars)


def view_of_single_places(layers: Sequence[Sequence[tuple[tarfile.TarInfo, bytes]]]) -> ImageFiles:
    """The same, but a layer is placed whole only where a look-up needs that, however small it is."""
    view = view_of(layers)
    for tar in view.layers:
        tar.direct = DirectPaths(tar.table)
        tar.direct._left = 1000
    return view


def without_times(folder: str) -> dict[str, object]:
    """Of files: mode, size and hash; of folders: the mode; of links: the target."""
    kept = {"d": (0,), "-": (0, 4, 6), "l": (3,)}
    return {path: [found[at] for at in kept[found[0][0]]] for path, found in on_disk(folder).items()}


def check(layers: Sequence[Sequence[tuple[tarfile.TarInfo, bytes]]], folder: str) -> None:
    model = Unpacked(os.path.join(folder, "model"))
    os.mkdir(model.root)
    try:
        for members in layers:
            model.apply(members)
    except LoopError:
        with pytest.raises(FormatError, match="symbolic links"):
            list(view_of(layers))
        return
    view = view_of(layers)
    listed = [each for each in view if each.path not in model.dangling]
    # The answer is the same whether all tables were merged or only some of them looked into, or single paths.
    for fresh in (view_of(layers), view_of_single_places(layers)):
        for place in PLACES:
            assert fresh.get_place(place) == view.get_place(place), place
    expected = {
        path: found for path, found in without_times(model.root).items() if path not in model.dangling
    }
    assert {each.path for each in listed} == expected.keys()
    for each in listed:
        found = os.lstat(os.path.join(model.root, each.path))
        kind = {"file": stat.S_ISREG, "directory": stat.S_ISDIR, "symlink": stat.S_ISLNK}[each.entry.type]
        assert kind(found.st_mode), each
    if not any(each.entry.type == "hardlink" for each in view):
        out = os.path.join(folder, "out")
        extract(Wanted(view, None), out, Restore(), lambda _size: None)
        extracted = without_times(out)
        assert {path: extracted[path] for path in expected} == expected


def check_in_a_folder(layers: Sequence[Sequence[tuple[tarfile.TarInfo, bytes]]]) -> None:
    folder = tempfile.mkdtemp()
    try:
        check(layers, folder)
    finally:
        shutil.rmtree(folder)


@settings(max_examples=25, phases=PHASES)
@given(STACKS)
def test_a_stack_of_layers_is_what_unpacking_them_in_turn_leaves(
    layers: list[list[tuple[tarfile.TarInfo, bytes]]],
) -> None:
    check_in_a_folder(layers)


@pytest.mark.slow
@settings(max_examples=250, phases=PHASES)
@given(STACKS)
def test_many_stacks_of_layers_are_what_unpacking_them_in_turn_leaves(
    layers: list[list[tuple[tarfile.TarInfo, bytes]]],
) -> None:
    check_in_a_folder(layers)
