"""A published detector on real images, evaluated as its figures elsewhere say."""

from __future__ import annotations

import numpy as np
import pytest

from detector.benchmark.peers import YuNet
from detector.benchmark.pictures import MIN_SCORE
from detector.data.submission import image_name, read_submission, scored_boxes, write_submission
from detector.evaluation import wider
from detector.inference.resize import Resize
from detector.types import Detections
from faces.images.find import find_images
from faces.images.read import image_size, read_image
from tests.detector.evaluation.slow import wider_ap


@pytest.fixture(scope="module")
def evaluated(shared_data, tmp_path_factory):
    """Truth, detections straight from the detector, and the folder they were written to."""
    folder = shared_data / "widerface" / "WIDER_val" / "images"
    detector = YuNet(shared_data / "weights" / "peers" / "yunet_n_dynamic.onnx", 1, MIN_SCORE)
    resize = Resize("fit", 640, multiple=1)
    out = tmp_path_factory.mktemp("yunet")
    detections = {}
    for path in find_images(folder):
        name = image_name(path, folder)
        resized = resize(read_image(path))
        found = detector.detect(resized.pixels)
        boxes = resized.boxes_back(found.xyxy)
        result = Detections.from_raw(boxes, found.score, image_size(path))
        write_submission(out, name, result)
        detections[name] = scored_boxes(result)
    everything = wider.read_ground_truth(wider.find_ground_truth(shared_data / "widerface"))
    return wider.restrict(everything, detections), detections, out


@pytest.mark.data
def test_the_ap_is_that_measured_on_comparable_images(evaluated):
    truth, detections, _ = evaluated
    aps = {name: result.ap for name, result in wider.evaluate(truth, detections).items()}
    # 0.898 / 0.879 / 0.723 on 976 other images of the split, at the same scale.
    assert len(truth) == 250
    assert aps["easy"] == pytest.approx(0.898, abs=0.025)
    assert aps["medium"] == pytest.approx(0.879, abs=0.035)
    assert aps["hard"] == pytest.approx(0.723, abs=0.035)
    # What the widely used Python port of the official tool says of these detections. It agrees to
    # 1e-15; the tolerance is for another processor's last digits in the network.
    assert list(aps.values()) == pytest.approx([0.8975158, 0.8558957, 0.7048856], abs=2e-3)


@pytest.mark.data
def test_the_written_folder_gives_the_same_ap(evaluated):
    truth, detections, folder = evaluated
    read = {name: read_submission(folder / f"{name}.txt") for name in detections}
    for one, two in zip(
        wider.evaluate(truth, detections).values(),
        wider.evaluate(truth, read).values(),
        strict=True,
    ):
        assert one.ap == pytest.approx(two.ap, abs=5e-5)


@pytest.mark.data
def test_the_slow_implementation_agrees_on_real_detections(evaluated):
    truth, detections, _ = evaluated
    some = truth[::10]
    part = {image.name: detections[image.name][:60] for image in some}
    for setting, result in wider.evaluate(some, part).items():
        assert result.ap == pytest.approx(wider_ap(some, part, setting), abs=1e-9)


@pytest.mark.data
def test_rescaled_copies_of_the_images_are_noticed(shared_data):
    # The training images here come from the validation split, shrunk: the names fit, not the size.
    folder = shared_data / "widerface" / "WIDER_train" / "images"
    sizes = {image_name(p, folder): image_size(p) for p in find_images(folder)[:50]}
    everything = wider.read_ground_truth(wider.find_ground_truth(shared_data / "widerface"))
    with pytest.raises(wider.UserError, match="do not have the published size"):
        wider.check_sizes(wider.restrict(everything, sizes), sizes)
    assert np.median([width for _, width in sizes.values()]) < wider.WIDTH
