"""The demo's film: who is where, and that the truth is true."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from detector.data import portraits
from faces.boxes import iou
from faces.errors import UserError
from scripts.demo_parts.wall_film import SIZE, WallFilm


@pytest.fixture(scope="module")
def film() -> WallFilm:
    return WallFilm()


def test_people_come_and_go(film):
    """All at once in the middle, the first and the last alone at the ends."""
    first, second, third = film.names
    truths = [film.frame(i)[1] for i in (0, film.frames // 2, film.frames - 1)]
    assert [set(truth) for truth in truths] == [{first}, {first, second, third}, {third}]


def test_boxes_lie_in_the_picture(film):
    for index in range(0, film.frames, 13):
        image, truth = film.frame(index)
        assert image.shape == (SIZE[1], SIZE[0], 3)
        assert image.dtype == np.uint8
        for x1, y1, x2, y2 in truth.values():
            assert 0 <= x1 < x2 <= SIZE[0]
            assert 0 <= y1 < y2 <= SIZE[1]
            assert y2 - y1 > 40


@pytest.mark.slow
def test_nothing_beyond_the_wall_is_ever_seen(film, monkeypatch):
    """That would be black; the wall is made white here."""
    monkeypatch.setattr(film, "_wall", Image.new("RGB", film._wall.size, "white"))
    for index in range(0, film.frames, 3):
        assert film.frame(index)[0].min() > 250, index


def test_it_is_the_same_film_every_time(film):
    index = film.frames // 3
    image, truth = WallFilm().frame(index)
    assert np.array_equal(image, film.frame(index)[0])
    assert truth == film.frame(index)[1]


def test_the_detector_finds_whom_the_truth_names(film):
    from detector.inference.load import load_detector

    detector = load_detector("shipped", threads=1)
    image, truth = film.frame(film.frames // 2)
    found = detector.detect(image).above(0.7).xyxy.tolist()
    for name, box in truth.items():
        assert iou(found, [box]).max() > 0.5, name


def test_a_package_without_its_pictures_is_named(monkeypatch):
    import skimage.data

    def gone():
        raise OSError("gone")

    for name, open_picture in (("camera", portraits.bystander), ("brick", portraits.brick_wall)):
        monkeypatch.setattr(skimage.data, name, gone)
        with pytest.raises(UserError, match="install both packages again"):
            open_picture()
