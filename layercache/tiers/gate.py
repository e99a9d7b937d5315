"""The gate of a store: its format is asked for at the first use, and nothing is asked of another format."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from layercache.backend import PerProcess
from layercache.backend.capabilities import Spooler
from layercache.errors import LayercacheError
from layercache.tiers import format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layercache.backend import Backend

    Call = Callable[..., Any]

QUESTIONS = ("open", "stat", "read_versioned")
"""What is asked at the same time as the format, if the store is remote."""

CHECKED = ("scan", "read_small", "delete", "move", "honours_conditions")
"""What waits until the format is known."""

WRITES = ("create", "create_expendable", "create_new", "create_sized", "write_if", "spool")
"""What waits, and is done once the store has a marker."""

FREE = ("path", "lock", "touch", "signed_url", "remove_leftovers", "leftovers", "diagnose", "close")
"""What does not depend on the format."""


def gated(backend: Backend, command: Callable[[], str]) -> Backend:
    """The backend behind a gate. ``command`` returns what converts or repairs the store, for messages."""
    return cast("Backend", Gate(backend, command))


def ungated(backend: Backend) -> Backend:
    """The backend behind a gate, for those who look at the format themselves."""
    return backend.backend if isinstance(backend, Gate) else backend


def opened(backend: Backend) -> AbstractContextManager[None]:
    """As `Gate.opened`; of any backend."""
    return backend.opened() if isinstance(backend, Gate) else nullcontext()


def command_of(backend: Backend) -> str:
    """The command that converts or repairs a store, as messages name it."""
    return backend.command() if isinstance(backend, Gate) else f"layercache upgrade {backend.url}"


class Gate:
    """A backend whose methods first look at the format of the store, once in each process.

    After that each of them is the backend's own method, as an attribute: it costs nothing more. A failure is
    not remembered, since a store may be upgraded, or respond, while this process runs. Raises
    `StoreFormatError` and `BackendError`.

    The first write to a store without a marker writes it.
    """

    def __init__(self, backend: Backend, command: Callable[[], str]) -> None:
        self.backend = backend
        self.url = backend.url
        self.command = command
        self._remote = not isinstance(backend, Spooler)
        self._pass(*FREE)
        self._shut()

    def __repr__(self) -> str:
        return f"Gate({self.backend!r})"

    def __getattr__(self, name: str) -> Any:
        """What is the backend's own, and no part of its interface."""
        if name.startswith("__") or name == "backend":
            raise AttributeError(name)
        return getattr(self.backend, name)

    def check(self) -> bool:
        """Whether the store has a marker. Raises unless it may be used."""
        state = self._state.get()
        if state.marked is None:
            self._begun(state).result()
        return bool(state.marked)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Inside the block the store is used whatever its format; after it, the format is looked at again.

        For what removes all of a store.
        """
        self._state.get().marked = True
        self._pass(*QUESTIONS, *CHECKED, *WRITES)
        try:
            yield
        finally:
            self._shut()

    def _shut(self) -> None:
        self._state = PerProcess(_State)
        for names, wrap in ((QUESTIONS, self._asking), (CHECKED, self._checking), (WRITES, self._writing)):
            for name, method in self._own(names):
                setattr(self, name, partial(wrap, method))

    def _asking(self, method: Call, *args: Any, **options: Any) -> Any:
        state = self._state.get()
        if state.marked is not None:
            return method(*args, **options)
        checking = self._begun(state)
        try:
            answer = method(*args, **options)
        except LayercacheError:
            checking.result()  # why the whole store cannot be used comes first
            raise
        try:
            checking.result()
        except BaseException:
            if (close := getattr(answer, "close", None)) is not None:
                close()
            raise
        return answer

    def _checking(self, method: Call, *args: Any, **options: Any) -> Any:
        self.check()
        return method(*args, **options)

    def _writing(self, method: Call, *args: Any, **options: Any) -> Any:
        if not self.check():
            state = self._state.get()
            with state.writing:
                if not state.marked:
                    format.write_marker(self.backend, self.command)
                    state.marked = True
            self._pass(*WRITES)
        return method(*args, **options)

    def _begun(self, state: _State) -> _Look:
        """The look at the format that is in progress, or another one. A local store is looked at here."""
        with state.lock:
            if state.checking is not None:
                return state.checking
            looking = state.checking = _Look()
        look = partial(self._look, state, looking)
        if self._remote:
            try:
                threading.Thread(target=look, name="layercache asks", daemon=True).start()
            except RuntimeError:  # there may be no more threads
                look()
        else:
            look()
        return looking

    def _look(self, state: _State, looking: _Look) -> None:
        try:
            state.marked = format.check(self.backend, self.command)
        except BaseException as error:
            with state.lock:
                state.checking = None  # the next use looks again
            looking.end(error)
            return
        self._pass(*QUESTIONS, *CHECKED, *(WRITES if state.marked else ()))
        looking.end()

    def _pass(self, *names: str) -> None:
        for name, method in self._own(names):
            setattr(self, name, method)

    def _own(self, names: tuple[str, ...]) -> list[tuple[str, Call]]:
        return [(name, getattr(self.backend, name)) for name in names if hasattr(self.backend, name)]


class _Look:
    """A look at the format, for whose end others wait.

    As `concurrent.futures.Future`, without the import of that and of `logging`: a tenth of a short command.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def end(self, error: BaseException | None = None) -> None:
        self._error = error
        self._ended.set()

    def result(self) -> None:
        """Wait for the end. Raises what the look failed with."""
        self._ended.wait()
        if self._error is not None:
            raise self._error


class _State:
    """What one process knows of the store.

    ``lock`` guards ``checking``, so that of several first users one looks and the others wait for that.
    ``marked`` is None until the format is known; it is read without a lock, since a reader that finds it too
    early looks at ``checking``. ``writing`` is held while the marker is written, so that this is done once.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.checking: _Look | None = None
        self.marked: bool | None = None
