"""Who has the detector's points asks no other network for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from detector.types import Detections
from pipeline.analyzer import FaceAnalyzer
from pipeline.enroll.photos import sample_of
from pipeline.live.area import Area
from pipeline.live.tasks import FaceNetworks
from pipeline.service.handlers.faces import _images
from pipeline.types import Look, Picture, Sighting
from recognizer.crop import CropRecipe, align_matrix, warp
from recognizer.embedders.embedder import FaceEmbedder
from recognizer.landmarks import found_before
from tests.detector.training.test_points import ASTRONAUT, FACE

POINTS = np.array([ASTRONAUT], np.float32)
FOUND = Detections([FACE], [0.9], (512, 512), POINTS)
WITHOUT = Detections([FACE], [0.9], (512, 512))


class Finds:
    """A detector that finds what it was told."""

    def __init__(self, found: Detections) -> None:
        self.found = found

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        return self.found

    def detect_batch(self, images: Any) -> list[Detections]:
        return [self.found for _ in images]


@pytest.fixture
def asked() -> list[int]:
    """How many faces O-Net was asked for."""
    return []


@pytest.fixture
def embedder(asked: list[int]) -> FaceEmbedder:
    """Its vector is the crop, so that both can be compared."""

    def onet(image: Any, xyxy: Any) -> Any:
        asked.append(len(xyxy))
        return POINTS[: len(xyxy)], np.ones(len(xyxy), bool)

    def network(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return crops.reshape(len(crops), -1).astype(np.float32) + 1

    return FaceEmbedder(network, CropRecipe(16, 0.0, "aligned"), "plain", 768, onet)


def expected(embedder: FaceEmbedder) -> NDArray[np.float32]:
    crop = warp(astronaut(), align_matrix(POINTS[0], 16), 16)
    return embedder.embed(crop[None])[0]


def test_the_analyzer_aligns_by_the_detectors_points(
    embedder: FaceEmbedder, asked: list[int]
) -> None:
    [face] = FaceAnalyzer(Finds(FOUND), embedder).analyze(astronaut())
    np.testing.assert_array_equal(face.embedding, expected(embedder))
    np.testing.assert_array_equal(face.landmarks, POINTS[0])
    assert asked == []
    [face] = FaceAnalyzer(Finds(WITHOUT), embedder).analyze(astronaut())
    assert face.landmarks is None
    assert asked == [1]


def test_enrolling_and_the_live_loop_align_by_them_too(
    embedder: FaceEmbedder, asked: list[int]
) -> None:
    two = Detections(
        [FACE, (10, 10, 50, 50)], [0.9, 0.8], (512, 512), np.concatenate([POINTS, POINTS + 9])
    )
    for found in (FOUND, two):
        sample = sample_of(astronaut(), Finds(found), embedder, None, True, False, "a.png")
        np.testing.assert_array_equal(sample.embedding, expected(embedder))
    networks = FaceNetworks(Finds(FOUND), embedder, Area(min_face=20))
    picture = Picture(0, 0.0, astronaut(), 0.0)
    seen = networks.see(picture)
    sighting = Sighting(FACE, 0.9, 1, 100.0, 1.0, landmarks=seen.detections.landmarks[0])
    done = networks.embed(Look(picture, (sighting,)), (0,))
    np.testing.assert_array_equal(done.vectors[0], expected(embedder))
    assert asked == []
    networks.embed(Look(picture, (Sighting(FACE, 0.9, 1, 100.0, 1.0),)), (0,))
    assert asked == [1]


def test_a_kept_picture_gives_the_vector_that_was_enrolled(
    embedder: FaceEmbedder, asked: list[int]
) -> None:
    """`faces people reembed` asks O-Net only for faces without points."""
    enrolled = sample_of(astronaut(), Finds(FOUND), embedder, None, True, True, "a.png")
    assert enrolled.picture is not None
    again = embedder.embed(enrolled.picture.crop(embedder)[None])[0]
    assert float(again @ enrolled.embedding) > 0.9999
    assert asked == []
    without = sample_of(astronaut(), Finds(WITHOUT), embedder, None, True, True, "a.png")
    assert without.picture is not None
    assert without.picture.landmarks is None


def test_points_that_are_no_face_are_not_trusted(embedder: FaceEmbedder) -> None:
    """A face upside down: the box decides, as for O-Net."""
    assert found_before(POINTS)(astronaut(), np.array([FACE]))[1].tolist() == [True]
    upside_down = POINTS[:, [4, 3, 2, 1, 0]]
    assert found_before(upside_down)(astronaut(), np.array([FACE]))[1].tolist() == [False]
    box = np.array([FACE], np.float32)
    crop = embedder.crop(astronaut(), box, upside_down)
    assert (crop != embedder.crop(astronaut(), box, POINTS)).any()


def test_the_service_tells_them() -> None:
    [[face]] = [image["faces"] for image in _images([FOUND], [[None]])]
    assert face["landmarks"][0] == (203.4, 102.5)
    assert len(face["landmarks"]) == 5
    [[face]] = [image["faces"] for image in _images([WITHOUT], [[None]])]
    assert face["landmarks"] is None
