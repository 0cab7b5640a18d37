"""Photos that teach a head, calibrate or judge are cut as those that enroll."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from detector.inference.load import load_detector
from pipeline.enroll.photo_faces import crop_photos, face_finder
from pipeline.enroll.photos import sample_of
from recognizer.embedders.load import load_embedder
from recognizer.quality import Gates


@pytest.mark.parametrize("gates", [None, Gates()])
def test_a_face_is_aligned_by_the_detectors_points_as_where_it_is_enrolled(tmp_path, gates):
    path = tmp_path / "a.png"
    Image.fromarray(astronaut()).save(path)
    detector, embedder = load_detector(threads=1), load_embedder("mini", threads=1)
    enrolled = sample_of(astronaut(), detector, embedder, gates, False, False, "a.png")
    find, words = face_finder("detect", None, 1, gates)
    [crop], usable, _ = crop_photos([path], embedder, find, words, None)
    assert usable.tolist() == [True]
    assert np.array_equal(embedder.embed(crop[None])[0], enrolled.embedding)
    by_box = embedder.crop(astronaut(), find(astronaut()).xyxy)
    assert not np.array_equal(crop, by_box[0]), "it would be no test"
