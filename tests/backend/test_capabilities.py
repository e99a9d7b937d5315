"""What ``isinstance`` says of a backend and its capabilities."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import layercache
from layercache.backend.capabilities import Conditional, Movable, Spooler

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Moves:
    def move(self, key: str, to: str) -> None:
        raise NotImplementedError


def test_whoever_has_the_methods_has_the_capability() -> None:
    assert isinstance(Moves(), Movable)
    assert not isinstance(Moves(), Spooler)
    assert isinstance(Moves(), Spooler | Movable)


def test_a_capability_with_several_methods_wants_all_of_them() -> None:
    class Reads:
        def read_versioned(self, key: str) -> tuple[bytes, str]:
            raise NotImplementedError

    assert not isinstance(Reads(), Conditional)


def test_a_method_that_is_none_is_not_there() -> None:
    """So a subclass says that it cannot do what its base can."""

    class Stays(Moves):
        move: Any = None

    assert not isinstance(Stays(), Movable)


def test_methods_of_an_instance_and_of_what_it_wraps_count() -> None:
    class Wrapper:
        def __getattr__(self, name: str) -> object:
            return getattr(Moves(), name)

    class Empty:
        pass

    alone = Empty()
    assert not isinstance(alone, Movable)
    alone.move = Moves().move  # type: ignore[attr-defined]  # as the gate of a store does
    assert isinstance(alone, Movable)
    assert isinstance(Wrapper(), Movable)


def test_a_class_that_inherits_from_a_capability_is_a_class_as_any_other() -> None:
    class Named(Movable):
        def move(self, key: str, to: str) -> None:
            raise NotImplementedError

    assert isinstance(Named(), Movable)
    assert isinstance(Named(), Named)
    assert not isinstance(Moves(), Named)


OPENING = 320
"""Calls of functions in Python that opening and closing a cache on disk may take. It takes 500 where
`Protocol` collects the methods of a capability each time."""


def test_opening_a_cache_takes_few_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})  # each variable is looked at

    def opened() -> None:
        layercache.open(str(tmp_path)).close()

    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    opened()
    sys.setprofile(note)
    try:
        opened()
    finally:
        sys.setprofile(None)
    assert count <= OPENING, count
