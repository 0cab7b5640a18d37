"""The worst errors, and that the pictures show them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from detector.draw import MISSED
from detector.evaluation.curves import voc_curve
from detector.evaluation.figures import COLUMNS, draw_curves, draw_errors, worst_errors
from detector.evaluation.matching import match
from tests.detector.evaluation.cases import faces, found

TRUTH = [
    faces("a", [[0, 0, 20, 20], [100, 0, 160, 70], [0, 100, 90, 190]], ignored=[2]),
    faces("b", [[10, 10, 40, 40]]),
]
DETECTIONS = {
    "a": found(
        [100, 0, 160, 60, 0.4],  # below the threshold
        [0, 100, 90, 190, 0.99],  # on the face to ignore
        [50, 50, 70, 70, 0.6],
    ),
    "b": found([10, 10, 40, 40, 0.9], [10, 10, 40, 38, 0.8], [12, 30, 40, 60, 0.95]),
}


def test_the_largest_misses_and_the_most_confident_false_positives():
    errors = worst_errors(match(TRUTH, DETECTIONS), 0.5)
    assert [(error.kind, error.image) for error in errors] == [
        ("missed", "a"),
        ("missed", "a"),
        ("false alarm", "b"),
        ("false alarm", "b"),
        ("false alarm", "a"),
    ]
    assert [error.title() for error in errors] == [
        "missed 70 px, best score 0.40",
        "missed 20 px, no detection",
        "false positive 0.95, overlap 0.19",
        "false positive 0.80, second on a face",
        "false positive 0.60, overlap 0.00",
    ]
    assert len(worst_errors(match(TRUTH, DETECTIONS), 0.5, count=1)) == 2


def test_the_sheet_shows_each_error_in_red(tmp_path):
    images = {}
    for name in ("a", "b"):
        images[name] = tmp_path / f"{name}.png"
        Image.new("RGB", (200, 200), (90, 90, 90)).save(images[name])
    matches = match(TRUTH, DETECTIONS)
    errors = worst_errors(matches, 0.5)
    assert draw_errors(tmp_path / "errors.png", errors, matches, images, 0.5)
    sheet = np.asarray(Image.open(tmp_path / "errors.png").convert("RGB"))
    side = sheet.shape[1] // min(COLUMNS, len(errors))
    red = (sheet == MISSED).all(2)
    for i in range(len(errors)):
        assert red[:, i * side : (i + 1) * side].sum() > 100

    # Only what has a picture is drawn, and without any there is no file.
    assert draw_errors(tmp_path / "one.png", errors, matches, {"b": images["b"]}, 0.5)
    assert Image.open(tmp_path / "one.png").width == 2 * side
    assert not draw_errors(tmp_path / "none.png", errors, matches, {}, 0.5)
    assert not (tmp_path / "none.png").exists()


def test_errors_at_the_edge_and_of_tiny_images_are_drawn(tmp_path):
    truth = [faces("a", [[0, 0, 2, 2], [18, 7, 20, 9], [0, 0, 20, 9]])]
    Image.new("RGB", (20, 9)).save(tmp_path / "a.png")
    matches = match(truth, {})
    images = {"a": tmp_path / "a.png"}
    assert draw_errors(tmp_path / "x.png", worst_errors(matches, 0.5), matches, images, 0.5)


def test_the_curves_are_a_picture(tmp_path):
    path = tmp_path / "out" / "curves.png"
    draw_curves(path, {"VOC": voc_curve(match(TRUTH, DETECTIONS))}, "model.onnx, 2 images")
    with_line = np.asarray(Image.open(path).convert("RGB"))
    assert with_line.shape[1] > 500
    # A set without a face has axes and no line.
    draw_curves(path, {"VOC": voc_curve(match([faces("a", [])], {}))}, "model.onnx, 2 images")
    assert (np.asarray(Image.open(path).convert("RGB")) != with_line).any()
