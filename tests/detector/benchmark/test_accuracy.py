"""AP of a contestant: pictures shrunk for it, boxes brought back, the official rules."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from detector.benchmark.pictures import average_precisions
from detector.benchmark.timing import ContestantFailed
from tests.detector.benchmark.fakes import Fake, WhiteBox
from tests.detector.evaluation.cases import faces


@pytest.fixture
def wider(tmp_path):
    """Two images with a white face each, in the easy and medium lists only, and their truth."""
    truth, files = [], {}
    for name, box in {"a/one": [100, 40, 300, 200], "a/two": [600, 100, 800, 380]}.items():
        pixels = np.zeros((400, 1024, 3), np.uint8)
        pixels[box[1] : box[3], box[0] : box[2]] = 255
        path = tmp_path / f"{name.replace('/', '-')}.png"
        Image.fromarray(pixels).save(path)
        truth.append(faces(name, [box], listed={"easy": [0], "medium": [0]}))
        files[name] = path
    return truth, files


@pytest.mark.parametrize("max_side", [0, 256])
def test_a_perfect_detector_at_any_size(max_side, wider):
    told = []
    aps = average_precisions(WhiteBox, *wider, max_side, progress=lambda: told.append(1))
    assert aps == {"easy": pytest.approx(1.0), "medium": pytest.approx(1.0), "hard": None}
    assert len(told) == 2


def test_one_that_finds_nothing(wider, tmp_path):
    aps = average_precisions(partial(Fake, "blind", tmp_path / "log"), *wider, 640)
    assert aps == {"easy": 0.0, "medium": 0.0, "hard": None}


def test_one_that_fails_says_so(wider, tmp_path):
    with pytest.raises(ContestantFailed, match="cannot see"):
        average_precisions(partial(Fake, "bad", tmp_path / "log", fails_at=2), *wider, 640)
