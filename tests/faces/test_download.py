"""Downloads from a local server that misbehaves in every way that real ones do."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from faces import download as module
from faces.download import download, is_web_page
from faces.errors import UserError

DATA = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(DATA).hexdigest()
QUOTA_PAGE = b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head></html>"


@dataclass
class Server:
    """A web server's files and bad habits, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    drops: int = 0  # answers cut off half-way
    failures: int = 0  # answers 503 first
    status: int | None = None
    ignores_range: bool = False
    content_type: str = "application/zip"
    etag: str | None = '"1"'
    chunked: bool = False
    wrong_start: bool = False
    redirect: str | None = None
    ranges: list[str | None] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        if self.failures or self.status:
            self.failures -= self.failures > 0
            request.send_response(self.status or 503)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        data = self.files[request.path.rpartition("/")[2]]
        start = int(re.sub(r"\D", "", wanted)) if wanted and not self.ignores_range else 0
        if request.headers.get("If-Range", self.etag) != self.etag:
            start = 0
        if start >= len(data) > 0:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(data)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if start:
            shown = start + 1 if self.wrong_start else start
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        body = data[start:]
        request.send_header("Content-Type", self.content_type)
        if self.etag:
            request.send_header("ETag", self.etag)
        if not self.chunked:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.drops:
            self.drops -= 1
            body = body[: len(body) // 2]
        request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(files={"a.zip": DATA})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def fetch(server: Server, path: Path, md5: str | None = MD5, **options: float) -> Path:
    return download(f"{server.url}/a.zip", path, md5=md5, backoff=0.001, **options)  # type: ignore[arg-type]


def only(path: Path) -> bytes:
    """The file's bytes; nothing else is beside it."""
    assert [x.name for x in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


def test_a_file_arrives(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "new" / "a.zip") == tmp_path / "new" / "a.zip"
    assert only(tmp_path / "new" / "a.zip") == DATA


def test_sha256_is_verified_as_well(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(DATA).hexdigest().upper()
    download(f"{server.url}/a.zip", tmp_path / "a.zip", sha256=digest)
    with pytest.raises(UserError, match="has the sha256"):
        download(f"{server.url}/a.zip", tmp_path / "b.zip", sha256="0" * 64)


def test_what_is_there_and_right_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(DATA)
    fetch(server, tmp_path / "a.zip")
    fetch(server, tmp_path / "a.zip", md5=None)
    assert server.ranges == []


def test_what_is_there_and_wrong_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"old")
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA


@pytest.mark.parametrize("etag", ['"1"', None, 'W/"1"'])
def test_a_connection_dropped_half_way_is_continued(
    server: Server, tmp_path: Path, etag: str | None
) -> None:
    server.drops, server.etag = 3, etag
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA
    assert server.ranges == [None, "bytes=150000-", "bytes=225000-", "bytes=262500-"]


def test_a_later_run_continues_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(DATA[:123_456])
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA
    assert server.ranges == ["bytes=123456-"]


def test_without_a_checksum_nothing_old_is_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"old")
    fetch(server, tmp_path / "a.zip", md5=None)
    assert only(tmp_path / "a.zip") == DATA
    assert server.ranges == [None]


def test_a_complete_part_only_needs_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(DATA)
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA


@pytest.mark.parametrize("old", [DATA + b"more", b"other" * 100])
def test_a_part_of_something_else_is_given_up(server: Server, tmp_path: Path, old: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(old)
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA


def test_a_server_that_ignores_range_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.drops, server.ignores_range = 2, True
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA
    assert server.ranges == [None, "bytes=150000-", "bytes=150000-"]


def test_a_server_that_continues_elsewhere_is_read_from_the_start(
    server: Server, tmp_path: Path
) -> None:
    server.drops, server.wrong_start = 1, True
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA
    assert server.ranges == [None, "bytes=150000-", None]


def test_a_file_that_changes_between_two_attempts_comes_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.drops = 1
    server.files["a.zip"] = b"x" * len(DATA)

    def change(_: float) -> None:
        server.files["a.zip"], server.etag = DATA, '"2"'

    monkeypatch.setattr(module.time, "sleep", change)
    fetch(server, tmp_path / "a.zip", md5=None)
    assert only(tmp_path / "a.zip") == DATA


def test_a_length_that_is_not_announced_is_fine(server: Server, tmp_path: Path) -> None:
    server.chunked = True
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA


def test_passing_troubles_are_waited_out(server: Server, tmp_path: Path) -> None:
    server.failures = 3
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA


def test_lasting_troubles_end_with_what_to_do(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    server.failures = 99
    with pytest.raises(UserError, match=r"answered 503, 3 times in a row; 1,000 bytes are kept"):
        fetch(server, tmp_path / "a.zip", attempts=3)
    assert len(server.ranges) == 3
    assert (tmp_path / "a.zip.part").read_bytes() == DATA[:1000]


def test_nobody_listening_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no connection"):
        download("http://127.0.0.1:9/a", tmp_path / "a", attempts=2, backoff=0.001)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals_are_not_repeated(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(UserError, match=f"the server refused it \\({status}"):
        fetch(server, tmp_path / "a.zip")
    assert len(server.ranges) == 1


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/zip"])
def test_a_web_page_is_no_file(server: Server, tmp_path: Path, content_type: str) -> None:
    server.files["a.zip"], server.content_type = QUOTA_PAGE, content_type
    (tmp_path / "a.zip.part").write_bytes(DATA[:10])
    server.ignores_range = True
    with pytest.raises(UserError, match="sent a web page \\('Quota exceeded'\\) in place of"):
        fetch(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip.part").read_bytes() == DATA[:10]  # not lost to the page
    assert not (tmp_path / "a.zip").exists()


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files["a.zip"] = DATA[:-1] + b"?"
    with pytest.raises(UserError, match=f"expected {MD5}; the server has another or a damaged"):
        fetch(server, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_too_small_a_disk_is_said_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="300,000 bytes are needed but only 100 are free"):
        fetch(server, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_what_has_arrived(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    server.drops = 1
    monkeypatch.setattr(module.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip.part") == DATA[:150_000]
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "a.zip", "http:///a", ""])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="only http and https"):
        download(url, tmp_path / "a")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1:9/a"])
def test_redirects_lead_to_the_web_only(server: Server, tmp_path: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(UserError):
        fetch(server, tmp_path / "a.zip", attempts=1)
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    server.files["b.zip"] = DATA

    def answer(request: BaseHTTPRequestHandler, real: object = server.answer) -> None:
        server.redirect = f"{server.url}/b.zip" if request.path == "/a.zip" else None
        real(request)  # type: ignore[operator]

    server.answer = answer  # type: ignore[method-assign]
    fetch(server, tmp_path / "a.zip")
    assert only(tmp_path / "a.zip") == DATA


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        (b"<!DOCTYPE HTML>", True),
        (b"\xef\xbb\xbf\n <html lang=en>", True),
        (b"PK\x03\x04", False),
        (b"", False),
    ],
)
def test_web_pages_are_known_by_their_beginning(beginning: bytes, expected: bool) -> None:
    assert is_web_page(beginning) is expected
