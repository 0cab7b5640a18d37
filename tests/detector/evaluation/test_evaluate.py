"""`faces.evaluate` on what only Python can give; the command's tests are for the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import faces
from detector.config import TrainConfig
from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
from detector.inference.detect import FaceDetector
from detector.inference.metadata import Artifact
from detector.inference.resize import Resize
from detector.training_pictures import TrainingPictures
from detector.types import Detections
from tests.small_export import CONFIG, talkative_model, write_checkpoint

BOX = (10, 20, 50, 60)


class Here:
    """A detector that finds the face where it is, and is no file."""

    def detect(self, image):
        return Detections([BOX], [0.9], image.shape[:2])

    def detect_batch(self, images):
        return [self.detect(image) for image in images]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two photos, a face at the same place of each, in the folder where the test is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in "ab":
        Image.fromarray(np.full((80, 100, 3), 90, np.uint8)).save(tmp_path / f"photos/{name}.png")
        face = VocAnnotation(f"{name}.png", 100, 80, (VocObject("face", BOX),))
        write_voc(tmp_path / f"xml/{name}.xml", face)
    return {"image_path": "photos", "annotation_dir": "xml", "resamples": 100}


def test_a_detector_that_is_open(photos, tmp_path):
    seen = []

    def progress(items, what):
        seen.append((list(items), what))
        return items

    result = faces.evaluate(Here(), **photos, progress=progress)
    assert result.report["voc"]["ap50"] == pytest.approx(1)
    assert (result.report["source"], result.report["scale"]) == ("Here", "scale not stated")
    assert "trained_on" not in result.report
    assert seen == [(["a", "b"], "detecting")]
    assert repr(result) == "Evaluation(Here: AP50 1.0000, 2 images)"
    assert str(result).startswith("Here\n")
    written = result.save(tmp_path / "report")
    assert [path.name for path in written] == ["report.json", "curves.png"]
    assert json.loads(written[0].read_text(encoding="utf-8"))["voc"]["ap50"] == pytest.approx(1)


def test_an_open_detector_of_ours_is_evaluated_as_its_file(photos, caplog):
    """By its own classes and size, and with what is known of its training; not without low scores,
    which AP needs and by default are left out, in silence."""
    hats = replace(TrainConfig().data, classes=("face",))
    trained = TrainingPictures.of([Path("photos/a.png")])
    artifact = Artifact(TrainConfig(data=hats), pictures=trained.to_text())
    found = np.array([BOX], np.float32), np.array([0.9], np.float32)
    for threshold in (0.5, 0.005):
        detector = FaceDetector(
            lambda images: [found] * len(images), Resize("fit", 640), threshold, artifact=artifact
        )
        result = faces.evaluate(detector, **photos)
        assert result.report["trained_on"]["seen"] == 2  # they have the same pixels
        assert result.report["scale"] == "longest side 640 px"
        assert result.report["source"] == "FaceDetector"
        told = "leaves out scores below 0.5, so AP is lower than it would be: open it with"
        assert (told in caplog.text) == (threshold == 0.5)
        caplog.clear()
    objects = (VocObject("face", BOX), VocObject("hat", (60, 10, 90, 30)))
    write_voc(Path("xml/a.xml"), VocAnnotation("a.png", 100, 80, objects))
    assert faces.evaluate(detector, **photos).report["faces"] == 2


def test_it_refuses_before_anything_is_read(photos):
    with pytest.raises(faces.UserError, match="not both"):
        faces.evaluate(Here(), detections="theirs", **photos)
    with pytest.raises(faces.UserError, match='speed must be "normal" or "fast"'):
        faces.evaluate(Here(), speed="slow", **photos)


def test_faces_are_what_the_model_was_trained_with(photos, tmp_path):
    objects = (VocObject("face", BOX), VocObject("hat", (60, 10, 90, 30)))
    write_voc(tmp_path / "xml/a.xml", VocAnnotation("a.png", 100, 80, objects))
    for classes, wanted, faces_there in (("face",), (), 2), ((), (), 3), (("face",), ("hat",), 1):
        config = replace(CONFIG, data=replace(CONFIG.data, classes=classes))
        model = write_checkpoint(tmp_path / "model.pt", talkative_model(config), config)
        result = faces.evaluate(model, **photos, classes=wanted)
        assert result.report["faces"] == faces_there
