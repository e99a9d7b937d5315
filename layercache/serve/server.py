"""Runs the mirror: granian's processes, which share a socket, each with a separate cache object.

The first process opens no cache: threads and connections of a store's library do not survive a fork. It
starts the workers, starts others if they end, and replaces them when the configuration is read again.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from layercache.errors import LayercacheError
from layercache.serve import logs, tls
from layercache.serve.held_signals import END_EVENTS, held
from layercache.serve.listening import BACKLOG
from layercache.serve.setup import try_starting
from layercache.serve.wakeup import Wakeup
from layercache.serve.worker import application

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from granian.server.mp import WorkerProcess

    from layercache.serve.setup import Setup

WATCH = 1.0
"""Seconds between two looks at the files of the certificate."""

log = logging.getLogger("layercache.serve")


class Server(MPServer):
    """The first process.

    ``setup``: what it begins with; ``again`` reads the configuration again, and raises `LayercacheError`.
    ``folder``: for what the workers share, and leave when they are killed.

    What it replaces of granian: the socket, see `layercache.serve.listening`; the event that its signal
    handlers set, see `Wakeup`; when its workers get signals, see `held`; and that workers which are replaced
    go on sending what they have begun, for as long as it takes, and nothing waits for them.
    """

    def __init__(
        self,
        setup: Setup,
        again: Callable[[], Setup],
        listening: socket.socket,
        folder: str,
        *,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            "layercache",
            interface=Interfaces.RSGI,
            websockets=False,
            # HTTP/2 has other limits, and a client that takes nothing of one stream is not noticed.
            http=HTTPModes.http1,
            backlog=BACKLOG,
            respawn_failed_workers=True,
            log_level=LogLevels.warning,
            log_dictconfig=logs.config(setup.settings.access_log, verbose=verbose),
        )
        self.main_loop_interrupt: Any = Wakeup(
            lambda: self.interrupt_signal or self.reload_signal or self.interrupt_children
        )
        self._verbose = verbose
        self._again = again
        self._listening = listening
        self._folder = folder
        self._numbers: dict[WorkerProcess, int] = {}
        self._leaving: list[WorkerProcess] = []
        self.wrks: list[WorkerProcess] = []
        self._certificate: tls.Certificate | None = None
        self._use(setup)

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM. Raises `LayercacheError` if workers end again and again."""
        threading.Thread(target=self._watch_files, name="files", daemon=True).start()
        try:
            self.serve(target_loader=self._application, wrap_loader=False)
        except SystemExit as error:
            raise LayercacheError(
                "the mirror has ended, because its workers end unexpectedly",
                hint="the lines before may say why; the kernel's log does if they needed too much memory",
            ) from error

    def _application(self) -> Any:
        raise AssertionError("each worker is given a loader with its number")

    def _use(self, setup: Setup) -> None:
        """Begin to use settings. Raises `ConfigError` for a wrong certificate, and then changes nothing."""
        settings = setup.settings
        loaded = None
        if settings.tls_certificate and settings.tls_key:
            loaded = tls.load(settings.tls_certificate, settings.tls_key)
        before, self._certificate = self._certificate, loaded
        if before:
            before.close()
        files = (loaded.certificate, loaded.key) if loaded else (None, None)
        self.ssl_ctx = (loaded is not None, *files, None, "tls1.2", None, [], False)
        self._setup = setup
        self.log_config = logs.config(settings.access_log, verbose=self._verbose)
        self.workers = settings.workers
        self.backpressure = settings.max_connections
        self.http1_settings = HTTP1Settings(
            header_read_timeout=round(settings.header_timeout * 1000),
            max_buffer_size=settings.max_header_size,
        )
        # A thread for each pipe that is read (`layercache.serve.pipes`), and some for files.
        self.runtime_blocking_threads = settings.max_streams + 64
        self.workers_kill_timeout = max(1, round(settings.stop_timeout))

    def _init_shared_socket(self) -> None:
        self._ssp = None
        holder: Any = SocketHolder  # its types are not declared
        backlog = (BACKLOG,) if sys.platform == "linux" else ()
        self._shd = holder(self._listening.fileno(), False, *backlog)
        self._sso = self._listening

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        with held():
            super()._spawn_workers(spawn_target, target_loader)

    def _spawn_worker(
        self,
        idx: int,
        target: Any,
        callback_loader: Any,  # noqa: ARG002
        *_: Any,
    ) -> WorkerProcess:
        number = self._free_number()
        loader = partial(application, self._setup, self._folder, number)
        worker: WorkerProcess = super()._spawn_worker(idx, target, loader)
        self._numbers[worker] = number
        return worker

    def _free_number(self) -> int:
        """The lowest number that no running worker has: a file of counts has one writer."""
        self._leaving = _alive(self._leaving)
        running = {*self._leaving, *_alive(self.wrks)}
        self._numbers = {worker: number for worker, number in self._numbers.items() if worker in running}
        taken = set(self._numbers.values())
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        """Read the configuration again, and let new workers take over. A wrong one changes nothing."""
        self.main_loop_interrupt.clear()
        self.reload_signal = False
        try:
            setup = self._again()
            try_starting(setup)
            self._use(setup)
        except (LayercacheError, OSError) as error:
            log.warning("the configuration is not used, the former one stays: %s", error)
            return
        old, self.wrks = self.wrks, []
        self._leaving += old
        self._spawn_workers(spawn_target, target_loader)
        _end_events(old)
        for worker in old:
            worker.terminate()
        log.info("the configuration was read again")

    def _respawn_workers(
        self,
        workers: list[int],
        spawn_target: Any,
        target_loader: Any,
        delay: float = 0,  # noqa: ARG002
    ) -> None:
        """Start a worker for each that has ended, unless a reload has done so in the meantime."""
        for index in workers:
            if index >= len(self.wrks) or self.wrks[index].is_alive():
                continue
            code = self.wrks[index].inner.exitcode
            log.warning("a worker is started in place of one that has ended (exit code %s)", code)
            self.wrks[index] = self._spawn_worker(index, spawn_target, target_loader)
            with held():
                self.wrks[index].start()
            self.respawned_wrks[index] = time.monotonic()

    def _stop_workers(self) -> None:
        self.wrks += _alive(self._leaving)
        _end_events(self.wrks)
        super()._stop_workers()

    def _watch_files(self) -> None:
        """Reload when a file of the certificate has changed."""
        settings = self._setup.settings
        before = tls.identities((settings.tls_certificate, settings.tls_key))
        while not self.interrupt_signal:
            time.sleep(WATCH)
            watched, settings = settings, self._setup.settings
            now = tls.identities((settings.tls_certificate, settings.tls_key))
            if now != before and watched is settings:
                self.signal_handler_reload()
            before = now


def _end_events(workers: list[WorkerProcess]) -> None:
    for worker in _alive(workers):
        with suppress(ProcessLookupError):
            os.kill(worker.inner.pid, END_EVENTS)


def _alive(workers: list[WorkerProcess]) -> list[WorkerProcess]:
    return [worker for worker in workers if worker.inner.is_alive()]
