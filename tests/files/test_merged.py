"""The merged view: layers applied one over the other, without unpacking any."""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from files.stacks import Listed, file, folder, hard, link, mark, shown, stack

from layercache.errors import FormatError, LimitError, NotAFileError, NotFoundError
from layercache.files import placed
from layercache.files.merged import ImageFiles
from layercache.files.wanted import Wanted
from layercache.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from layercache.files.layer_tar import LayerTar
    from layercache.index.entry import FileEntry

ETC = [folder("etc"), file("etc/passwd"), file("etc/group")]


def test_a_file_of_a_higher_layer_replaces_the_one_below() -> None:
    view = stack(ETC, [folder("etc", 0o700), file("etc/passwd", size=7)])
    assert shown(view) == ["etc/", "etc/group", "etc/passwd"]
    assert (view.lookup("etc/passwd").layer, view.lookup("/etc/passwd").entry.size) == (1, 7)
    assert view.lookup("etc").entry.mode == 0o700
    assert view.lookup("etc/group").layer == 0


def test_a_whiteout_hides_a_file_and_a_folder_with_all_that_is_in_it() -> None:
    assert shown(stack(ETC, [folder("etc"), mark("etc/.wh.passwd")])) == ["etc/", "etc/group"]
    assert shown(stack(ETC, [mark(".wh.etc")])) == []


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_does_not_hide_what_its_own_layer_has(first: bool) -> None:
    whiteout, own = [mark(".wh.etc")], [folder("etc"), file("etc/new")]
    assert shown(stack(ETC, whiteout + own if first else own + whiteout)) == ["etc/", "etc/new"]


def test_an_opaque_folder_hides_what_is_below_and_stays_itself() -> None:
    assert shown(stack(ETC, [mark("etc/.wh..wh..opq"), file("etc/new")])) == ["etc/", "etc/new"]
    assert shown(stack(ETC, [mark(".wh..wh..opq"), file("new")])) == ["new"]


def test_a_folder_becomes_a_file_and_a_folder_again_without_what_was_in_it() -> None:
    layers = [ETC, [file("etc")], [folder("etc"), file("etc/new")]]
    assert shown(stack(*layers)) == ["etc/", "etc/new"]
    assert stack(*layers).get("etc/passwd") is None
    assert shown(stack(*layers[:2])) == ["etc"]


def test_a_file_under_a_symbolic_link_of_a_layer_below_is_where_the_link_leads() -> None:
    view = stack([folder("usr"), folder("usr/bin"), link("bin", "usr/bin")], [file("bin/sh")])
    assert shown(view) == ["bin -> usr/bin", "usr/", "usr/bin/", "usr/bin/sh"]
    assert view.lookup("/bin/sh").path == "usr/bin/sh"


def test_a_link_is_not_followed_any_more_once_its_folder_is_replaced() -> None:
    layers = [link("c/b", "..")], [file("c/b/c"), folder("c/b/a")]
    assert shown(stack(*layers)) == ["c/", "c/b/", "c/b/a/"]


def test_a_link_in_the_way_never_leads_out_of_the_image() -> None:
    assert shown(stack([link("a", "../../../x")], [file("a/b")])) == ["a -> ../../../x", "x/", "x/b"]
    assert shown(stack([link("a", "/x/../..")], [file("a/b")])) == ["a -> /x/../..", "b"]


def test_an_entry_of_a_folder_replaces_a_symbolic_link_of_that_name() -> None:
    view = stack([folder("usr"), link("bin", "usr")], [folder("bin"), file("bin/sh")])
    assert shown(view) == ["bin/", "bin/sh", "usr/"]


def test_folders_without_an_entry_are_implied() -> None:
    view = stack([file("a/b/c")])
    assert shown(view) == ["a/", "a/b/", "a/b/c"]
    assert view.lookup("a/b").implied
    assert not stack([folder("a"), file("a/b")]).lookup("a").implied
    assert shown(stack([file("a")], [file("a/b")])) == ["a/", "a/b"]


def test_the_last_entry_of_a_path_in_one_layer_wins() -> None:
    assert stack([file("a", 1), file("a", 2)]).lookup("a").entry.size == 2
    assert shown(stack([folder("a"), file("a/b"), file("a/c/d"), file("a"), file("e")])) == ["a", "e"]
    assert shown(stack([folder("x"), link("a", "x"), file("a/b"), folder("a"), file("a/c")])) == [
        "a/",
        "a/c",
        "x/",
        "x/b",
    ]


