"""Serves a built book on this machine, for `headbook serve`."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import BookError

if TYPE_CHECKING:
    from types import TracebackType

    from starlette.responses import Response

LOCAL = "127.0.0.1"
"""Only this machine can ask."""

HOSTS = (LOCAL, "localhost")
"""What it must ask for: a page elsewhere, whose name is made to mean this machine, says another."""

REQUEST_S = 10.0
"""How long a request may take to arrive; bytes that trickle in gain no time."""

PACKED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/wasm", "application/octet-stream")
"""Kinds that are sent as they are: here, DuckDB and the results, which are packed files."""


class _Files(StaticFiles):
    """Regular files of a folder that no link leads to and no dot hides; browsers ask each time."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        here = Path(str(self.directory))
        state = None
        try:
            for part in Path(path).parts:
                here /= part
                state = here.lstat()
                if part.startswith(".") or stat.S_ISLNK(state.st_mode):
                    return "", None
            return str(here), state or here.lstat()
        except (OSError, ValueError):
            return "", None

    def file_response(self, *args: Any, **named: Any) -> Response:
        answer = super().file_response(*args, **named)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


class _Patient(H11Protocol):
    """A connection that is cut off where the next request is not there in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._await_request()

    def on_response_complete(self) -> None:
        self._await_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_S, self._cut)

    def _cut(self) -> None:
        if self.conn.their_state is not h11.DONE:
            self.transport.abort()


class _Announced(uvicorn.Server):
    """Says when it answers, and has taken interrupts over."""

    announce: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.announce()


class Server:
    """Serves the files of a folder, from `serve_forever` until `shutdown` or an interrupt."""

    def __init__(self, folder: Path, port: int) -> None:
        files = _Files(directory=folder.resolve(), html=True)
        app = Starlette(
            routes=[Mount("/", files)],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
                Middleware(GZipMiddleware, compresslevel=6, exclude_content_types=PACKED),
            ],
        )
        config = uvicorn.Config(
            app,
            http=_Patient,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Announced(config)
        self._socket = socket.create_server((LOCAL, port))
        self.server_port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._socket.close()

    def serve_forever(self, announce: Callable[[], None] = lambda: None) -> None:
        """Answer requests; `announce` is called once it does."""
        self._server.announce = announce
        self._server.run(sockets=[self._socket])

    def shutdown(self) -> None:
        """End soon; from another thread."""
        self._server.should_exit = True


def server_of(folder: Path, port: int) -> Server:
    """A server of a folder, not yet serving.

    Args:
        folder: A built book.
        port: Where to listen; 0 takes any free one.

    Returns:
        The server; its `server_port` says where.

    Raises:
        BookError: There is no book, or the port is taken.
    """
    try:
        found = stat.S_ISREG((folder / "index.html").lstat().st_mode)
    except OSError:
        found = False
    if not found:
        raise BookError(f"a built book in {folder}", "no index.html", "run `headbook build` first")
    try:
        return Server(folder, port)
    except OSError as error:
        remedy = "choose another with --port"
        found = os.strerror(error.errno or 0)
        raise BookError(f"port {port} to be free", found, remedy) from error


def serve(folder: Path, port: int, announce: Callable[[str], None]) -> None:
    """Serve a built book until interrupted.

    Args:
        folder: The book.
        port: Where to listen; 0 takes any free one.
        announce: Told the address once requests are answered.

    Raises:
        BookError: There is no book, or the port is taken.
    """
    with server_of(folder, port) as server:
        address = f"http://{LOCAL}:{server.server_port}/"
        try:
            server.serve_forever(lambda: announce(address))
        except KeyboardInterrupt:
            return
