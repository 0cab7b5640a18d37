"""A client of `faces serve --stdio` that survives a crash of the server. Standard library only.

    python faces_client.py photo.jpg another.jpg
    python faces_client.py --repeat 100 photo.jpg

The environment variable FACES_COMMAND names another command than `faces serve --stdio`.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

AT_ONCE = 16  # requests under way; more would only fill the pipe
ATTEMPTS = 5  # a request that brings the server down every time is given up


class FacesError(Exception):
    """The server has refused a request; `code` says why, `details` where."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.details = error["code"], error.get("details", {})


class FacesClient:
    """Runs the server as a child process; restarts it and sends again what was not answered."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._lock = threading.RLock()
        self._room = threading.Semaphore(AT_ONCE)
        self._waiting: dict[int, tuple[bytes, Future[Any], int]] = {}
        self._last = 0
        self._closed = False
        self._start()

    def request(self, op: str, *images: bytes, **fields: Any) -> Future[Any]:
        """Send a request; the future has its result or a FacesError."""
        self._room.acquire()
        with self._lock:
            self._last += 1
            frames = [len(image) for image in images]
            header = {"id": self._last, "op": op, "frames": frames, **fields}
            message = json.dumps(header).encode() + b"\n" + b"".join(images)
            future: Future[Any] = Future()
            future.add_done_callback(lambda _: self._room.release())
            self._waiting[self._last] = (message, future, 1)
            self._send(message)
        return future

    def close(self) -> None:
        """Wait for the answers, then for the end of the server."""
        for _, future, _ in list(self._waiting.values()):
            future.exception()
        with self._lock:
            self._closed = True
            self._process.stdin.close()
        self._process.wait()

    def _start(self) -> None:
        self._process: Any = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _send(self, message: bytes) -> None:
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except OSError:
            pass  # it has died; the reader notices that too, and sends everything again

    def _read(self, process: Any) -> None:
        for line in process.stdout:
            if not line.endswith(b"\n"):
                break  # it died while it wrote
            answer = json.loads(line)
            if "event" in answer:  # "ready", or the progress of a job
                continue
            _, future, _ = self._waiting.pop(answer["id"])
            if "error" in answer:
                future.set_exception(FacesError(answer["error"]))
            else:
                future.set_result(answer["result"])
        process.wait()
        if not self._closed:
            self._restart()

    def _restart(self) -> None:
        print("the server has died; starting it again", file=sys.stderr)
        with self._lock:
            self._start()
            for name, (message, future, attempts) in list(self._waiting.items()):
                if attempts == ATTEMPTS:
                    del self._waiting[name]
                    future.set_exception(RuntimeError("the server dies of this request"))
                else:
                    self._waiting[name] = (message, future, attempts + 1)
                    self._send(message)


def main(arguments: list[str]) -> None:
    """Print the faces of each photo."""
    repeat = 1
    if arguments[:1] == ["--repeat"]:
        repeat, arguments = int(arguments[1]), arguments[2:]
    client = FacesClient(shlex.split(os.environ.get("FACES_COMMAND", "faces serve --stdio")))
    photos = [(name, Path(name).read_bytes()) for name in arguments] * repeat
    futures = [(name, client.request("detect", photo)) for name, photo in photos]
    for name, future in futures:
        for face in future.result()["images"][0]["faces"]:
            print(name, *face["box"], face["score"])
    client.close()


if __name__ == "__main__":
    main(sys.argv[1:])
