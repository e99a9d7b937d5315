"""The table of planted faults: what is changed in the backend, and by which test the contract catches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Faulty = TypeVar("_Faulty", bound="Callable[..., Any]")


@dataclass(frozen=True)
class Plant:
    """``changes``: class, attribute and what is put there; ``caught_by``: tests, all of which must fail."""

    caught_by: tuple[str, ...]
    changes: list[tuple[type, str, Any]] = field(default_factory=list)


PLANTS: dict[str, Plant] = {}


def plant(target: type, attribute: str, *caught_by: str) -> Callable[[_Faulty], _Faulty]:
    """Register a faulty method, by its name, and the tests of the contract that name the broken promise."""

    def register(faulty: _Faulty) -> _Faulty:
        assert faulty.__name__ not in PLANTS, faulty.__name__
        PLANTS[faulty.__name__] = Plant(caught_by, [(target, attribute, faulty)])
        return faulty

    return register
