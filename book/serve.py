"""Serves a built book on this machine, for `headbook serve`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from .errors import BookError

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = "127.0.0.1"
"""Only this machine can ask."""


class _Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, never cached, without a line per request."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


def server_of(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder, not yet serving.

    Args:
        folder: A built book.
        port: Where to listen; 0 takes any free one.

    Returns:
        The server; its `server_port` says where.

    Raises:
        BookError: There is no book, or the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise BookError(f"a built book in {folder}", "no index.html", "run `headbook build` first")
    try:
        return ThreadingHTTPServer((LOCAL, port), partial(_Quiet, directory=str(folder)))
    except OSError as error:
        remedy = "choose another with --port"
        raise BookError(f"port {port} to be free", str(error), remedy) from error


def serve(folder: Path, port: int, announce: Callable[[str], None]) -> None:
    """Serve a built book until interrupted.

    Args:
        folder: The book.
        port: Where to listen; 0 takes any free one.
        announce: Told the address once the server listens.

    Raises:
        BookError: There is no book, or the port is taken.
    """
    with server_of(folder, port) as server:
        announce(f"http://{LOCAL}:{server.server_port}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
