"""Cameras, streams, pipes, files and folders."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pipeline.sources.captures
from faces.errors import UserError
from faces.images.write import save_image
from faces.video.film import VideoWriter
from pipeline.sources.captures import (
    PlayedFile,
    RawFrames,
    VideoCapture,
    find_camera,
    list_cameras,
    without_secrets,
)
from pipeline.sources.live import LiveSource, Together
from pipeline.sources.open import EverySource, SourceOptions, open_source
from pipeline.types import Picture


def gray(value: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def video(path: Path, count: int = 20, fps: float = 12.5) -> Path:
    with VideoWriter(path, fps) as writer:
        for i in range(count):
            writer.write(gray(10 * i, 48, 64))
    return path


def everything(source: EverySource) -> list[Picture]:
    return list(iter(lambda: source.read(5), None))


class Camera:
    """Gives what it is told to: pictures, None for "gone", exceptions."""

    fps = 30.0

    def __init__(self, script: list[object]) -> None:
        self.script = script
        self.closed = False

    def read(self) -> np.ndarray | None:
        if not self.script:
            time.sleep(0.01)
            return gray(255)
        item = self.script.pop(0)
        if isinstance(item, BaseException):
            raise item
        if callable(item):
            return item()
        return item

    def close(self) -> None:
        self.closed = True


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# -- live


def test_only_the_newest_frame_of_a_camera_counts():
    ready, go = threading.Event(), threading.Event()

    def last() -> np.ndarray:
        ready.set()
        go.wait(10)
        return gray(99)

    camera = Camera([gray(1), gray(2), gray(3), last])
    with LiveSource(lambda: camera, "camera 0") as source:
        source.start()
        assert ready.wait(10)
        picture = source.read(1)
        assert (picture.image[0, 0, 0], picture.index) == (3, 2)
        assert source.dropped == 2
        assert source.read(0.01) is None, "and never twice"
        assert not source.ended
        go.set()
        picture = source.read(10)
        assert (picture.image[0, 0, 0], picture.index) == (99, 3)
        assert picture.captured <= time.monotonic()
        assert picture.time > 0
    assert camera.closed


def test_a_camera_that_is_gone_is_waited_for_and_opened_again():
    cameras = [Camera([gray(1), None]), UserError("no"), UserError("no"), Camera([gray(2)])]
    opened: list[float] = []

    def open_camera() -> Camera:
        opened.append(time.monotonic())
        item = cameras.pop(0)
        if isinstance(item, UserError):
            raise item
        return item

    with LiveSource(open_camera, "camera 0", pauses=(0.1, 0.15)) as source:
        source.start()
        wait_until(lambda: source.status)
        assert source.status.startswith("camera 0 is gone; trying again in 0.")
        seen: list[Picture] = []

        def three() -> bool:
            picture = source.read(0.05)
            seen.extend([picture] if picture else [])
            return len(seen) >= 3

        wait_until(three)
        assert source.status is None, "once there are pictures again"
        indices = [picture.index for picture in seen]
        assert indices == sorted(set(indices))
    pauses = np.diff(opened)[1:]
    assert (pauses > [0.09, 0.14, 0.14][: len(pauses)]).all()


def test_a_camera_that_opens_but_gives_nothing_is_tried_less_and_less_often(caplog):
    cameras = [Camera([gray(1), None]), *[Camera([None]) for _ in range(3)]]
    cameras += [Camera([gray(2), None]), Camera([])]
    opened: list[float] = []

    def open_camera() -> Camera:
        opened.append(time.monotonic())
        return cameras.pop(0)

    with LiveSource(open_camera, "camera 0", pauses=(0.05, 0.2)) as source:
        source.start()
        wait_until(lambda: not cameras)
        wait_until(lambda: source.status is None)
        assert source._pause == 0.05, "it is reset by a picture"
    pauses = np.diff(opened)
    assert (pauses >= [0.045, 0.095, 0.195, 0.195, 0.045]).all()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["camera 0 is gone; waiting for it", "camera 0 is back"] * 2


def test_a_camera_that_is_not_there_at_first_is_an_error_at_once():
    def open_camera() -> Camera:
        raise UserError("camera 7 cannot be opened")

    with pytest.raises(UserError, match="camera 7"):
        LiveSource(open_camera, "camera 7")


def test_nothing_is_read_before_somebody_looks():
    camera = Camera([gray(1), gray(2)])
    with LiveSource(lambda: camera, "camera 0") as source:
        time.sleep(0.05)
        assert len(camera.script) == 2
        assert source.status is None
    assert camera.closed


def test_a_thread_that_dies_is_noticed():
    camera = Camera([gray(1), RuntimeError("driver")])
    with LiveSource(lambda: camera, "camera 0") as source:
        source.start()
        wait_until(lambda: source._over)
        assert source.read(1) is not None, "what was there is not lost"
        with pytest.raises(RuntimeError, match="driver"):
            source.read(1)


@pytest.mark.parametrize("reopened", [False, True])
def test_a_capture_whose_reading_raises_is_closed(reopened):
    broken = Camera([gray(1), RuntimeError("driver")])
    script = [Camera([gray(1), None]), broken] if reopened else [broken]
    cameras = iter(script)
    with LiveSource(lambda: next(cameras), "camera", pauses=(0.01, 0.01)) as source:
        with pytest.raises(RuntimeError, match="driver"):
            everything(source)
        assert broken.closed


def test_a_capture_is_closed_when_its_picture_cannot_be_used():
    odd = Camera(["no picture at all"])
    with LiveSource(lambda: odd, "camera", mirror=True) as source:
        with pytest.raises(TypeError):
            source.read(5)
        assert odd.closed


def test_a_camera_that_says_nothing_is_reported(monkeypatch):
    monkeypatch.setattr("pipeline.sources.live.STALLED", 0.1)
    go = threading.Event()
    camera = Camera([gray(1), lambda: go.wait(10) and None])
    with LiveSource(lambda: camera, "camera 0", reopen=False) as source:
        source.read(5)
        time.sleep(0.15)
        assert source.status.startswith("no picture from camera 0 for")
        go.set()
        wait_until(lambda: source.ended)
        assert source.status is None


def test_the_mirror():
    image = gray(0)
    image[:, 0] = 200
    with LiveSource(lambda: Camera([image]), "camera 0", mirror=True) as source:
        picture = source.read(5)
    assert picture.image[0, -1, 0] == 200
    assert picture.image.flags.c_contiguous


def test_closing_does_not_wait_for_a_camera_that_is_gone():
    camera = Camera([gray(1), None])
    source = LiveSource(lambda: camera, "camera 0", pauses=(60, 60))
    source.start()
    wait_until(lambda: source.status)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 30  # not the 60 of a pause


def test_a_played_file_takes_its_time_and_ends(tmp_path):
    with open_source(str(video(tmp_path / "a.mp4")), SourceOptions(live=True)) as source:
        assert source.fps == pytest.approx(12.5)
        start, last = time.monotonic(), None
        while not source.ended:
            last = source.read(0.1) or last
        assert 1.4 < time.monotonic() - start < 30
        assert last.index == 19


def test_a_played_file_can_begin_again(tmp_path):
    played = PlayedFile(video(tmp_path / "a.mp4", 3, 100), again=True)
    values = [int(played.read()[24, 32, 0]) for _ in range(7)]
    played.close()
    assert np.abs(np.diff(values)[[2, 5]]).min() > 10, "from the last to the first"
    assert values[0] == values[3] == values[6]


# -- in full


def test_every_frame_of_a_file_comes(tmp_path):
    with open_source(str(video(tmp_path / "a.mp4"))) as source:
        pictures = everything(source)
        source.check_end()
    assert [picture.index for picture in pictures] == list(range(20))
    assert np.allclose([picture.time for picture in pictures], np.arange(20) / 12.5)
    assert (source.fps, source.frames, source.follow, source.ended) == (12.5, 20, True, True)


def test_a_folder_gives_its_photos_and_names_what_is_broken(tmp_path, caplog):
    save_image(tmp_path / "b.png", gray(20))
    save_image(tmp_path / "in" / "c.jpg", gray(30, 40, 50))
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with open_source(str(tmp_path)) as source:
        pictures = everything(source)
        with pytest.raises(UserError, match="1 of 3 pictures could not be read"):
            source.check_end()
    assert [picture.name for picture in pictures] == ["b.png", "in/c.jpg"]
    assert [picture.size for picture in pictures] == [(24, 32), (40, 50)]
    assert not source.follow
    assert "a.jpg" in caplog.text


def test_one_photo_is_a_folder_of_one(tmp_path):
    save_image(tmp_path / "b.png", gray(20))
    with open_source(str(tmp_path / "b.png")) as source:
        assert [picture.name for picture in everything(source)] == ["b.png"]


def test_closing_early_is_fine(tmp_path):
    source = open_source(str(video(tmp_path / "a.mp4")))
    assert source.read().index == 0
    source.close()
    assert source.read() is None


def test_an_error_while_reading_reaches_the_caller():
    def read() -> Picture | None:
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"), EverySource(read, "x", 30) as source:
        source.read()


# -- raw frames


@pytest.mark.parametrize(
    ("layout", "pixel", "rgb"),
    [
        ("rgb24", [1, 2, 3], (1, 2, 3)),
        ("bgr24", [3, 2, 1], (1, 2, 3)),
        ("gray", [7], (7, 7, 7)),
    ],
)
def test_raw_frames(layout, pixel, rgb):
    stream = io.BytesIO(bytes(pixel * 6 * 3))
    options = SourceOptions(size=(3, 2), fps=10.0, layout=layout)
    with open_source("-", options, stream) as source:
        pictures = everything(source)
        source.check_end()
    assert [picture.time for picture in pictures] == [0, 0.1, 0.2]
    assert pictures[0].image.shape == (2, 3, 3)
    assert (pictures[0].image == rgb).all()


def test_raw_frames_that_do_not_fit_are_reported():
    options = SourceOptions(size=(3, 2), fps=10.0)
    with open_source("-", options, io.BytesIO(bytes(18 + 5))) as source:
        assert len(everything(source)) == 1
        with pytest.raises(UserError, match=r"within a frame \(5 bytes.*--stdin-size"):
            source.check_end()


def test_a_pipe_gives_its_bytes_in_any_parts():
    class Dribble(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    frames = RawFrames(Dribble(bytes(range(18)) * 2), (3, 2), 10)
    first, second, end = frames.read(), frames.read(), frames.read()
    assert first.ravel().tolist() == second.ravel().tolist() == list(range(18))
    assert end is None


@pytest.mark.parametrize("options", [SourceOptions(fps=30.0), SourceOptions(size=(3, 2))])
def test_raw_frames_need_a_size_and_a_rate(options):
    with pytest.raises(UserError, match="--stdin-size 640x480 --stdin-fps 30"):
        open_source("-", options, io.BytesIO())


# -- names


def test_a_missing_file_is_not_taken_for_a_camera():
    with pytest.raises(UserError, match=r"party\.mp4: there is no such file, folder or camera"):
        open_source("party.mp4")


def test_a_camera_that_does_not_exist():
    with pytest.raises(UserError, match="camera 63 cannot be opened"):
        open_source("63")


@pytest.fixture
def cameras(tmp_path, monkeypatch):
    for number, index, name in [(0, 0, "Logitech C920"), (1, 1, "Logitech C920"),
                                (2, 0, "Integrated Camera"), (10, 0, "OBS Camera")]:  # fmt: skip
        folder = tmp_path / f"video{number}"
        folder.mkdir()
        (folder / "index").write_text(f"{index}\n")
        (folder / "name").write_text(f"{name}\n")
    monkeypatch.setattr(pipeline.sources.captures, "DEVICES", tmp_path)


@pytest.mark.parametrize(
    ("given", "opened"), [("3", 3), ("/dev/video2", "/dev/video2"), ("logi", 0), ("OBS", 10)]
)
def test_cameras_are_found_by_index_file_and_name(cameras, given, opened):
    assert find_camera(given) == opened


def test_cameras_are_listed_when_a_name_fits_none_or_several(cameras):
    assert list_cameras() == {0: "Logitech C920", 10: "OBS Camera", 2: "Integrated Camera"}
    with pytest.raises(UserError, match=r"no camera, file or folder 'Sony'.*2 \(Integrated"):
        find_camera("Sony")
    with pytest.raises(UserError, match="more than one camera is called 'camera'"):
        find_camera("camera")


def test_no_secret_of_an_address_is_shown():
    url = "rtsp://ada:pass%40word@10.0.0.7:554/live?token=secret"
    assert without_secrets(url) == "rtsp://10.0.0.7:554/..."
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        VideoCapture(
            "http://user:hunter2@127.0.0.1:9/x", without_secrets("http://u:p@127.0.0.1:9/x")
        )
    assert "hunter2" not in str(caught.value)
    assert "http://127.0.0.1:9/... cannot be opened" in str(caught.value)
    assert time.monotonic() - start < 15


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:pa/ss@192.168.1.2/s",
        "rtsp://admin:pa#ss@192.168.1.2/s",
        "rtsp://pa:99999/",
        "rtsp://cam:pa/",
        "rtsp://[fe80::1/pa",
    ],
)
def test_an_address_that_cannot_be_understood_is_not_shown(url):
    with pytest.raises(UserError, match="percent-encoded: / as %2F") as caught:
        open_source(url, SourceOptions(live=True))
    assert caught.value.__suppress_context__, "a ValueError would show a part of the password"
    told = str(caught.value)
    assert not any(part in told for part in ("pa/", "pa#", "'pa", "99999", "fe80", "admin"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://10.0.0.7/user=admin&password=geheim&channel=1.sdp", "rtsp://10.0.0.7/..."),
        ("rtsp://10.0.0.7:554/user=admin_password=geheim_ch1.sdp?real", "rtsp://10.0.0.7:554/..."),
        ("rtsp://cam.local/admin/geheim/ch1", "rtsp://cam.local/..."),
        ("rtsp://cam/user:geheim@/ch1", "rtsp://..."),
        ("rtsp://cam/user:geheim%40cam/ch1", "rtsp://..."),
        ("rtsp://admin%3Ageheim%40cam/ch1", "rtsp://..."),
        ("rtsp://user=admin&password=geheim/ch1", "rtsp://..."),
        ("http://cam/hls/geheim/index.m3u8#geheim", "http://cam/..."),
        ("http://cam/?token=geheim", "http://cam/..."),
        ("http://ada:geheim@[fe80::1]:8080/x", "http://[fe80::1]:8080/..."),
        ("http://cam:80/", "http://cam:80"),
        ("rtsp://:geheim@cam", "rtsp://cam"),
    ],
)
def test_no_part_that_may_be_secret_is_shown(url, shown):
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "what",
    [
        "admin:geheim@10.0.0.7/ch1",
        "rtsp:/admin:geheim@cam/1",
        "rtsp:admin/geheim",
        "HTTP%3A//geheim",
    ],
)
def test_what_was_meant_as_an_address_is_not_shown(what, tmp_path):
    with pytest.raises(UserError, match="begin with a scheme such as rtsp://") as caught:
        open_source(what, SourceOptions(live=True))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("url", ["rtsp://admin:12/34@10.0.0.7/s", "rtsp://a:12#34@10.0.0.7/s"])
def test_a_password_that_looks_like_port_and_path_is_not_shown(url):
    assert without_secrets(url) == "rtsp://..."


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["pipe", "film.mp4"])
def test_a_pipe_is_named_with_the_way_on(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} is a pipe: save .*, faces run - --stdin-size"):
        open_source(str(tmp_path / name))