def test_a_hard_link_is_the_file_that_it_is_another_name_of() -> None:
    view = stack([file("a", 5, 1024), hard("b", "a"), hard("c", "b")], [folder("d"), hard("d/e", "c")])
    assert shown(view) == ["a", "b", "c", "d/", "d/e"]
    linked = view.lookup("d/e")
    assert (linked.entry.size, linked.entry.offset) == (5, 1024)
    assert (linked.layer, linked.stored_in) == (1, 0)


def test_a_hard_link_stays_the_file_that_was_there_when_it_came() -> None:
    view = stack([file("a", 5)], [hard("b", "a"), file("a", 6)], [mark(".wh.a")])
    assert shown(view) == ["b"]
    assert view.lookup("b").entry.size == 5
    assert stack([file("a", 5)], [file("a", 6), hard("b", "a")]).lookup("b").entry.size == 6


def test_a_hard_link_follows_links_of_folders_but_not_of_its_last_part() -> None:
    layer = [folder("usr"), file("usr/x", 9), link("bin", "usr"), hard("a", "bin/x"), hard("l", "bin")]
    view = stack(layer)
    assert view.lookup("a").entry.size == 9
    assert view.lookup("l", follow=False).entry.type == "symlink"


def test_a_hard_link_to_nothing_is_shown_and_cannot_be_opened() -> None:
    view = stack([hard("a", "gone"), hard("b", "b")])
    assert shown(view) == ["a => gone", "b => b"]
    with pytest.raises(NotFoundError, match="hard link to gone, which is not there"):
        view.open("a")


@pytest.mark.parametrize("listed", [True, False])
def test_an_image_has_any_number_of_layers(listed: bool) -> None:
    tops = [[file(f"etc/{number}"), hard(f"h{number + 1}", f"h{number}")] for number in range(400)]
    view = stack([folder("etc"), file("etc/a"), file("h0", 7)], *tops)
    if listed:
        assert len(shown(view)) == 3 + 2 * 400
    assert view.lookup("etc/a").layer == 0
    assert (view.lookup("h400").entry.size, view.lookup("h400").stored_in) == (7, 0)


@pytest.mark.parametrize("name", [".wh.", "etc/.wh.", "etc/.wh..", ".wh..."])
def test_a_whiteout_that_names_no_file_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match="names no file"):
        stack(ETC, [mark(name)]).lookup("etc/passwd")


def test_symbolic_links_are_followed_inside_the_image() -> None:
    view = stack([folder("a"), folder("a/b"), file("a/b/c"), link("abs", "/a/b"), link("a/up", "../../abs")])
    for path in ("abs/c", "/a/up/c", "a/up/../b/c", "../../a/./b//c"):
        assert view.lookup(path).path == "a/b/c"
    assert view.lookup("abs", follow=False).entry.type == "symlink"
    assert view.lookup("a/up").path == "a/b"


def test_links_in_a_circle_are_an_error_that_says_so() -> None:
    view = stack([link("a", "b"), link("b", "a")])
    with pytest.raises(NotFoundError, match="more than 40 symbolic links") as caught:
        view.lookup("/a")
    assert not caught.value.hint
    assert view.get("a/x") is None
    with pytest.raises(FormatError, match="more than 40 symbolic links"):
        list(stack([link("a", "b"), link("b", "a")], [file("a/c")]))


def test_what_is_not_there_is_an_error_with_similar_paths() -> None:
    view = stack([*ETC, folder("usr"), file("usr/os-release")])
    for path, hint in {
        "/etc/paswd": "did you mean passwd?",
        "os-releas": "did you mean usr/os-release?",
        "nope": "",
    }.items():
        with pytest.raises(NotFoundError) as caught:
            view.lookup(path)
        assert caught.value.message == f"there is no {path.strip('/')} in the image"
        assert caught.value.hint == hint
    with pytest.raises(NotFoundError, match=r"^nope/x is not in the image: there is no nope$"):
        view.lookup("nope/x")
    with pytest.raises(NotFoundError) as caught:
        view.lookup("/etc/os-release")
    assert caught.value.hint == "there is usr/os-release"
    with pytest.raises(NotFoundError, match="etc/passwd is not a folder"):
        view.lookup("/etc/passwd/x")


