"""Pictures for people: marked faces, hidden faces, sheets."""

from __future__ import annotations

import numpy as np
import pytest

from detector.draw import (
    FOUND,
    RIM,
    TRUTH,
    anonymize,
    contact_sheet,
    draw_boxes,
    draw_detections,
)
from detector.types import Detections


def noise(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gray(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def found(image: np.ndarray, *rows: tuple[float, float, float, float]) -> Detections:
    return Detections.from_raw(boxes(*rows), [0.9] * len(rows), image.shape[:2])


def changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest x1 y1 x2 y2 around all pixels that differ."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


# -- draw_boxes


def test_boxes_are_drawn_on_a_copy_with_exclusive_ends():
    image = gray(60, 80)
    drawn = draw_boxes(image, boxes((10, 20, 40, 50)), TRUTH, width=1)
    assert changed(image, drawn) == (10, 20, 40, 50)
    assert (drawn[20, 10:40] == TRUTH).all()
    assert (drawn[49, 10:40] == TRUTH).all()
    assert (drawn[21:49, 11:39] == 128).all()
    assert (image == 128).all()


@pytest.mark.parametrize(
    ("box", "above"), [((40, 60, 90, 110), True), ((40, 3, 90, 60), False)], ids=["room", "edge"]
)
def test_a_caption_is_above_the_box_or_inside_it_at_the_upper_edge(box, above):
    image = gray(120, 160)
    plain = draw_boxes(image, boxes(box))
    _, top, _, bottom = changed(plain, draw_boxes(image, boxes(box), captions=["0.90"]))
    assert top >= 0
    assert (bottom <= box[1] + 1) == above


def test_a_caption_stays_inside_the_picture_at_the_right_edge():
    image = gray(120, 160)
    drawn = draw_boxes(image, boxes((150, 60, 160, 70)), captions=["0.90"])
    left, top, right, _ = changed(image, drawn)
    assert right <= 160
    assert right - left > 20, "the whole caption"
    assert top < 60


# -- draw_detections


def test_no_face_leaves_the_picture_as_it_is():
    image = noise()
    assert (draw_detections(image, Detections.empty(image.shape[:2])) == image).all()


@pytest.mark.parametrize("box", [(10, 20, 16, 27), (50, 40, 140, 110)], ids=["tiny", "large"])
def test_lines_lie_around_a_face_and_not_on_it(box):
    image = noise()
    drawn = draw_detections(image, found(image, box))
    x1, y1, x2, y2 = box
    assert (drawn[y1:y2, x1:x2] == image[y1:y2, x1:x2]).all()
    assert (drawn[y1 - 1, x1:x2] == FOUND).all()
    assert (drawn[y1:y2, x2] == FOUND).all()


def test_the_line_has_a_dark_rim():
    image = gray(120, 160)
    drawn = draw_detections(image, found(image, (20, 30, 32, 44)))
    assert tuple(drawn[28, 25]) == RIM
    assert tuple(drawn[45, 25]) == RIM


def test_tiny_faces_have_thin_lines_and_no_caption():
    image = gray(768, 1024)
    drawn = draw_detections(image, found(image, (500, 300, 512, 315)))
    assert changed(image, drawn) == (498, 298, 514, 317), "one pixel of line, one of rim"


def test_large_faces_have_their_score_above():
    image = gray(768, 1024)
    drawn = draw_detections(image, found(image, (500, 300, 620, 450)))
    left, top, right, bottom = changed(image, drawn)
    assert (left, right, bottom) == (496, 624, 454)
    assert 275 < top < 290
    strip = drawn[top:297, 497:540].reshape(-1, 3)
    assert (strip == FOUND).all(axis=1).any()
    assert (strip < 60).all(axis=1).any(), "dark text"


@pytest.mark.slow
def test_lines_and_captions_grow_with_the_picture():
    small, large = gray(768, 1024), gray(768 * 4, 1024 * 4)
    box = (500, 300, 620, 450)
    large_box = tuple(4 * value for value in box)
    a = changed(small, draw_detections(small, found(small, box)))
    b = changed(large, draw_detections(large, found(large, large_box)))
    assert b[3] - large_box[3] == 13, "twelve pixels of line, one of rim"
    assert large_box[1] - b[1] > 3 * (box[1] - a[1])


def test_faces_at_the_border_are_drawn():
    image = gray(60, 80)
    drawn = draw_detections(image, found(image, (0, 0, 80, 60), (70, 50, 80, 60)))
    assert drawn.shape == image.shape
    assert (drawn != image).any()


# -- anonymize


def test_hidden_faces_change_strongly_and_nothing_else_changes():
    image = noise(200, 300)
    hidden = anonymize(image, boxes((100, 50, 160, 130)), margin=0.25)
    assert changed(image, hidden) == (85, 30, 175, 150)
    before = image[50:130, 100:160].astype(float)
    after = hidden[50:130, 100:160].astype(float)
    assert np.abs(before - after).mean() > 50
    assert after.std() < 0.2 * before.std(), "nothing of the detail is left"


def test_what_is_hidden_is_gone():
    """Any two faces with the same 6 x 6 mean colors become the same picture."""
    random = np.random.default_rng(1)
    one = noise(48, 48)
    cells = one.reshape(6, 8, 6, 8, 3).transpose(0, 2, 1, 3, 4).reshape(36, 64, 3)
    other = np.stack([random.permutation(cell) for cell in cells])
    other = other.reshape(6, 6, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(48, 48, 3)
    assert np.abs(one.astype(int) - other).mean() > 50
    whole = boxes((0, 0, 48, 48))
    difference = anonymize(one, whole).astype(int) - anonymize(other, whole)
    assert np.abs(difference).max() <= 2, "no more than rounding"


@pytest.mark.parametrize("side", [4, 8, 11, 15])
def test_a_tiny_face_becomes_one_color(side):
    image = noise()
    hidden = anonymize(image, boxes((20, 20, 20 + side, 20 + side)), margin=0)
    assert len(np.unique(hidden[20 : 20 + side, 20 : 20 + side].reshape(-1, 3), axis=0)) == 1


def test_a_face_at_the_border_and_overlapping_faces_are_hidden():
    image = noise(200, 300)
    rows = ((-5, -5, 40, 40), (20, 20, 80, 80), (280, 180, 300, 200))
    hidden = anonymize(image, boxes(*rows))
    assert hidden.shape == image.shape
    for x1, y1, x2, y2 in rows:
        region = np.s_[max(y1, 0) : y2, max(x1, 0) : x2]
        assert (hidden[region] != image[region]).any(axis=2).mean() > 0.98


def test_fractional_boxes_are_covered_whole():
    image = noise()
    hidden = anonymize(image, boxes((20.6, 30.7, 60.2, 70.1)), margin=0)
    assert changed(image, hidden) == (20, 30, 61, 71)


def test_without_faces_nothing_is_hidden():
    image = noise()
    hidden = anonymize(image, boxes())
    assert (hidden == image).all()
    assert hidden is not image


# -- contact_sheet


def test_a_sheet_holds_images_of_any_size():
    sheet = contact_sheet([gray(10, 500), gray(500, 10), gray(3, 3)], columns=2, cell=100)
    assert sheet.shape == (200, 200, 3)
    titled = contact_sheet([gray(50, 50)], cell=100, titles=["a face"])
    assert titled.shape == (122, 100, 3)
    assert (titled[:22] > 200).any(), "the title"
