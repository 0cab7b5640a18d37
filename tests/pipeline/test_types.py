"""The JSON form of frames, and what a tick draws."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.types import Face, FrameFaces, Note, Picture, Tick
from recognizer.types import Match

FACES = FrameFaces(
    7,
    0.25,
    (480, 640),
    (
        Face((1.5, 2.0, 30.25, 40.0), 0.875, 3, Match("Zoë", 0.75, 0.5, "head", "Zoë"), 0.9),
        Face((5.0, 6.0, 7.0, 8.0), 0.5),
    ),
    12,
)


def test_a_frame_goes_into_a_line_of_json_and_back():
    line = FACES.line()
    assert "\n" not in line
    assert line.isascii()
    assert FrameFaces.from_json(json.loads(line)) == FACES


def test_the_names_of_the_json_form():
    value = FACES.to_json()
    assert list(value) == ["frame", "time", "width", "height", "version", "faces"]
    assert (value["width"], value["height"]) == (640, 480)
    assert value["faces"][0] == {
        "box": [1.5, 2.0, 30.25, 40.0], "score": 0.875, "track": 3, "name": "Zoë",
        "similarity": 0.75, "confidence": 0.5, "source": "head", "nearest": "Zoë",
        "agreement": 0.9,
    }  # fmt: skip
    assert value["faces"][1]["name"] is None


@pytest.mark.parametrize(
    "change",
    [{"box": [1, 2, 3]}, {"source": "head"}, {"name": "Ada"}, {"box": ["a", 1, 2, 3]}],
    ids=["short box", "source without name", "name without source", "text"],
)
def test_other_json_is_refused(change):
    value = FACES.to_json()
    value["faces"][1] |= change
    with pytest.raises((TypeError, ValueError)):
        FrameFaces.from_json(value)


def test_a_tick_is_drawn_once_and_on_a_copy():
    picture = Picture(0, 0.0, np.zeros((480, 640, 3), np.uint8), 0.0)
    tick = Tick(picture, FACES, notes=(Note("12 of 50", 3, 0.25),), status="camera 0 is gone")
    assert tick.drawn is tick.drawn
    assert tick.drawn.shape == (480, 640, 3)
    assert tick.drawn.any()
    assert not picture.image.any()
