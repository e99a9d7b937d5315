"""Loads modules in less time: without the garbage collector, and without what they do not need."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


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


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Make an import of a module inside the block fail, if it was not imported before.

    For modules that others import where they are installed, and can do without. No other thread may import
    anything inside the block.
    """
    hides = module not in sys.modules
    if hides:
        sys.modules[module] = cast("ModuleType", None)
    try:
        yield
    finally:
        if hides:
            del sys.modules[module]