def test_a_link_that_leads_nowhere_is_not_its_own_hint() -> None:
    view = stack([folder("etc"), link("etc/motd", "../run/motd"), file("etc/motd2")])
    with pytest.raises(NotFoundError, match=r"^etc/motd is not in the image: there is no run$") as caught:
        view.lookup("etc/motd")
    assert not caught.value.hint


def test_only_a_file_can_be_opened_and_only_a_folder_has_children() -> None:
    view = stack(ETC)
    with pytest.raises(NotAFileError, match="etc is not a file: it is a directory"):
        view.open("etc")
    with pytest.raises(NotAFileError, match="is not a folder"):
        view.children("etc/passwd")
    assert [each.path for each in view.children("/etc")] == ["etc/group", "etc/passwd"]
    assert [each.path for each in view.children("")] == ["etc"]


def test_a_look_up_reads_tables_only_as_far_down_as_necessary() -> None:
    layers = [Listed(ETC), Listed([folder("usr"), file("usr/x")]), Listed([folder("etc"), file("etc/new")])]
    view = ImageFiles(layers)
    assert view.get("etc/new")
    assert [(layer.read_table, layer.looked) for layer in layers][:2] == [(0, 0), (0, 0)]
    assert view.get("usr/x")
    assert layers[0].read_table == 0  # only looked for: nobody would make it
    assert view.get("etc/group")
    assert layers[0].read_table


def test_tables_of_a_deep_file_are_looked_for_several_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [Listed([folder(str(number))]) for number in range(30)]
    groups: list[int] = []
    view = ImageFiles(layers)
    at_once = view._at_once

    def counted(read: Callable[[LayerTar], object], some: Sequence[LayerTar]) -> None:
        groups.append(len(some))
        at_once(read, some)

    monkeypatch.setattr(view, "_at_once", counted)
    assert view.get("0")
    assert groups == [2, 4, 8, 8, 7]
    assert {layer.looked for layer in layers[:-1]} == {1}


def test_what_aufs_left_behind_is_no_part_of_an_image() -> None:
    view = stack([folder(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), mark(".wh..wh.aufs"), file("a")])
    assert shown(view) == ["a"]


def test_paths_that_links_make_long_without_end_are_refused_soon() -> None:
    up = "../" * 1300
    links = [link("l0", f"{up}d"), *(link(f"l{number}", f"{up}l{number - 1}") for number in range(1, 30))]
    files = [file(f"l29/{number}/x") for number in range(1000)]
    with pytest.raises(LimitError, match="too many steps"):
        list(stack([folder("d"), *links, *files]))


@pytest.mark.parametrize("entry", [file("a/" * 3000 + "a"), link("a", "../" * 3000)])
def test_a_path_longer_than_the_kernel_takes_is_refused(entry: FileEntry) -> None:
    with pytest.raises(FormatError, match="a path in the tar has"):
        list(stack([entry]))


def test_a_root_that_is_no_folder_is_refused() -> None:
    with pytest.raises(FormatError, match="symlink as its root"):
        list(stack([link("", "/etc")]))


def test_folders_that_nobody_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed, "STEPS", 20_000)
    with pytest.raises(FormatError, match="300 folders deep"):
        list(stack([file("a/" * 300 + "x")]))
    with pytest.raises(LimitError, match="too many steps"):
        list(stack([file(f"{number}/" + "a/" * 100 + "x") for number in range(100)]))


def test_a_file_costs_few_calls_of_functions_where_all_are_listed() -> None:
    entries = [folder("etc"), *(file(f"etc/{number}") for number in range(1000))]
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        files = list(stack(entries))
    finally:
        sys.setprofile(None)
    assert len(files) == len(entries)
    assert calls < 2.5 * len(entries)  # one to sort by, and one that yields it


def test_what_is_to_be_extracted_takes_little_memory_beside_the_view() -> None:
    files = [replace(file(f"etc/{number}"), offset=1024 * number) for number in range(5000)]
    view = stack([folder("etc"), *files])
    assert len(list(view)) == 5001
    tracemalloc.start()
    try:
        wanted = Wanted(view, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(list(wanted.files)) == 5000
    assert peak < 50 * 5000, peak / 5000  # a few lists of them, and no object for each
