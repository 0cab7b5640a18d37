"""Peers on real photos: their figures elsewhere say whether they are run as they should be.

YuNet's are those of tests/detector/evaluation/test_yunet.py.
"""

from __future__ import annotations

from functools import partial

import pytest

from detector.benchmark.peers import UltraLight
from detector.benchmark.pictures import MIN_SCORE, average_precisions
from detector.data.submission import image_name
from detector.evaluation import wider
from faces.images.find import find_images

pytestmark = [pytest.mark.data, pytest.mark.slow(12)]


@pytest.fixture(scope="module")
def photos(shared_data):
    """The truth and the files of the 250 validation images."""
    folder = shared_data / "widerface" / "WIDER_val" / "images"
    files = {image_name(path, folder): path for path in find_images(folder)}
    everything = wider.read_ground_truth(wider.find_ground_truth(shared_data / "widerface"))
    return wider.restrict(everything, files), files


@pytest.fixture(scope="module")
def peers(shared_data):
    return shared_data / "weights" / "peers"


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        # On all 3,226 images its authors have 0.787 / 0.698 / 0.438 and 0.855 / 0.822 / 0.579.
        ("version-RFB-320.onnx", 1, (0.793, 0.691, 0.440)),
        # The larger input takes longer: every fifth image. All give 0.852 / 0.811 / 0.596.
        ("version-RFB-640.onnx", 5, (0.924, 0.851, 0.609)),
    ],
)
def test_ultra_light_at_original_size(photos, peers, name, step, expected):
    truth, files = photos
    peer = partial(UltraLight, peers / name, 1, MIN_SCORE)
    found = average_precisions(peer, truth[::step], files, 0)
    assert tuple(found.values()) == pytest.approx(expected, abs=0.003)
