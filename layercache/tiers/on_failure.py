"""What a request gets from a tier that failed: declared at each method of a store, kept in one place.

A cache asks many tiers. Where one of them fails the request goes on with the next, so each method of a store
(`layercache.tiers.stores`) is decorated with what stands in for its answer. `tolerant` puts a wrapper around
a store that does as declared; nothing is forwarded by hand. A method that declares nothing does not exist on
the wrapper.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from layercache.errors import BackendError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[..., Any]
    Wrap = Callable[[Call, "Failures"], Call]
    """Makes a tolerant call out of one that may raise `BackendError`."""

_MethodT = TypeVar("_MethodT", bound="Call")
_StoreT = TypeVar("_StoreT")

_DECLARED = "__if_the_tier_failed__"


class Failures(Protocol):
    """What the wrappers ask, and report to: a tier that is skipped for a while after it failed."""

    @property
    def failure(self) -> BackendError | None:
        """Why it is not asked just now."""

    @property
    def write_failure(self) -> BackendError | None:
        """Why nothing is written there just now."""

    @property
    def lost(self) -> bool:
        """Whether it has failed, and has not been seen to work since. Until then there is no failure."""

    def mark_failed(self, error: BackendError, *, writing: bool = False) -> NotFoundError: ...

    def mark_answered(self, *, writing: bool = False) -> None:
        """It works again. To be called where it is ``lost``."""

    def absent(self, failure: BackendError) -> NotFoundError:
        """What is raised instead of asking it."""


def or_raise(method: _MethodT) -> _MethodT:
    """The failure is raised. The caller has to call `Tier.mark_failed`."""
    return _declared(method, lambda call, _: call)


def or_not_found(method: _MethodT) -> _MethodT:
    """What cannot be asked for is not there."""
    return _declared(method, _not_found)


def or_answer(answer: Callable[[], object]) -> Callable[[_MethodT], _MethodT]:
    """What ``answer`` returns is the answer."""

    def declare(method: _MethodT) -> _MethodT:
        return _declared(method, lambda call, failures: _answering(call, failures, answer))

    return declare


def or_drop(method: _MethodT) -> _MethodT:
    """Nothing is written. What is written there only saves work: where it cannot be, nothing is wrong."""
    return _declared(method, _dropping)


def tolerant(store: _StoreT, failures: Failures) -> _StoreT:
    """The store, with the declared methods alone, each of which bears the tier's failures as it declares."""
    return cast("_StoreT", _Tolerant(store, failures))


class _Tolerant:
    def __init__(self, store: object, failures: Failures) -> None:
        self._store = store
        self._failures = failures

    def __getattr__(self, name: str) -> Call:
        """A method, wrapped when it is first used; after that it is an attribute, so nothing is looked up."""
        wrap = None if name.startswith("_") else _declarations(type(self._store).__mro__).get(name)
        if wrap is None:
            raise AttributeError(f"{self!r} has no {name}")
        call = wrap(getattr(self._store, name), self._failures)
        setattr(self, name, call)
        return call

    def __repr__(self) -> str:
        return f"tolerant({self._store!r})"


def _declared(method: _MethodT, wrap: Wrap) -> _MethodT:
    setattr(method, _DECLARED, wrap)
    return method


@cache
def _declarations(kinds: tuple[type, ...]) -> dict[str, Wrap]:
    """Every declaration among a class and its bases: it holds for what overrides the method, too."""
    return {
        name: wrap
        for base in kinds
        for name, method in vars(base).items()
        if (wrap := getattr(method, _DECLARED, None)) is not None
    }


def _not_found(call: Call, failures: Failures) -> Call:
    def ask(*args: Any, **options: Any) -> Any:
        if failures.lost and (failure := failures.failure) is not None:
            raise failures.absent(failure) from failure
        try:
            answer = call(*args, **options)
        except BackendError as error:
            raise failures.mark_failed(error) from error
        except NotFoundError:
            if failures.lost:
                failures.mark_answered()
            raise
        if failures.lost:
            failures.mark_answered()
        return answer

    return ask


def _answering(call: Call, failures: Failures, answer: Callable[[], object]) -> Call:
    def ask(*args: Any, **options: Any) -> Any:
        if failures.lost and failures.failure is not None:
            return answer()
        try:
            answered = call(*args, **options)
        except BackendError as error:
            failures.mark_failed(error)
            return answer()
        if failures.lost:
            failures.mark_answered()
        return answered

    return ask


def _dropping(call: Call, failures: Failures) -> Call:
    def write(*args: Any, **options: Any) -> None:
        if not failures.lost or failures.write_failure is None:
            try:
                call(*args, **options)
            except BackendError as error:
                failures.mark_failed(error, writing=True)
            else:
                if failures.lost:
                    failures.mark_answered(writing=True)

    return write
