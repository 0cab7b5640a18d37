from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from recognizer.crop import TEMPLATE, CropRecipe, Kind, align_matrix, box_matrix, square, warp

ALIGNED = CropRecipe(112, 0.08, "aligned")


def picture(height: int = 200, width: int = 300) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    return image


def points_turned(degrees: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float32]:
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return (TEMPLATE @ turn.T * scale + shift).astype(np.float32)


def test_no_box_gives_no_crop() -> None:
    crops = ALIGNED(picture(), np.zeros((0, 4), np.float32))
    assert crops.shape == (0, 112, 112, 3)
    assert crops.dtype == np.uint8


def test_a_square_of_the_size_of_the_crop_is_cut_out_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    crop = CropRecipe(40, 0, "square")(image, np.array([[30, 20, 70, 60]], np.float32))
    np.testing.assert_array_equal(crop[0], image[20:60, 30:70])


def test_margin_widens_the_box_on_all_sides() -> None:
    image = picture(400, 400)
    crop = CropRecipe(100, 1.0, "square")(image, np.array([[150, 150, 250, 250]], np.float32))[0]
    expected = image[100:300, 100:300].reshape(100, 2, 100, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop, expected, atol=1)


def test_a_long_box_is_widened_or_stretched() -> None:
    image, box = picture(), np.array([[100, 50, 140, 130]], np.float32)
    wide = CropRecipe(80, 0, "square")(image, box)[0]
    np.testing.assert_array_equal(wide, image[50:130, 80:160])
    narrow = CropRecipe(80, 0, "stretched")(image, box)[0]
    np.testing.assert_allclose(narrow[:, 0].mean(), image[50:130, 100].mean(), atol=1)
    np.testing.assert_allclose(narrow[:, -1].mean(), image[50:130, 139].mean(), atol=1)


def test_outside_of_the_image_is_black() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    crop = CropRecipe(20, 0, "square")(image, np.array([[-10, 0, 10, 20]], np.float32))[0]
    assert (crop[:, :10] == 0).all()
    assert (crop[:, 10:] == 200).all()


@pytest.mark.parametrize("box", [[-500, -500, -400, -400], [5, 5, 5, 5], [9000, 9000, 9001, 9001]])
@pytest.mark.parametrize("kind", ["square", "stretched"])
def test_strange_boxes_give_a_crop(box: list[float], kind: Kind) -> None:
    crops = CropRecipe(16, 0, kind)(picture(), np.array([box], np.float32))
    assert crops.shape == (1, 16, 16, 3)


def test_a_large_face_is_averaged_not_sampled() -> None:
    """A checkerboard of single pixels becomes an even gray."""
    image = np.zeros((640, 640, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 255
    crop = CropRecipe(32, 0, "square")(image, np.array([[0, 0, 640, 640]], np.float32))[0]
    assert abs(crop.astype(int) - 127).max() <= 1


def test_shrinking_moves_nothing() -> None:
    image = picture(2000, 2000)
    crop = warp(image, box_matrix(np.array([400, 400, 1200, 1200]), 80, 0), 80)
    expected = image[400:1200, 400:1200].reshape(80, 10, 80, 10, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop, expected, atol=1)


@pytest.mark.parametrize("degrees", [0, 20, -35, 90])
def test_points_come_to_lie_on_the_template(degrees: float) -> None:
    points = points_turned(degrees, 2.5, (40, -7))
    matrix = align_matrix(points, 112)
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(moved, TEMPLATE, atol=1e-3)
    assert np.linalg.det(matrix[:, :2]) > 0  # never a mirror image


def test_points_that_fit_badly_are_brought_nearest() -> None:
    """The least squares: any other small turn, scale or shift is worse."""
    points = TEMPLATE + np.random.default_rng(0).normal(0, 3, (5, 2)).astype(np.float32)

    def error(matrix: NDArray[np.float64]) -> float:
        return float(((points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE) ** 2).sum())

    best = align_matrix(points, 112)
    for change in ([[1.01, 0], [0, 1.01]], [[1, -0.01], [0.01, 1]]):
        other = best.copy()
        other[:, :2] = change @ best[:, :2]
        other[:, 2] = change @ best[:, 2]
        assert error(other) > error(best)
    assert error(best + np.array([[0, 0, 0.1], [0, 0, 0]])) > error(best)


def test_alignment_uses_trusted_landmarks_and_the_box_otherwise() -> None:
    image, boxes = picture(), np.array([[60, 40, 160, 140], [60, 40, 160, 140]], np.float32)
    points = np.stack([points_turned(15, 0.8, (70, 30))] * 2)

    def find(_: object, xyxy: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
        assert len(xyxy) == 2
        return points, np.array([True, False])

    aligned, plain = ALIGNED(image, boxes, find)
    np.testing.assert_array_equal(aligned, warp(image, align_matrix(points[0], 112), 112))
    lifted = np.array([60, 40 - 0.08 * 108, 160, 140 - 0.08 * 108])
    np.testing.assert_array_equal(plain, warp(image, box_matrix(lifted, 112, 0.08), 112))


def test_the_same_input_gives_the_same_crop_and_stays_unchanged() -> None:
    image, box = picture(), np.array([[20, 20, 180, 150]], np.float32)
    copy, recipe = image.copy(), CropRecipe(112, 0.1, "square")
    np.testing.assert_array_equal(recipe(image, box), recipe(image, box))
    np.testing.assert_array_equal(image, copy)


def test_squares() -> None:
    boxes = np.array([[0, 0, 10, 20], [5, 5, 5, 5]], np.float32)
    assert square(boxes).tolist() == [[-5, 0, 15, 20], [4.5, 4.5, 5.5, 5.5]]


def test_recipes_differ_in_their_identity() -> None:
    recipes = [
        CropRecipe(112, 0.08, "aligned"), CropRecipe(112, 0.08, "square"),
        CropRecipe(160, 0.08, "aligned"), CropRecipe(112, 0.1, "aligned"),
    ]  # fmt: skip
    assert len({recipe.identity for recipe in recipes}) == 4
    assert recipes[0].identity == "crop1-aligned-112-0.08"


@pytest.mark.parametrize(
    ("image", "boxes", "message"),
    [
        (np.zeros((9, 9), np.uint8), np.zeros((1, 4)), "expected RGB uint8 (H, W, 3), got uint8"),
        (np.zeros((9, 9, 3)), np.zeros((1, 4)), "got float64"),
        (picture(), np.zeros(4), "expected finite boxes (N, 4), got (4,)"),
        (picture(), np.array([[0, 0, np.nan, 1]]), "expected finite boxes"),
        (picture(), np.array([[0, 0, 9, 9]]), "an aligned crop needs landmarks"),
    ],
)
def test_refusals(image: NDArray, boxes: NDArray, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ALIGNED(image, boxes)


@pytest.mark.parametrize("values", [(0, 0.0, "square"), (9, -0.1, "square"), (9, 0.0, "round")])
def test_recipes_that_cannot_be(values: tuple[int, float, Kind]) -> None:
    with pytest.raises(ValueError, match="no way to cut a face"):
        CropRecipe(*values)
