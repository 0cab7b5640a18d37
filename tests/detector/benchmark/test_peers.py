"""Other people's detectors: what goes into them, what comes out, and the real ones on a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.benchmark import peers
from detector.benchmark.peers import Scrfd, Torchvision, UltraLight, YuNet, suppressed
from detector.data.portraits import portraits
from detector.inference.mtcnn import MtcnnDetector
from tests.conftest import ROOT

GRAY = np.full((40, 60, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("boxes", "scores", "iou", "kept"),
    [
        ([], [], 0.5, []),
        ([[0, 0, 10, 10]], [0.3], 0.5, [0]),
        # Overlap 1/3: dropped below that only; the better one comes second here.
        ([[0, 0, 10, 10], [5, 0, 15, 10]], [0.3, 0.9], 0.3, [1]),
        ([[0, 0, 10, 10], [5, 0, 15, 10]], [0.3, 0.9], 0.34, [1, 0]),
        # The middle one is gone, so what it alone would have dropped stays.
        ([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], [0.9, 0.8, 0.7], 0.3, [0, 2]),
    ],
)
def test_suppression(boxes, scores, iou, kept):
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    result = suppressed(xyxy, np.array(scores, np.float32), iou, (20, 30))
    np.testing.assert_allclose(result.score, np.array(scores, np.float32)[kept])
    np.testing.assert_allclose(result.xyxy, xyxy[kept])


def test_suppression_clips_to_the_image_afterwards():
    boxes = np.array([[-5, -5, 10, 10], [40, 0, 50, 10]], np.float32)
    result = suppressed(boxes, np.array([0.9, 0.8], np.float32), 0.5, (20, 30))
    assert result.xyxy.tolist() == [[0, 0, 10, 10]]


class FakeSession:
    """Gives fixed outputs and keeps what it was given."""

    def __init__(self, outputs, shape=(1, 3, "height", "width")):
        self.outputs = outputs
        self.shape = shape

    def get_inputs(self):
        class Input:
            name = "input"
            shape = self.shape

        return [Input]

    def run(self, names, feed):
        [(name, self.given)] = feed.items()
        assert name == "input"
        return [self.outputs[name] for name in names]


def yunet_outputs(rows, columns):
    outputs = {}
    for s in peers.YUNET_STRIDES:
        cells = (rows // s) * (columns // s)
        for kind, size in (("cls", 1), ("obj", 1), ("bbox", 4)):
            outputs[f"{kind}_{s}"] = np.zeros((1, cells, size), np.float32)
    return outputs


def test_yunet_sees_padded_bgr(monkeypatch):
    session = FakeSession(yunet_outputs(64, 64))
    monkeypatch.setattr(peers, "onnx_session", lambda path, threads: session)
    image = GRAY.copy()
    image[10, 20] = (1, 2, 3)
    assert len(YuNet("yunet.onnx", threads=1, min_score=0.5).detect(image)) == 0
    assert session.given.shape == (1, 3, 64, 64)
    assert session.given.dtype == np.float32
    assert session.given[0, :, 10, 20].tolist() == [3, 2, 1]
    assert session.given[0, :, 0, 0].tolist() == [90, 90, 90]
    assert session.given[0, :, 40:].max() == 0
    assert session.given[0, :, :, 60:].max() == 0


def test_yunet_decodes_its_cells(monkeypatch):
    outputs = yunet_outputs(64, 96)
    cell = 3 * (96 // 8) + 2  # stride 8, row 3, column 2
    outputs["cls_8"][0, cell] = 0.9
    outputs["obj_8"][0, cell] = 0.4
    outputs["bbox_8"][0, cell] = [0.5, -0.25, np.log(2), np.log(3)]
    outputs["cls_32"][0, 2] = outputs["obj_32"][0, 2] = 1.5  # beyond 1: counts as 1
    monkeypatch.setattr(peers, "onnx_session", lambda path, threads: FakeSession(outputs))
    image = np.zeros((64, 96, 3), np.uint8)
    found = YuNet("yunet.onnx", threads=1, min_score=0.5).detect(image)
    assert found.score.tolist() == pytest.approx([1.0, 0.6])
    # Center (2.5, 2.75) * 8, 16 wide and 24 high.
    assert found.xyxy[1].tolist() == pytest.approx([12, 10, 28, 34], abs=1e-4)
    assert found.xyxy[0].tolist() == pytest.approx([48, 0, 80, 16])  # clipped at the top
    assert len(YuNet("yunet.onnx", threads=1, min_score=0.7).detect(image)) == 1


def test_yunet_gives_its_points(monkeypatch):
    outputs = yunet_outputs(64, 96)
    for s in peers.YUNET_STRIDES:
        outputs[f"kps_{s}"] = np.zeros((1, outputs[f"cls_{s}"].shape[1], 10), np.float32)
    cell = 3 * (96 // 8) + 2
    outputs["cls_8"][0, cell] = outputs["obj_8"][0, cell] = 0.9
    outputs["kps_8"][0, cell] = np.arange(10) / 2
    monkeypatch.setattr(peers, "onnx_session", lambda path, threads: FakeSession(outputs))
    found = YuNet("yunet.onnx", 1, 0.5, points=True).detect(np.zeros((64, 96, 3), np.uint8))
    assert found.landmarks[0].tolist() == [[16 + 8 * k, 24 + 4 + 8 * k] for k in range(5)]


class Scrfd9(FakeSession):
    """Outputs in an order of their own, as in files whose names are numbers."""

    def run(self, names, feed):
        [(_, self.given)] = feed.items()
        assert names is None
        return self.outputs


@pytest.mark.parametrize("batch", [(), (1,)])
def test_scrfd_decodes_two_anchors_a_cell(monkeypatch, batch):
    counts = [2 * (64 // s) * (96 // s) for s in (8, 16, 32)]
    outputs = [np.zeros((*batch, n, width), np.float32) for width in (10, 1, 4) for n in counts]
    anchor = 2 * (3 * (96 // 8) + 2) + 1  # stride 8, row 3, column 2, the second one
    outputs[3][..., anchor, 0] = 0.9
    outputs[6][..., anchor, :] = [1, 0.5, 2, 3]
    outputs[5][..., 0, 0] = 0.6
    outputs[8][..., 0, :] = [0, 0, 1, 1]
    session = Scrfd9(outputs)
    monkeypatch.setattr(peers, "onnx_session", lambda path, threads: session)
    image = np.full((60, 90, 3), (255, 0, 127), np.uint8)
    found = Scrfd("scrfd.onnx", threads=1, min_score=0.5).detect(image)
    assert found.score.tolist() == pytest.approx([0.9, 0.6])
    assert found.xyxy.tolist() == [[8, 20, 32, 48], [0, 0, 32, 32]]
    assert session.given.shape == (1, 3, 64, 96)
    assert session.given.dtype == np.float32
    assert session.given[0, :, 0, 0].tolist() == [127.5 / 128, -127.5 / 128, -0.5 / 128]
    assert (session.given[0, :, 60:] == -127.5 / 128).all()
    assert len(Scrfd("scrfd.onnx", threads=1, min_score=0.7).detect(image)) == 1


def test_a_picture_that_does_not_fit_into_a_fixed_size_is_shrunk(monkeypatch):
    counts = [2 * (64 // s) * (96 // s) for s in (8, 16, 32)]
    outputs = [np.zeros((n, width), np.float32) for width in (1, 4) for n in counts]
    outputs[2][0], outputs[5][0] = 0.9, [0, 0, 1, 1]
    session = Scrfd9(outputs, shape=(1, 3, 64, 96))
    monkeypatch.setattr(peers, "onnx_session", lambda path, threads: session)
    for size, box in (((64, 96), 32), ((128, 100), 64)):
        found = Scrfd("scrfd.onnx", 1, 0.5).detect(np.zeros((*size, 3), np.uint8))
        assert found.xyxy.tolist() == [[0, 0, box, box]]
        assert session.given.shape == (1, 3, 64, 96)


def test_ultra_light_squeezes_and_scales(monkeypatch):
    scores = np.array([[[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]]], np.float32)
    boxes = np.array(
        [[[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6], [0.1, 0.2, 0.5, 0.65], [0.6, 0.6, 0.9, 0.8]]],
        np.float32,
    )
    session = FakeSession({"scores": scores, "boxes": boxes}, shape=(1, 3, 24, 32))
    monkeypatch.setattr(peers, "onnx_session", lambda path, threads: session)
    image = np.zeros((100, 200, 3), np.uint8)
    image[..., 0] = 255
    result = UltraLight("rfb.onnx", threads=1, min_score=0.5).detect(image)
    assert session.given.shape == (1, 3, 24, 32)
    assert session.given.dtype == np.float32
    np.testing.assert_allclose(session.given[0, 0], 1.0)  # red first
    np.testing.assert_allclose(session.given[0, 1:], -127 / 128)
    assert result.score.tolist() == pytest.approx([0.9, 0.6])
    np.testing.assert_allclose(result.xyxy, [[20, 20, 100, 65], [120, 60, 180, 80]], rtol=1e-5)


def test_ultra_light_looks_at_its_best_boxes_only(monkeypatch):
    """Thousands of low scores must not take seconds."""
    count = peers.ULTRA_LIGHT_CANDIDATES
    places = np.random.default_rng(0).uniform(0, 0.9, (3 * count, 2)).astype(np.float32)
    boxes = np.hstack([places, places + 0.0001])[None]  # they hardly ever overlap
    score = np.linspace(0.9, 0.1, 3 * count, dtype=np.float32)
    scores = np.stack([1 - score, score], axis=1)[None]
    session = FakeSession({"scores": scores, "boxes": boxes}, [1, 3, 24, 32])
    monkeypatch.setattr(peers, "onnx_session", lambda path, threads: session)
    found = UltraLight("rfb.onnx", 1, 0.02).detect(np.zeros((1000, 1000, 3), np.uint8))
    assert len(found) == pytest.approx(count, abs=5)
    assert found.score[-1] >= score[count - 1]


@pytest.fixture(scope="module")
def mtcnn():
    return MtcnnDetector()


def test_mtcnn_finds_the_face_of_a_portrait(mtcnn):
    portrait = portraits()["eileen_collins"]
    result = mtcnn.detect(portrait)
    assert result.image_size == portrait.shape[:2]
    assert result.score[0] > 0.99
    x1, y1, x2, y2 = result.xyxy[0]
    assert x1 < 225 < x2  # between her eyes
    assert y1 < 120 < y2
    assert 70 < x2 - x1 < 130
    [again] = mtcnn.detect_batch([portrait])
    np.testing.assert_array_equal(again.xyxy, result.xyxy)


@pytest.mark.parametrize("size", [(1, 1), (19, 300), (20, 20), (64, 64)])
def test_mtcnn_without_a_face_is_empty(size, mtcnn):
    assert len(mtcnn.detect(np.zeros((*size, 3), np.uint8))) == 0


@pytest.mark.slow
def test_torchvision_is_the_same_each_time_and_leaves_the_random_state_alone():
    import torch

    before = torch.random.get_rng_state()
    one, two = Torchvision(threads=1), Torchvision(threads=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    np.testing.assert_array_equal(one.detect(picture).xyxy, two.detect(picture).xyxy)


@pytest.mark.slow
def test_the_backbone_runs_at_any_padded_size(keep):
    """The file is made once and kept until its maker changes."""
    sources = (Path(peers.__file__), ROOT / "constraints.txt")
    folder = keep("backbone", sources, lambda to: peers.export_backbone(to / "backbone.onnx"))
    path = folder / "backbone.onnx"
    backbone = peers.Backbone(path, threads=1)
    [given] = backbone.session.get_inputs()
    assert given.shape[:2] == [1, 3]
    for size in [(33, 65), (64, 64), (31, 20)]:
        assert len(backbone.detect(np.zeros((*size, 3), np.uint8))) == 0
    features = backbone.session.run(None, {"pixels": np.ones((1, 3, 64, 96), np.float32)})[0]
    assert features.shape == (1, 320, 2, 3)
