"""Cameras are found by name, and no secret of an address is shown."""

from __future__ import annotations

import time

import pytest

import pipeline.sources.captures
from faces.errors import UserError
from pipeline.sources.captures import (
    VideoCapture,
    find_camera,
    list_cameras,
    without_secrets,
)
from pipeline.sources.open import SourceOptions, open_source


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
