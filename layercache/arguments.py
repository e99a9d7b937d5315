"""Checks what a program passes: the error for a wrong argument says what was expected, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layercache.errors import wrong_type

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGES = "the name of an image, or several of them"


def check_numbers(unit: str, **numbers: float | None) -> None:
    """Raise `TypeError` for what is neither a number nor None, `ValueError` for less than 0."""
    for name, value in numbers.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(f"{name} in {unit}, a number", value)
        if value < 0:
            raise ValueError(f"{name}: expected 0 {unit} or more, found {value}")


def check_jobs(jobs: int | None) -> None:
    """Raise `TypeError` or `ValueError` unless so many threads can work, or None was passed."""
    if jobs is not None:
        check_count("jobs", jobs)


def check_count(name: str, number: int, least: int = 1, most: int | None = None) -> None:
    """Raise `TypeError` for what is not a whole number, `ValueError` for one out of bounds."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise wrong_type(f"{name}, a whole number", number)
    if number < least or (most is not None and number > most):
        wanted = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}: expected {wanted}, found {number}")


def several(names: str | Iterable[str], expected: str = IMAGES) -> list[str]:
    """The names, of images by default; one str is one name. Raises `TypeError`."""
    if isinstance(names, str):
        return [names]
    try:
        return list(names)
    except TypeError:
        raise wrong_type(expected, names) from None
