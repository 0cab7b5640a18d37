"""The detector around any network: sizes, batches, order, empty results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detector.inference.detect import FaceDetector
from detector.inference.resize import Resize
from faces.errors import UserError


class BrightSpots:
    """A network that boxes the bright rectangle of each picture, and notes its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, batch: NDArray[np.uint8]) -> list[tuple[NDArray, NDArray]]:
        self.batches.append(batch.shape)
        results = []
        for picture in batch:
            rows, columns = np.nonzero((picture > 200).all(axis=2))
            if not len(rows):
                results.append((np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))
                continue
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes = np.array([box, [0, 0, 5, 5]], np.float32)
            results.append((boxes, np.array([0.9, 0.3], np.float32)))
        return results


def picture(height: int, width: int, box: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    image = np.zeros((height, width, 3), np.uint8)
    if box:
        x1, y1, x2, y2 = box
        image[y1:y2, x1:x2] = 255
    return image


def test_boxes_are_in_the_callers_pixels_in_the_callers_order() -> None:
    network = BrightSpots()
    detector = FaceDetector(network, Resize("fit", 320), score_threshold=0.5)
    images = [
        picture(400, 640, (100, 40, 180, 140)),
        picture(640, 400, (60, 400, 120, 480)),
        picture(200, 320, None),
        picture(400, 640, (20, 20, 60, 80)),
    ]
    results = detector.detect_batch(images)
    np.testing.assert_allclose(results[0].xyxy, [[100, 40, 180, 140]], atol=2)
    np.testing.assert_allclose(results[1].xyxy, [[60, 400, 120, 480]], atol=2)
    assert len(results[2]) == 0
    assert results[2].image_size == (200, 320)
    np.testing.assert_allclose(results[3].xyxy, [[20, 20, 60, 80]], atol=2)
    assert sorted(network.batches) == [(1, 320, 224, 3), (3, 224, 320, 3)]


def test_one_equals_many_and_batches_are_bounded() -> None:
    network = BrightSpots()
    detector = FaceDetector(network, Resize("fit", 64), batch_size=2)
    images = [picture(64, 64, (k, k, k + 20, k + 20)) for k in range(5)]
    many = detector.detect_batch(images)
    assert [shape[0] for shape in network.batches] == [2, 2, 1]
    for image, result in zip(images, many, strict=True):
        single = detector.detect(image)
        assert (single.xyxy == result.xyxy).all()
        assert (single.score == result.score).all()


def test_pictures_may_come_resized() -> None:
    network = BrightSpots()
    detector = FaceDetector(network, Resize("fit", 320), score_threshold=0.2)
    images = [picture(400, 640, (100, 40, 180, 140)), picture(640, 400, (60, 400, 120, 480))]
    mixed = detector.detect_batch([detector.resize(images[0]), images[1]])
    for result, expected in zip(mixed, detector.detect_batch(images), strict=True):
        assert result.image_size == expected.image_size
        assert (result.xyxy == expected.xyxy).all()


def test_threshold_and_nothing_at_all() -> None:
    detector = FaceDetector(BrightSpots(), Resize("fit", 64), score_threshold=0.2)
    assert len(detector.detect(picture(64, 64, (10, 10, 30, 30)))) == 2
    assert detector.detect_batch([]) == []


def test_whatever_shows_a_picture_is_looked_at(tmp_path: Path) -> None:
    """A path, a Pillow image and arrays of all kinds give the same boxes."""
    detector = FaceDetector(BrightSpots(), Resize("fit", 0))
    image = picture(96, 128, (20, 30, 60, 70))
    Image.fromarray(image).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(image).copy()).save(tmp_path / "turned.png", exif=exif)
    given = [
        image,
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
        tmp_path / "turned.png",
        Image.open(tmp_path / "a.png"),
        Image.open(tmp_path / "turned.png"),
        Image.fromarray(image).convert("L"),
        image[..., 0],
        image[..., :1],
        np.dstack([image, image[..., 0]]),
        image[::-1][::-1],
        image / 255,
        image.astype(np.uint16) * 257,
        image > 0,
        image.tolist(),
    ]
    for one in given:
        found = detector.detect(one)
        assert found.xyxy.tolist() == [[20, 30, 60, 70]]
        assert found.image_size == (96, 128)
    assert len(detector.detect_batch(given)) == len(given)
    for wrong in (np.moveaxis(image, -1, 0), None, np.zeros((0, 0, 3)), [image, image]):
        with pytest.raises(UserError):
            detector.detect(wrong)
    with pytest.raises(UserError, match=r"\[image\]"):
        detector.detect_batch(image)
