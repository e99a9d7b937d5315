"""An SFTP server on a free loopback port: asyncssh's, in a thread, with a folder for its root."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

USER, PASSWORD = "tester", "open sesame"

CREDENTIALS: Mapping[str, object] = {
    "username": USER,
    "password": PASSWORD,
    "allow_agent": False,
    "look_for_keys": False,
}
"""What fsspec's configuration is to give its ``sftp``, so that nothing of the machine's own is tried."""


class SFTPServer:
    """Takes one user and password. ``accepted``: how many connections there were."""

    def __init__(self, folder: Path) -> None:
        self.accepted = 0
        self.port = 0
        self._folder = folder
        self._open: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sftp server", daemon=True)

    def url(self, path: str) -> str:
        """Of our backend."""
        return f"fsspec+sftp://127.0.0.1/{path}?port={self.port}"

    def drop(self) -> None:
        """Break off all connections."""
        self._do(self._drop())

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> None:
        self._acceptor = await asyncssh.create_server(
            partial(_Door, self),
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=bytes(self._folder)),
        )
        self.port = self._acceptor.get_port()

    async def _drop(self) -> None:
        for connection in list(self._open):
            connection.abort()
            await connection.wait_closed()

    async def _end(self) -> None:
        assert self._acceptor is not None
        self._acceptor.close()
        await self._acceptor.wait_closed()
        await self._drop()
        # What served a connection ends a moment after it.
        ending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


class _Door(asyncssh.SSHServer):
    """Who may come in to a server."""

    def __init__(self, server: SFTPServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.accepted += 1
        self._server._open.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection:
            self._server._open.discard(self._connection)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)
