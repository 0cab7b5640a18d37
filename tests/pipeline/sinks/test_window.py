"""The window, and the polite refusal where there can be none."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from faces.errors import UserError
from pipeline.sinks.window import ESCAPE, Window, character, face_at, require_window
from pipeline.types import Face, FrameFaces, Picture, Tick

GUI = "  GUI:                           QT5\n    QT:                          YES\n"


def tick() -> Tick:
    faces = (
        Face((10.0, 10.0, 110.0, 110.0), 0.9, 1),
        Face((50.0, 50.0, 80.0, 80.0), 0.9, 2),
    )
    image = np.zeros((240, 320, 3), np.uint8)
    image[..., 0] = 200  # red
    return Tick(Picture(0, 0.0, image, 0.0), FrameFaces(0, 0.0, (240, 320), faces, 1))


@pytest.fixture
def screen(monkeypatch):
    """Stands for OpenCV's window: what was shown, the next keys, whether it is visible."""

    state = SimpleNamespace(shown=[], keys=[], visible=1.0, mouse=None, open=0)
    replacements = {
        "namedWindow": lambda title: setattr(state, "open", state.open + 1),
        "destroyAllWindows": lambda: setattr(state, "open", 0),
        "imshow": lambda title, image: state.shown.append(image),
        "waitKey": lambda delay: -1,
        "waitKeyEx": lambda delay: state.keys.pop(0) if state.keys else -1,
        "getWindowProperty": lambda title, what: state.visible,
        "setMouseCallback": lambda title, call: setattr(state, "mouse", call),
    }
    for name, replacement in replacements.items():
        monkeypatch.setattr(cv2, name, replacement)
    return state


def test_pictures_are_shown_in_opencvs_colors(screen):
    with Window() as window:
        window.show(tick())
        assert screen.shown[0].shape == (240, 320, 3)
        assert tuple(screen.shown[0][5, 300]) == (0, 0, 200), "BGR"
        assert not window.closed
    assert screen.open == 0


def test_keys_do_what_they_are_given(screen):
    pressed = []
    keys = {ord("s"): pressed.append, ESCAPE: lambda _: pressed.append("escape")}
    with Window(keys) as window:
        screen.keys = [ord("s"), ESCAPE, ord("x"), ord("s") + (4 << 16)]
        one = tick()
        for _ in range(4):
            window.show(one)
        assert pressed == [one, "escape", one]
        assert not window.closed
        screen.keys = [ord("q")]
        window.show(one)
        assert window.closed


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ord("a"), "a"),
        (ord("A") | 1 << 16, "A"),  # GTK: with Shift
        (ord("a") | 0x10 << 16, "a"),  # GTK: with the lock of the digits
        (0xE1, "á"),
        (0xFF, "ÿ"),
        (10, "\n"),  # Return of GTK
        (13, "\r"),  # of Windows and macOS
        (0xFF0D, "\r"),  # of Qt
        (0xFF8D | 0x10 << 16, "\r"),  # beside the digits
        (8, "\b"),
        (127, "\x7f"),  # the Backspace of macOS
        (0xFF08, "\b"),
        (27, "\x1b"),
        (0xFF1B, "\x1b"),
        (0xFFE1, None),  # Shift
        (0xFFE3 | 4 << 16, None),  # Control
        (0xFF51, None),  # arrows of X11
        (0xFF54, None),
        (0xFFFF, None),  # Delete
        (0x250000, None),  # an arrow of Windows
        (0xF700, None),  # and of macOS
        (0x1BE, None),  # a letter that is not in Latin-1
    ],
)
def test_keys_without_a_character_type_no_letters(screen, code, expected):
    key = None if expected is None else ord(expected)
    assert character(code) == key
    typed = []
    with Window(typing=lambda key: bool(typed.append(key)) or True) as window:
        screen.keys = [code, ord("b")]
        window.show(tick())
    assert typed == [*([] if key is None else [key]), ord("b")]


def test_closing_the_window_closes_it(screen):
    with Window() as window:
        screen.visible = 0.0
        window.show(tick())
        assert window.closed
        window.show(tick())
    assert len(screen.shown) == 1


def test_a_click_names_the_face_under_the_mouse(screen):
    clicks = []
    with Window(on_click=lambda t, face: clicks.append(face and face.track)) as window:
        screen.mouse(cv2.EVENT_LBUTTONDOWN, 60, 60, 0, None)
        window.show(tick())
        for x, y in ((60, 60), (20, 20), (200, 200)):
            screen.mouse(cv2.EVENT_LBUTTONDOWN, x, y, 0, None)
        screen.mouse(cv2.EVENT_MOUSEMOVE, 60, 60, 0, None)
    assert clicks == [2, 1, None]


def test_the_smallest_face_is_meant():
    assert face_at(tick(), 60, 60).track == 2
    assert face_at(tick(), 110, 20) is None, "ends are exclusive"


# -- where there is no window


def test_an_opencv_without_windows_is_recognized(monkeypatch):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:        NONE\n")
    with pytest.raises(UserError, match="pip install opencv-python"):
        require_window()


@pytest.mark.skipif(sys.platform != "linux", reason="only there is it a variable")
def test_a_missing_display_is_recognized(monkeypatch):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: GUI)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="there is no display"):
        require_window()


def test_a_display_that_kills_is_tried_by_another_process(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: GUI)
    monkeypatch.setenv("DISPLAY", ":99")
    died = "import os, sys; print('qt.qpa.xcb: could not connect', file=sys.stderr); os.abort()"
    monkeypatch.setattr("pipeline.sinks.window._PROBE", died)
    with pytest.raises(UserError, match="could not connect"):
        require_window()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colorsys.py").write_text("raise SystemExit('not ours')")
    monkeypatch.setattr("pipeline.sinks.window._PROBE", "import colorsys")
    require_window()


def test_a_display_that_does_not_answer(monkeypatch):
    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 30)

    monkeypatch.setattr(cv2, "getBuildInformation", lambda: GUI)
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(UserError, match="does not answer"):
        require_window()
