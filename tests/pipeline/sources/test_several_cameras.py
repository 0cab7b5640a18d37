"""Several sources at once, some of which are away."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.sources.live import LiveSource, Together
from pipeline.sources.open import SourceOptions, open_source
from tests.pipeline.sources.cameras import Camera, gray, wait_until

# -- one of several cameras


def test_one_of_several_cameras_that_is_away_at_first_is_waited_for(caplog):
    cameras = [UserError("door cannot be opened"), UserError("no"), Camera([gray(7)])]
    asked = threading.Event()

    def open_camera() -> Camera:
        asked.set()
        item = cameras.pop(0)
        if isinstance(item, UserError):
            raise item
        return item

    together = Together(zero=time.monotonic() - 100)
    with LiveSource(open_camera, "door", pauses=(0.01, 0.02), together=together) as source:
        assert not asked.is_set(), "nobody waits for it"
        assert source.fps == 30
        picture = source.read(30)
        assert picture is not None
        assert picture.image[0, 0, 0] == 7
        assert picture.time > 100, "all have one clock"
        assert together.news.is_set()
    assert "door cannot be opened; waiting for it" in caplog.text
    assert "door is back" in caplog.text


def test_one_of_several_cameras_that_is_never_there_ends_when_it_shall():
    def open_camera() -> Camera:
        raise UserError("no")

    with LiveSource(open_camera, "door", pauses=(60, 60), together=Together()) as source:
        source.start()
        wait_until(lambda: (source.status or "").startswith("door is gone; trying again"))
        assert source.read(0.01) is None
        assert not source.ended
    assert not source._thread.is_alive()


def test_one_of_several_cameras_that_floods_is_held_back(monkeypatch):
    monkeypatch.setattr("pipeline.sources.live.FLOOD", 50.0)
    monkeypatch.setattr("pipeline.sources.live.BURST", 0.1)

    class Flood(Camera):
        count = 0

        def read(self) -> np.ndarray:
            self.count += 1
            return gray(1)

    camera = Flood([])
    with LiveSource(lambda: camera, "door", together=Together()) as source:
        start = time.monotonic()
        source.start()
        wait_until(lambda: camera.count > 20)
        assert time.monotonic() - start > 14 / 50, "5 at once, then 50 a second"


def test_a_missing_film_is_an_error_at_once_also_among_several(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        open_source("gone.mp4", SourceOptions(live=True, together=Together()))
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match="cannot read the video"):
        open_source(str(tmp_path / "a.mp4"), SourceOptions(live=True, together=Together()))


def answering(reply: bytes | None) -> tuple[str, list[bytes]]:
    """A host that answers every connection with this, or is silent; its address, what it got."""
    server = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []
    kept: list[socket.socket] = []  # or they would be closed

    def work() -> None:
        while True:
            line, _ = server.accept()
            kept.append(line)
            got.append(line.recv(1000))
            if reply is not None:
                line.sendall(reply)
                line.close()

    threading.Thread(target=work, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}", got


@pytest.mark.slow
def test_a_silent_host_does_not_keep_others_from_being_opened(monkeypatch):
    """OpenCV opens one stream at a time: it is not asked before somebody has answered."""
    monkeypatch.setattr("pipeline.sources.captures.TIMEOUT_MS", 1500)
    opened: list[object] = []

    def capture(target: object, name: str) -> Camera:
        opened.append(target)
        return Camera([gray(5)])

    monkeypatch.setattr("pipeline.sources.open.VideoCapture", capture)
    silent, _ = answering(None)
    fine, got = answering(b"RTSP/1.0 401 Unauthorized")
    empty, _ = answering(b"")
    away = [f"http://{silent}/x", f"rtsp://{silent}/x", f"http://{empty}/", "http://127.0.0.1:9/"]
    urls = [*away, f"rtsp://eve:geheim@{fine}/live", "udp://127.0.0.1:9"]
    for url in urls:
        options = SourceOptions(live=True, name="door", together=Together())
        with open_source(url, options) as source:
            assert isinstance(source, LiveSource)
            source.start()
            if url in away:
                wait_until(lambda s=source: "door is gone" in (s.status or ""), 60)
            else:
                assert source.read(60) is not None
    assert opened == urls[4:]
    assert {*got} == {b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"}, "no password in clear"
