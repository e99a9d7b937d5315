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
    if jobs is None:
        return
    if isinstance(jobs, bool) or not isinstance(jobs, int):
        raise wrong_type("jobs, a whole number", jobs)
    if jobs < 1:
        raise ValueError(f"jobs: expected 1 or more, found {jobs}")


def several(images: str | Iterable[str]) -> list[str]:
    """The names of images; one name is one image. Raises `TypeError`."""
    if isinstance(images, str):
        return [images]
    try:
        return list(images)
    except TypeError:
        raise wrong_type(IMAGES, images) from None
