"""A kept picture gives every embedder the crop that it would have got from the photo."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from recognizer.crop import CropRecipe
from recognizer.store.face_picture import LONGEST, MAX_SIDE, FacePicture
from tests.fake_embedder import FakeEmbedder

PHOTO = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


def box(*corners: float) -> np.ndarray:
    return np.array(corners, np.float32)


@pytest.mark.parametrize(
    "face",
    [
        box(150.3, 100.7, 210.2, 180.9),
        box(0, 0, 60, 80),
        box(345, 230.5, 400, 300),
        box(10, 20, 12, 23),
        box(100, 20, 300, 270),
    ],
    ids=["middle", "corner", "other corner", "tiny", "large"],
)
@pytest.mark.parametrize(
    "recipe", [CropRecipe(112, 0.1, "square"), CropRecipe(160, 0.4, "stretched")]
)
def test_crops_of_the_cutout_are_those_of_the_photo(face, recipe):
    picture = FacePicture.of(PHOTO, face)
    again = FacePicture(picture.png, picture.box)
    expected = recipe(PHOTO, face[None])[0].astype(int)
    # One gray level: the warp rounds coordinates to 1/32 pixel, here and there differently.
    assert np.abs(recipe(again.image, again.box[None])[0] - expected).mean() < 1
    assert again.crop(FakeEmbedder()).shape == (32, 32, 3)


def test_a_large_face_is_shrunk_and_its_crop_is_nearly_the_same():
    smooth = np.asarray(Image.fromarray(PHOTO[:30, :40]).resize((1600, 1200)))
    face = box(200, 100, 1000, 1100)
    picture = FacePicture.of(smooth, face)
    assert max(picture.image.shape[:2]) <= MAX_SIDE
    assert max(picture.box[2:] - picture.box[:2]) == pytest.approx(LONGEST, abs=1)
    recipe = CropRecipe(112, 0.2, "square")
    difference = recipe(picture.image, picture.box[None]).astype(int) - recipe(smooth, face[None])
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("scale", [1, 6])
def test_an_aligned_crop_needs_no_points_to_be_found_again(scale):
    """Those of the photo go along; a large face is shrunk with them."""
    size = (400 * scale, 300 * scale)
    photo = np.asarray(Image.fromarray(PHOTO[:30, :40]).resize(size))
    points = scale * np.float32([[172, 130], [204, 138], [187, 150], [166, 162], [194, 170]])
    face = scale * box(150.3, 100.7, 220.2, 190.9)
    picture = FacePicture.of(photo, face, points)
    again = FacePicture.placed(picture.png, np.frombuffer(picture.place.tobytes(), np.float32))
    recipe = CropRecipe(112, 0.08, "aligned")

    def crop(image, box, landmarks):
        return recipe(image, box[None], lambda *_: (landmarks[None], np.array([True]))).astype(int)

    difference = crop(again.image, again.box, again.landmarks) - crop(photo, face, points)
    assert np.abs(difference).mean() < 1.5
    assert FacePicture.of(photo, face).landmarks is None
    points[2] = np.nan
    assert FacePicture.of(photo, face, points).landmarks is None
    with pytest.raises(ValueError, match="not 6 numbers"):
        FacePicture.placed(picture.png, picture.place[:6])


def test_a_box_at_the_edge_of_a_large_photo_stays_inside():
    for width in (1001, 1337, 1999):
        image = np.zeros((width, width, 3), np.uint8)
        picture = FacePicture.of(image, box(0.4, 0.6, width, width))
        assert picture.image.shape[0] <= MAX_SIDE  # which also looks at the box


def png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "face",
    [box(0, 0, 0, 5), box(0, 0, 5, 11), box(-1, 0, 5, 5), box(0, 0, 5, np.nan)],
    ids=["empty", "outside", "negative", "nan"],
)
def test_a_box_that_is_not_in_the_picture_is_refused(face):
    with pytest.raises(UserError, match="is not in its picture of 10x10"):
        FacePicture(png(10), face).image  # noqa: B018


def test_bytes_that_are_no_picture_are_refused():
    with pytest.raises(UserError, match="cannot read the image"):
        FacePicture(b"no picture", box(0, 0, 5, 5)).image  # noqa: B018
    with pytest.raises(UserError, match="more than the limit"):
        FacePicture(png(MAX_SIDE + 50), box(0, 0, 5, 5)).image  # noqa: B018
