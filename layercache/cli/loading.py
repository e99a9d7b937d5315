"""Loads modules in less time: without the garbage collector, and without what they do not need."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager, suppress
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loading() -> Iterator[None]:
    """Load modules inside the block: none of what they make is garbage, and it takes a tenth of the start to
    find that out. The collector does not look at it later, either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_msgspec() -> None:
    """Import msgspec without what serves its JSON schemas alone: a model of types, and textwrap.

    The latter compiles five regular expressions. A plug-in that uses one of them gets it.
    """
    load_uuid()
    inspect, textwrap = _Deferred("msgspec.inspect"), _Deferred("textwrap")
    with hidden("msgspec.inspect", behind=inspect), hidden("textwrap", behind=textwrap):
        import msgspec  # noqa: F401


def load_uuid() -> None:
    """Import uuid, as msgspec does, without platform, which compiles nine regular expressions.

    uuid asks it once, for the name of the system, and from Python 3.13 on does without it on Linux. If a
    version wants more of it, uuid is imported later, in the usual way.
    """
    if sys.platform == "linux":
        stand_in = SimpleNamespace(system=lambda: "Linux")
        with hidden("platform", behind=stand_in), suppress(AttributeError, ImportError):
            import uuid  # noqa: F401


class _Deferred(ModuleType):
    """Stands for a module where another one has imported it, and imports it when something of it is used."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # what the import system asks of any module
            raise AttributeError(name)
        from importlib import import_module

        return getattr(import_module(self.__name__), name)


@contextmanager
def hidden(module: str, behind: object = None) -> Iterator[None]:
    """Make an import of a module inside the block fail, or find what is ``behind``, if it was not imported
    before.

    For modules that others import where they are installed, and can do without. No other thread may import
    anything inside the block.
    """
    hides = module not in sys.modules
    if hides:
        sys.modules[module] = cast("ModuleType", behind)
    try:
        yield
    finally:
        if hides:
            del sys.modules[module]
