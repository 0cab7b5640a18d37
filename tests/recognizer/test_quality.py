"""Each gate refuses what it is for, with the measured value and the limit, and nothing else."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from faces.images.read import read_image
from recognizer.quality import Gates, measure
from recognizer.types import unit

BOX = np.array([60, 50, 160, 170], np.float32)


def photo() -> np.ndarray:
    """Blobs of every size, as a face has them: sharp, of middle brightness and contrast."""
    random = np.random.default_rng(0)
    image = np.zeros((220, 220, 3), np.float32)
    for cells in (4, 10, 28, 110):
        noise = random.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (220, 220), interpolation=cv2.INTER_CUBIC)
    return np.clip(125 + 22 * image, 0, 255).astype(np.uint8)


GOOD = photo()


def refusals(image: np.ndarray, box: np.ndarray = BOX, gates: Gates | None = None) -> list[str]:
    return (gates or Gates()).refusals(measure(image, box))


def test_a_good_face_passes_every_gate():
    assert refusals(GOOD) == []


@pytest.mark.parametrize(
    ("gate", "values", "image", "box"),
    [
        ("size", r"35 px, at least 40", GOOD, np.array([60, 50, 90, 85], np.float32)),
        ("blur", r"sharpness 0\.00\d\d, at least 0\.004", cv2.GaussianBlur(GOOD, (0, 0), 5), BOX),
        ("exposure", r"too dark.*brightness \d+ of 255, at least", GOOD // 8, BOX),
        ("exposure", r"too bright.*brightness 2\d\d", 255 - GOOD // 9, BOX),
        ("exposure", r"contrast [0-7]\.\d, at least 8", 110 + GOOD // 16, BOX),
        ("edge", r"0\.0% .* left edge, at least 1\.0%", GOOD, np.float32([0, 50, 100, 170])),
        ("edge", r"upper edge", GOOD, np.float32([60, 0.5, 160, 120])),
        ("edge", r"right edge", GOOD, np.float32([120, 50, 220, 170])),
        ("edge", r"lower edge", GOOD, np.float32([60, 100, 160, 220])),
    ],
)
def test_each_gate_refuses_with_value_and_limit(gate, values, image, box):
    found = refusals(image, box)  # what is dark has little contrast, too
    assert {sentence.split(":")[0] for sentence in found} == {gate}
    assert any(re.search(values, sentence) for sentence in found), found


def test_everything_that_is_wrong_is_said_at_once():
    found = refusals(GOOD // 10, np.array([0, 50, 20, 75], np.float32))
    assert [sentence.split(":")[0] for sentence in found] == [
        "size",
        "exposure",
        "exposure",
        "edge",
    ]


def test_sharpness_depends_neither_on_brightness_nor_on_contrast_nor_on_resolution():
    value = measure(GOOD, BOX).sharpness
    assert measure((GOOD * 0.5).astype(np.uint8), BOX).sharpness == pytest.approx(value, rel=0.1)
    flat = (110 + (GOOD - 125.0) * 0.5).astype(np.uint8)
    assert measure(flat, BOX).sharpness == pytest.approx(value, rel=0.1)
    large = cv2.resize(GOOD, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert measure(large, BOX * 4).sharpness == pytest.approx(value, rel=0.25)


@pytest.mark.parametrize("direction", ["across", "down", "falling", "rising"])
def test_motion_blur_is_seen_in_every_direction(direction):
    length = 19
    kernel = np.zeros((length, length), np.float32)
    if direction in ("across", "down"):
        kernel[length // 2] = 1 / length
        kernel = kernel if direction == "across" else kernel.T
    else:
        kernel = np.eye(length, dtype=np.float32) / length
        kernel = kernel if direction == "falling" else kernel[::-1]
    moved = cv2.filter2D(GOOD, -1, kernel)
    assert measure(moved, BOX).sharpness < 0.3 * measure(GOOD, BOX).sharpness


def test_noise_on_one_gray_is_not_sharpness():
    gray = np.full((220, 220, 3), 120, np.uint8)
    assert measure(gray, BOX).sharpness < 0.001


def test_limits_can_be_changed():
    small = np.array([60, 50, 90, 85], np.float32)
    assert refusals(GOOD, small, Gates(min_size=30)) == []


def test_near_duplicates():
    gates = Gates()
    known = unit(np.random.default_rng(0).normal(size=(4, 32)))
    assert gates.duplicate(known[0], known[:0]) is None
    assert gates.duplicate(unit(known[0] + known[1]), known) is None
    sentence = gates.duplicate(unit(known[2] + 0.001 * known[1]), known)
    assert sentence is not None
    assert "near-duplicate" in sentence
    assert "1.000, at most 0.97" in sentence


@pytest.mark.data
def test_the_faces_of_lfw_pass(shared_data):
    """The gates were chosen so; the box is where LFW's face is."""
    from recognizer.data.photos import center_box

    photos = sorted((shared_data / "lfw" / "images").glob("*/*.jpg"))[::45]
    found = []
    for path in photos:
        image = read_image(path)
        found += refusals(image, center_box(image)[0])
    assert len(photos) > 90
    assert len(found) <= 0.03 * len(photos), found


def test_a_box_at_the_edge_is_no_face_that_is_cut_off():
    """By the five points: a detector's box ends where the photo does."""
    image = np.random.default_rng(0).integers(60, 200, (150, 150, 3), np.uint8)
    box = np.array([30, 20, 130, 150], np.float32)
    points = np.array([[60, 70], [100, 70], [80, 95], [65, 120], [95, 120]], np.float32)
    assert [text[:5] for text in Gates().refusals(measure(image, box))] == ["edge:"]
    assert Gates().refusals(measure(image, box, points)) == []
    lower = points + np.array([0, 20], np.float32)  # the chin is missing, and some of the mouth
    assert [text[:5] for text in Gates().refusals(measure(image, box, lower))] == ["edge:"]
    left = points - np.array([50, 0], np.float32)
    aside = box - np.array([30, 0, 30, 0], np.float32)
    assert [text[:5] for text in Gates().refusals(measure(image, aside, left))] == ["edge:"]
    assert measure(image, aside, left).edge == 0
    unknown = np.full((5, 2), np.nan, np.float32)
    assert measure(image, box, unknown) == measure(image, box)
