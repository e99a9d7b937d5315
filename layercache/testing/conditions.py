"""The promises of `Exclusive` and `Conditional`. Skipped without them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from layercache.backend import SMALL_OBJECT
from layercache.backend.capabilities import Conditional, Exclusive
from layercache.errors import FormatError, NotFoundError
from layercache.testing.base import KEY, TEXT, Hooks, assert_absent, expect, get, in_threads, pattern, put
from layercache.testing.children import PATIENCE, ForkedChild

if TYPE_CHECKING:
    from layercache.backend import Backend


class ConditionPromises(Hooks):
    def test_create_new_publishes_where_the_name_is_free(self, backend: Backend) -> None:
        exclusive = self._exclusive(backend)
        for _ in range(2):
            assert exclusive.create_new(KEY, TEXT) is True, "the name is free: create_new() must return True"
            assert get(backend, KEY) == TEXT, "create_new() returned True, so the object must be complete"
            assert backend.stat(KEY).size == len(TEXT)
            assert [entry.key for entry in backend.scan()] == [KEY]
            backend.delete(KEY)

    def test_create_new_leaves_what_is_there(self, backend: Backend) -> None:
        exclusive = self._exclusive(backend)
        for old in (TEXT, b""):
            put(backend, KEY, old)
            for data in (b"another", old):
                assert exclusive.create_new(KEY, data) is False, (
                    "the name is taken: create_new() must return False"
                )
                assert get(backend, KEY) == old, "create_new() must not replace what is there"

    def test_one_of_those_who_create_at_once_wins(self, backend: Backend) -> None:
        exclusive = self._exclusive(backend)
        for number in range(5):
            key, winners = f"{KEY}-{number}", []
            start = threading.Barrier(8)

            def create(value: int, key: str = key, start: threading.Barrier = start) -> None:
                start.wait(PATIENCE)
                if exclusive.create_new(key, b"%d" % value):
                    winners.append(b"%d" % value)  # noqa: B023  # of this round, which ends first

            in_threads(create, range(8))
            assert len(winners) == 1, (
                f"create_new() returned True {len(winners)} times of 8: the store must decide"
            )
            assert get(backend, key) == winners[0], "the object must be that of the call that returned True"

    def test_a_small_object_is_read_with_its_version(self, backend: Backend) -> None:
        conditional = self._conditional(backend)
        versions = []
        for data in (TEXT, b"x", b"y", b"", pattern(SMALL_OBJECT)):
            put(backend, KEY, data)
            found, version = conditional.read_versioned(KEY)
            assert found == data, "read_versioned() must return the object's bytes"
            assert conditional.read_versioned(KEY) == (data, version), "an object keeps its version"
            assert version not in versions, "read_versioned(): other bytes must have another version"
            versions.append(version)

    def test_what_is_not_a_small_object_has_no_version(self, backend: Backend) -> None:
        conditional = self._conditional(backend)
        with expect(NotFoundError, f"read_versioned() of {KEY}, which does not exist"):
            conditional.read_versioned(KEY)
        for size in (SMALL_OBJECT + 1, 1 << 20):
            put(backend, KEY, pattern(size))
            with expect(FormatError, f"read_versioned() of {size} bytes: it is for small objects"):
                conditional.read_versioned(KEY)

    def test_an_object_is_replaced_only_if_it_has_the_version(self, backend: Backend) -> None:
        conditional = self._honours(backend)
        put(backend, KEY, b"first")
        _, first = conditional.read_versioned(KEY)
        assert conditional.write_if(KEY, b"second", first) is True, "the version is right: write_if() writes"
        assert get(backend, KEY) == b"second", "write_if() returned True, so the object must be complete"
        _, second = conditional.read_versioned(KEY)
        put(backend, KEY, b"third")
        for version in (first, second):
            assert conditional.write_if(KEY, b"late", version) is False, (
                "the object was replaced since: write_if() must return False"
            )
        _, third = conditional.read_versioned(KEY)
        backend.delete(KEY)
        assert conditional.write_if(KEY, b"late", third) is False, (
            "the object was deleted since: write_if() must return False"
        )
        assert_absent(backend, KEY)

    def test_without_a_version_only_a_free_name_is_written(self, backend: Backend) -> None:
        conditional = self._honours(backend)
        assert conditional.write_if(KEY, b"first", None) is True, "the name is free: write_if() must write"
        assert conditional.write_if(KEY, b"second", None) is False, "the name is taken"
        assert get(backend, KEY) == b"first", "write_if() returned False, so it must change nothing"
        big = pattern(SMALL_OBJECT)
        assert conditional.write_if(f"{KEY}-big", big, None) is True
        assert get(backend, f"{KEY}-big") == big

    def test_no_bytes_delete_an_object_of_that_version(self, backend: Backend) -> None:
        conditional = self._honours(backend)
        put(backend, KEY, b"first")
        _, first = conditional.read_versioned(KEY)
        put(backend, KEY, b"second")
        assert conditional.write_if(KEY, b"", first) is False, "the object was replaced since"
        found, second = conditional.read_versioned(KEY)
        assert found == b"second"
        assert conditional.write_if(KEY, b"", second) is True
        try:
            found, empty = conditional.read_versioned(KEY)
        except NotFoundError:
            assert_absent(backend, KEY)
            empty = None
        else:
            assert found == b"", "write_if() of no bytes deletes the object, or leaves it empty"
        assert conditional.write_if(KEY, b"again", empty) is True
        assert get(backend, KEY) == b"again"

    def test_of_threads_that_change_one_object_none_undoes_another(self, backend: Backend) -> None:
        conditional = self._honours(backend)
        with ThreadPoolExecutor(2 * self.writers) as pool:
            list(pool.map(lambda name: _add(conditional, name, 3), range(2 * self.writers)))
        self._check_lines(conditional, 2 * self.writers)

    def test_of_processes_that_change_one_object_none_undoes_another(self, backend: Backend) -> None:
        conditional = self._honours(backend)
        self.wants_shared_store()
        with ExitStack() as ending:
            children = [
                ending.enter_context(ForkedChild(partial(_add_in_child, conditional, name)))
                for name in range(self.writers)
            ]
            assert [child.result() for child in children] == ["None"] * self.writers
        self._check_lines(conditional, self.writers)

    def _check_lines(self, conditional: Conditional, writers: int) -> None:
        lines = conditional.read_versioned(KEY)[0].decode().split()
        wanted = sorted(f"{name}-{number}" for name in range(writers) for number in range(3))
        assert sorted(lines) == wanted, (
            "what write_if() wrote must not be undone by another writer of that version"
        )

    def _exclusive(self, backend: Backend) -> Exclusive:
        if not isinstance(backend, Exclusive):
            pytest.skip("this backend is not Exclusive")
        return backend

    def _conditional(self, backend: Backend) -> Conditional:
        if not isinstance(backend, Conditional):
            pytest.skip("this backend is not Conditional")
        return backend

    def _honours(self, backend: Backend) -> Conditional:
        conditional = self._conditional(backend)
        if not conditional.honours_conditions():
            pytest.skip("honours_conditions() says that this store ignores conditions")
        assert list(backend.scan()) == [], "honours_conditions() must leave nothing that scan() lists"
        return conditional


def _add_in_child(conditional: Conditional, name: int, _: object) -> None:
    _add(conditional, name, 3)


def _add(conditional: Conditional, name: int, times: int) -> None:
    """Add lines to an object that others add to at the same time."""
    for number in range(times):
        while True:
            try:
                data, version = conditional.read_versioned(KEY)
            except NotFoundError:
                data, version = b"", None
            if conditional.write_if(KEY, data + b"%d-%d\n" % (name, number), version):
                break
