"""A real server with fake models, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from pipeline.http.options import HttpOptions
from pipeline.http.server import make_server
from pipeline.service.core import Service
from tests.pipeline.service.fakes import FakeDetector, make_service, photo


class Live:
    """Where a server is, and its service.

    Args:
        url: of the server.
        service: behind it.
        detector: of the service.
    """

    def __init__(self, url: str, service: Service, detector: Any) -> None:
        self.url, self.service, self.detector = url, service, detector
        self.client = httpx.Client(base_url=url, timeout=20)
        self.port = int(url.rpartition(":")[2])

    def post(
        self, path: str, *images: bytes, key: str | None = None, **data: Any
    ) -> httpx.Response:
        """A form with these images."""
        files = [("image", ("photo", image)) for image in images]
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return self.client.post(f"/v1/{path}", files=files, data=data, headers=headers)

    def get(self, path: str, key: str | None = None, **query: Any) -> httpx.Response:
        """Without images."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return self.client.get(path, params=query or None, headers=headers)


@contextmanager
def live(
    folder: Path | None = None,
    options: HttpOptions | None = None,
    detector: Any = None,
    **service_options: Any,
) -> Iterator[Live]:
    """Serve until the block ends; then everything was shut down gracefully."""
    detector = detector or FakeDetector()
    service = make_service(folder, detector=detector, **service_options)
    url: list[str] = []
    there = threading.Event()

    def started(where: str) -> None:
        url.append(where)
        there.set()

    server, listener = make_server(service, "127.0.0.1", 0, options or HttpOptions(), started)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    assert there.wait(20)
    running = Live(url[0], service, detector)
    try:
        yield running
    finally:
        running.client.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


__all__ = ["FakeDetector", "HttpOptions", "Live", "live", "photo"]


def code(response: object) -> tuple[int, str]:
    """The status and the error's code of an answer, which holds its request's id."""
    body = response.json()  # type: ignore[attr-defined]
    assert body["request_id"] == response.headers["x-request-id"]  # type: ignore[attr-defined]
    return response.status_code, body["error"]["code"]  # type: ignore[attr-defined]
