"""A server for `benchmarks/serve.py`, and those who call it: good, broken and hostile ones."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Server:
    """A running `faces serve --http` without keys."""

    folder: Path  # where its gallery is
    flags: Sequence[str]  # more of its flags
    process: subprocess.Popen[bytes] = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        """Start it, and wait until it listens."""
        command = [
            *(sys.executable, "-m", "scripts.main", "serve", "--http", "--port", "0", "--quiet"),
            *("--no-keys-on-loopback", "--rate-per-address", "none"),
            *self.flags,
        ]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=(self.folder / "log.txt").open("ab"),
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line:
            sys.exit(f"the server has not started: {(self.folder / 'log.txt').read_text('utf-8')}")
        self.port = int(line.rsplit(":", 1)[1])

    def megabytes(self) -> float:
        """Resident memory."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As an administrator would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(90)


class Client:
    """One caller with one connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(
        self, operation: str, images: Sequence[bytes], fields: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, JSON) of a form with images."""
        body = form(images, fields or {})
        kind = {"Content-Type": "multipart/form-data; boundary=xx"}
        return self.ask("POST", f"/v1/{operation}", body, kind)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, JSON); 0 when the connection broke."""
        try:
            self._connection.request(method, path, body, headers or {})
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self._connection.close()
            return 0, None


def form(images: Sequence[bytes], fields: dict[str, str]) -> bytes:
    """A multipart body with the boundary ``xx``."""
    start = b'--xx\r\nContent-Disposition: form-data; name="%s"'
    parts = [start % b"image" + b'; filename="a"\r\n\r\n' + image for image in images]
    parts += [start % k.encode() + b"\r\n\r\n" + v.encode() for k, v in fields.items()]
    return b"\r\n".join([*parts, b"--xx--\r\n"])


@contextmanager
def callers(count: int, work: Callable[[int, threading.Event], None]) -> Iterator[None]:
    """Run ``work(number, stop)`` in threads until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(i, stop)) for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def flood(port: int, photos: Sequence[bytes], number: int, stop: threading.Event) -> None:
    """Ask for as many images at once as allowed, or send slowly; from another address."""
    if number % 4 == 3:
        while not stop.is_set():
            slow = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
            with slow, contextlib.suppress(OSError):
                slow.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\n")
                slow.sendall(b"Content-Length: 90000\r\n\r\n")
                for _ in range(20):
                    slow.sendall(b"x")
                    if stop.wait(0.2):
                        break
        return
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=90, source_address=("127.0.0.2", 0)
    )
    body = form([photos[i % len(photos)] for i in range(16)], {})
    kind = {"Content-Type": "multipart/form-data; boundary=xx"}
    while not stop.is_set():
        try:
            connection.request("POST", "/v1/detect", body, kind)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 503:
                time.sleep(0.2)
        except (OSError, http.client.HTTPException):
            connection.close()


def bomb(side: int = 40_000) -> bytes:
    """A small PNG that says it has 1.6 billion pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + rest


def break_something(port: int, client: Client, photo: bytes, dice: random.Random) -> int:
    """One of the things that broken and hostile callers do; the status, 0 for none."""
    kind = dice.randrange(6)
    if kind == 0:
        return client.post("detect", [photo[: len(photo) // 2]])[0]
    if kind == 1:
        return client.post("detect", [bomb()])[0]
    if kind == 2:
        return client.post("detect", [b"<svg/>"], {"min_score": "high"})[0]
    if kind == 3:
        as_json = {"Content-Type": "application/json"}
        return client.ask("POST", "/v1/people/forget", b"[1", as_json)[0]
    body = form([photo], {})
    head = b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
    head += b"boundary=xx\r\nContent-Length: %d\r\n\r\n" % len(body)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
        if kind == 4:  # hangs up before the answer
            connection.sendall(head + body)
        else:  # sends slowly, and then hangs up in the middle
            connection.sendall(head)
            for i in range(20):
                connection.sendall(body[i : i + 1])
                time.sleep(0.05)
    return 0
