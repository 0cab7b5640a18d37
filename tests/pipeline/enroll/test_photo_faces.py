"""Photos that teach a head, calibrate or judge are cut as those that enroll."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage.data import astronaut

from detector.inference.load import load_detector
from pipeline.enroll.photo_faces import crop_photos, face_finder
from pipeline.enroll.photos import Enroller, sample_of
from recognizer.embedders.load import load_embedder
from recognizer.quality import Gates
from recognizer.store.people import Store


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


def test_a_blank_photo_is_refused_and_force_is_no_remedy(tmp_path):
    """In the photo it passes for one that is out of focus on purpose: only its vector tells."""
    blurred = Image.fromarray(astronaut()).filter(ImageFilter.GaussianBlur(7))
    blurred.save(tmp_path / "a.png")
    detector, embedder = load_detector(threads=1), load_embedder("mini", threads=1)
    gates = Gates(min_sharpness=0)
    with Store.open(tmp_path / "p.db", embedder.fingerprint, embedder.dimension) as store:
        for force in (False, True):
            enroller = Enroller(store, detector, embedder, gates, force=force)
            [result] = enroller.enroll("Ann", [tmp_path / "a.png"])
            assert not result.enrolled
            assert result.refusals[0].startswith("blank: ")
            assert not result.another, "--force would be advised"
        loose = Enroller(store, detector, embedder, Gates(min_sharpness=0, max_blank=9))
        [result] = loose.enroll("Ann", [tmp_path / "a.png"])
        assert result.enrolled
