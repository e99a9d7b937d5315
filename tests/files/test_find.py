"""A search in many images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from files.stacks import Listed, file, folder, link, mark

from layercache.files.find import FileSearch
from layercache.files.merged import ImageFiles


def test_layers_that_images_share_are_read_once_and_then_forgotten() -> None:
    base = Listed([folder("etc"), file("etc/os-release"), file("etc/b")], called="base")
    tops = [Listed([folder("etc"), file(f"etc/{number}")], called=str(number)) for number in range(20)]
    images = [ImageFiles([base, top]) for top in tops]
    search = FileSearch(images, lambda path: path.endswith("os-release"))
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(search.files, images):
            assert [(each.path, each.layer) for each in found] == [("etc/os-release", 0)]
    assert base.forgotten == 1
    assert all(top.forgotten == 1 for top in tops)
    assert base.placed is None


def test_only_what_is_in_the_image_is_found_and_once() -> None:
    low = Listed(
        [folder("a"), file("a/x"), file("b"), file("x"), folder("usr"), link("l", "usr")], called="low"
    )
    high = Listed([mark(".wh.b"), file("a"), file("x", 5), file("l/x")], called="high")
    image = ImageFiles([low, high])
    found = FileSearch([image], lambda path: path.endswith(("x", "b"))).files(image)
    assert [(each.path, each.entry.size) for each in found] == [("usr/x", 1), ("x", 5)]
