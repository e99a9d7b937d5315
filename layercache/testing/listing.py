"""The promises about names: their grammar, deletion, listing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given

from layercache.backend.capabilities import Expendable
from layercache.testing.base import (
    KEY,
    TEXT,
    Hooks,
    assert_absent,
    few_examples,
    get,
    in_threads,
    keys,
    put,
)

if TYPE_CHECKING:
    from layercache.backend import Backend

_serial = itertools.count()


class ListingPromises(Hooks):
    @few_examples
    @given(key=keys())
    def test_every_name_of_the_grammar_works(self, backend: Backend, key: str) -> None:
        # A new folder for each example, since no key may be a folder of another.
        folder = f"contract/{next(_serial)}/"
        key = folder + key
        put(backend, key, key.encode())
        assert get(backend, key) == key.encode()
        assert backend.stat(key).key == key
        assert [entry.key for entry in backend.scan(folder)] == [key]
        backend.delete(key)
        assert_absent(backend, key)

    def test_the_longest_names_work(self, backend: Backend) -> None:
        for key in ("contract/" + "a" * 255, "contract/" + "/".join(["b" * 177] * 5) + "cc"):
            put(backend, key, TEXT)
            assert get(backend, key) == TEXT
            assert key in [entry.key for entry in backend.scan()]
        assert len(key) == 900

    def test_deleting_removes_and_again_is_no_error(self, backend: Backend) -> None:
        backend.delete(KEY)
        put(backend, KEY, TEXT)
        put(backend, f"{KEY}-other", TEXT)
        backend.delete(KEY)
        assert_absent(backend, KEY)
        backend.delete(KEY)
        assert get(backend, f"{KEY}-other") == TEXT
        put(backend, KEY, b"again")
        assert get(backend, KEY) == b"again"

    def test_an_empty_store_lists_nothing(self, backend: Backend) -> None:
        assert list(backend.scan()) == []
        assert list(backend.scan("contract/")) == []

    def test_scan_lists_a_folder_and_not_its_sibling_with_the_same_start(self, backend: Backend) -> None:
        below = {"contract/ab/1", "contract/ab/2", "contract/ab/c/d/3"}
        for key in below | {"contract/abc/4", "contract/ab-c/5", "contract/a/6", "contrac/t/ab/7"}:
            put(backend, key, TEXT)
        assert {entry.key for entry in backend.scan("contract/ab/")} == below
        assert {entry.key for entry in backend.scan("contract/ab/c/")} == {"contract/ab/c/d/3"}
        assert list(backend.scan("contract/ab/c/d/3/")) == []
        assert list(backend.scan("contract/b/")) == []
        assert len(list(backend.scan())) == 7

    def test_scan_gives_each_of_many_once_and_can_be_left_early(self, backend: Backend) -> None:
        wanted = {f"contract/{number % 7}/{number:05d}" for number in range(self.many)}
        create = backend.create_expendable if isinstance(backend, Expendable) else backend.create

        def write(key: str) -> None:
            with create(key) as sink:
                sink.write(key.encode())
                sink.commit()

        in_threads(write, wanted)
        first = next(iter(backend.scan()))
        assert first.key in wanted
        listed = [entry.key for entry in backend.scan()]
        assert len(listed) == len(wanted)
        assert set(listed) == wanted
        assert {entry.key for entry in backend.scan("contract/3/")} == {
            key for key in wanted if key.startswith("contract/3/")
        }

    def test_scan_copes_with_what_vanishes_meanwhile(self, backend: Backend) -> None:
        wanted = {f"contract/{number}/x" for number in range(20)}
        for key in wanted:
            put(backend, key, TEXT)
        left = set(wanted)
        seen = set()
        for entry in backend.scan():
            seen.add(entry.key)
            left.discard(entry.key)
            if left:
                backend.delete(left.pop())
        assert seen <= wanted
        assert list(backend.scan()) != []
