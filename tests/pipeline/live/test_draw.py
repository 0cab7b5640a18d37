"""What is on the picture."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.live.draw import UNKNOWN_COLOR, caption, color_of, draw_speed, draw_tick, load_font
from pipeline.types import Face, FrameFaces, Note, Picture, Stats, Tick
from recognizer.types import Match

ADA = Match("Ada", 0.834, None, "gallery", "Ada")


def tick(*faces: Face, size: tuple[int, int] = (240, 320), **more: object) -> Tick:
    picture = Picture(0, 0.0, np.full((*size, 3), 60, np.uint8), 0.0)
    return Tick(picture, FrameFaces(0, 0.0, size, faces, 1), **more)


def has(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((image == color).all(axis=2).any())


@pytest.mark.parametrize(
    ("face", "text"),
    [
        (Face((0, 0, 1, 1), 0.9, 1), "..."),
        (Face((0, 0, 1, 1), 0.9), "unknown"),  # of a photo, where nothing is followed
        (Face((0, 0, 1, 1), 0.9, None, ADA), "Ada 83%"),
        (Face((0, 0, 1, 1), 0.9, 1, Match(None, 0.3), 1.0), "unknown"),
        (Face((0, 0, 1, 1), 0.9, 1, ADA, 1.0), "Ada 83%"),
        (Face((0, 0, 1, 1), 0.9, 1, Match("Bob", 0.2, 0.97, "head"), 1.0), "Bob 97%"),
        (Face((0, 0, 1, 1), 0.9, 1, Match("Bob", -0.2, None, "gallery"), 1.0), "Bob 0%"),
    ],
)
def test_captions(face, text):
    assert caption(face) == text


def test_a_name_has_its_color_everywhere():
    names = ["Ada", "Bob", "Zoë", "李雷", "a" * 300]
    assert len({color_of(name) for name in names}) == len(names)
    assert color_of("Ada") == color_of("Ada")
    assert color_of(None) == UNKNOWN_COLOR
    assert all(max(color_of(name)) == 255 for name in names), "bright"


def test_a_face_is_boxed_in_the_color_of_its_name():
    face = Face((100, 80, 160, 150), 0.9, 1, ADA, 1.0)
    drawn = draw_tick(tick(face))
    color = color_of("Ada")
    assert tuple(drawn[110, 99]) == color, "the line lies around the face"
    assert (drawn[85:145, 105:155] == 60).all(), "and not on it"
    assert has(drawn[60:79], color), "the name above"


@pytest.mark.parametrize(
    "box", [(0, 0, 30, 30), (290, 200, 320, 240), (0, 0, 320, 240), (5, 5, 6, 6)]
)
def test_faces_at_the_edge_are_drawn_without_trouble(box):
    assert has(draw_tick(tick(Face(box, 0.9, 1, ADA, 1.0))), color_of("Ada"))


def test_notes_lie_below_their_face_and_status_above_all():
    face = Face((100, 80, 160, 150), 0.9, 1, ADA, 1.0)
    plain = draw_tick(tick(face))
    noted = draw_tick(tick(face, notes=(Note("learning", 1, 0.5), Note("of nobody", 99))))
    changed = np.argwhere((plain != noted).any(axis=2))
    assert changed[:, 0].min() >= 150
    half = noted[151:190, 95:165]
    assert has(half, (20, 20, 20)), "the part of the bar that is still empty"
    status = draw_tick(tick(face, status="camera 0 is gone"))
    assert has(status[:30], (180, 40, 40))


def test_speed_is_in_the_lower_left_corner():
    one = tick(stats=Stats(29.97, 8.0, 0.034))
    changed = np.argwhere((draw_speed(one.drawn, one) != one.drawn).any(axis=2))
    assert changed[:, 0].min() > 200
    assert changed[:, 1].max() < 250


def test_the_font_knows_other_scripts():
    font = load_font(16)
    missing = bytes(font.getmask("\uffff"))
    for letter in "ЖΩŁé":
        assert bytes(font.getmask(letter)) != missing
