"""facenet-pytorch's MTCNN as a detector."""

from __future__ import annotations

import numpy as np
import pytest

from detector.data.portraits import PORTRAIT_FACES, portraits
from detector.inference.mtcnn import MtcnnDetector
from faces.boxes import iou


@pytest.fixture(scope="module")
def detector() -> MtcnnDetector:
    return MtcnnDetector(max_side=256, score_threshold=0.9)


def test_it_finds_a_face_where_it_is(detector):
    photo = portraits()["eileen_collins"]
    [found] = detector.detect_batch([photo])
    assert len(found) == 1
    assert found.image_size == (512, 512)
    assert iou(found.xyxy[:1], [PORTRAIT_FACES["eileen_collins"]])[0, 0] > 0.5
    assert found.score[0] > 0.9


@pytest.mark.parametrize("size", [(120, 160), (10, 300), (1, 1)])
def test_no_face_is_an_empty_result(detector, size):
    found = detector.detect(np.full((*size, 3), 90, np.uint8))
    assert (len(found), found.image_size) == (0, size)
