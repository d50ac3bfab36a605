"""The server of a book: its own files, to whoever asks this machine for them, and nothing else."""

from __future__ import annotations

import gzip
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

import book.serve
from book.cli import cli
from book.serve import Server, server_of

PAGE = b"<p>a page of the book</p>" * 100
SECRET = b"swordfish"


@contextmanager
def running(folder: Path) -> Generator[Server]:
    with server_of(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A book among secrets: hidden, linked to, or beside it."""
    root = tmp_path_factory.mktemp("served")
    html = root / "html"
    for name in ("_static", ".git", "empty", "..."):
        (html / name).mkdir(parents=True)
    (html / "index.html").write_bytes(PAGE)
    (html / "_static" / "book.js").write_bytes(b"1;" * 2000)
    (html / "results.duckdb.gz").write_bytes(gzip.compress(PAGE))
    (root / "outside").mkdir()
    for path in (root / "secret", root / "outside" / "secret", html / ".secret"):
        path.write_bytes(SECRET)
    (html / ".git" / "config").write_bytes(SECRET)
    (html / "..." / "secret").write_bytes(SECRET)
    for name, target in {
        "link": "../secret",
        "inside": "index.html",
        "folder": "../outside",
        "_static/up": "../../secret",
        "loop": "loop",
        "here": ".",
    }.items():
        (html / name).symlink_to(target)
    os.mkfifo(html / "pipe")
    return html


@pytest.fixture(scope="module")
def server(folder) -> Generator[Server]:
    with running(folder) as server:
        yield server


def ask(server: Server, target: str, method: str = "GET", **headers: str | None):
    """Status, headers and body; with `Host` None, without one."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": "127.0.0.1", **headers}.items():
            if value is not None:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "target", ["/", "/index.html", "/index.html?sql=FROM+runs", "//index.html"]
)
def test_pages_are_served_and_asked_for_each_time(server, target):
    status, headers, body = ask(server, target)
    assert (status, body) == (200, PAGE)
    assert headers["cache-control"] == "no-cache"
    assert headers["content-type"].startswith("text/html")
    assert "server" not in {name.lower() for name in headers}
    again = ask(server, target, If_None_Match=headers["etag"])
    assert (again[0], again[2]) == (304, b"")


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/link",
            "/inside",
            "/folder/secret",
            "/folder",
            "/_static/up",
            "/loop",
            "/here/index.html",
        ),
        *("/.secret", "/.git/config", "/.git/", "/.../secret", "/%2esecret", "/_static/../.secret"),
        *("/../secret", "/%2e%2e/secret", "/..%2fsecret", "/_static/../../secret", "/\\..\\secret"),
        *("/_static", "/_static/", "/empty/", "/empty", "/pipe", "/nothing", "/index.html/x"),
        *("/%00", "/index.html%00", "/%ff", "/" + "x" * 300, "/" + "x/" * 3000, "*"),
        *("http://127.0.0.1/secret", "//outside/secret", "/~root", "/proc/self/environ"),
    ],
)
def test_nothing_else_is_served(server, target):
    status, _, body = ask(server, target)
    assert status in {400, 404}, body
    assert SECRET not in body and b"secret" not in body


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LocalHost", "localhost:1", "127.0.0.1:8000"]
)
def test_this_machine_is_answered(server, host):
    assert ask(server, "/", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8000"),
        *("evil.example#localhost", "localhost@evil.example", "0.0.0.0", "[::1]", "10.0.0.1"),
        *("", " ", "localhost,evil.example", "www.localhost", "*", None),
    ],
)
def test_a_name_that_was_made_to_mean_this_machine_is_refused(server, host):
    status, _, body = ask(server, "/", Host=host)
    assert status == 400
    assert b"book" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_a_book_is_only_read(server, method):
    assert ask(server, "/index.html", method)[0] in {400, 405}


def test_text_is_packed_on_the_way_and_packed_files_are_not(server):
    _, headers, body = ask(server, "/_static/book.js", Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == b"1;" * 2000
    _, headers, body = ask(server, "/results.duckdb.gz", Accept_Encoding="gzip")
    assert "content-encoding" not in headers
    assert gzip.decompress(body) == PAGE


def test_parts_of_a_file_are_served(server):
    status, headers, body = ask(server, "/index.html", Range="bytes=3-8", Accept_Encoding="gzip")
    assert (status, body) == (206, PAGE[3:9])
    assert headers["content-range"] == f"bytes 3-8/{len(PAGE)}"
    assert ask(server, "/index.html", Range="bytes=99999-")[0] == 416


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n",
    ],
)
def test_a_request_that_trickles_in_is_cut_off_and_others_are_answered(folder, begun, monkeypatch):
    monkeypatch.setattr(book.serve, "REQUEST_S", 1.0)
    with (
        running(folder) as server,
        socket.create_connection(("127.0.0.1", server.server_port)) as slow,
    ):
        slow.settimeout(0.1)
        slow.sendall(begun)
        until, ended = time.monotonic() + 60, False
        while not ended and time.monotonic() < until:
            try:
                slow.sendall(b"x")
                ended = slow.recv(4096) == b""
            except TimeoutError:
                assert ask(server, "/")[0] == 200
            except ConnectionError:
                ended = True
        assert ended


def test_a_connection_is_kept_for_requests_that_arrive_in_time(folder, monkeypatch):
    monkeypatch.setattr(book.serve, "REQUEST_S", 1.0)
    with running(folder) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        for _ in range(8):
            connection.request("GET", "/index.html")
            assert connection.getresponse().read() == PAGE
            time.sleep(0.3)
        connection.close()


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(cli, ["serve", *map(str, arguments)])
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert line.startswith("headbook: expected ")
    return line


def test_a_folder_without_a_book_and_a_taken_port(folder, tmp_path):
    assert "headbook build" in refused(tmp_path)
    assert "headbook build" in refused(tmp_path / "nowhere")
    assert "headbook build" in refused(folder / "index.html")
    (tmp_path / "index.html").symlink_to(folder / "index.html")
    assert "headbook build" in refused(tmp_path)
    with server_of(folder, 0) as server:
        assert "--port" in refused(folder, "--port", server.server_port)


def test_an_interrupt_ends_it(folder):
    code = "import sys; sys.path.insert(0, '.'); from headbook import main; main()"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().decode().strip()
        port = int(address.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(b"GET / HT")
            process.send_signal(signal.SIGINT)
            process.wait(30)
        (line,) = process.stderr.read().splitlines()
    assert line.startswith(b"headbook: interrupted")
    assert process.returncode == 130
