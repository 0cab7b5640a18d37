"""The network as a function of tensors gives what torchvision's own evaluation gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detector.config import DataConfig, TrainConfig, preset
from detector.export import dense
from detector.export.graph import FaceGraph
from detector.export.parity import check, draw_crowd, make_cases
from detector.export.publish import run_checkpoint
from detector.model import FaceRCNN, build_model
from tests.small_export import talkative_model


@pytest.fixture(scope="module")
def model() -> FaceRCNN:
    return talkative_model()


def graph_run(model: FaceRCNN, grouped: bool = False):  # type: ignore[no-untyped-def]
    graph = FaceGraph(model, grouped).eval()

    @torch.no_grad()
    def run(images, score_threshold):  # type: ignore[no-untyped-def]
        boxes, scores, image = graph(torch.from_numpy(images), score_threshold, None)
        return [(boxes[image == i].numpy(), scores[image == i].numpy()) for i in range(len(images))]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_it_gives_what_torchvision_gives(
    model: FaceRCNN, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "GROUP", 4)  # the network is narrow
    outcomes = check(run_checkpoint(model), graph_run(model, grouped), make_cases(), 0.4, 750)
    assert [outcome.case for outcome in outcomes if not outcome.passed] == []
    assert sum(outcome.compared for outcome in outcomes) > 1000
    assert 750 in [outcome.faces for outcome in outcomes]  # the limit was reached


@pytest.mark.slow
@pytest.mark.usefixtures("small_reference")
def test_the_reference_gives_what_torchvision_gives() -> None:
    config = preset("reference")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(replace(config.model, backbone_weights="none"), pretrained=False).eval()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight *= 30
    cases = [case for case in make_cases() if case.name in ("64x96", "no face")]
    outcomes = check(run_checkpoint(model), graph_run(model), cases, 0.5, 100)
    assert all(outcome.passed for outcome in outcomes)
    assert outcomes[0].compared > 5


def test_the_outputs_are_sorted_by_image_and_score(model: FaceRCNN) -> None:
    images = torch.from_numpy(
        np.stack([draw_crowd(128, 160, 9, np.random.default_rng(i)) for i in range(3)])
    )
    with torch.no_grad():
        boxes, scores, image = FaceGraph(model)(images)
    assert boxes.shape == (len(scores), 4)
    assert boxes.dtype == scores.dtype == torch.float32
    assert image.dtype == torch.int64
    assert set(image.tolist()) == {0, 1, 2}
    order = np.lexsort((-scores.numpy(), image.numpy()))
    assert order.tolist() == list(range(len(scores)))
    assert (boxes.min() >= 0) & (boxes[:, 0::2].max() <= 160) & (boxes[:, 1::2].max() <= 128)


def test_an_image_in_a_batch_gives_what_it_gives_alone(model: FaceRCNN) -> None:
    images = np.stack([draw_crowd(160, 128, 20, np.random.default_rng(i)) for i in range(4)])
    run = graph_run(model)
    together = run(images, 0.02)
    for i in range(4):
        ((boxes, scores),) = run(images[i : i + 1], 0.02)
        assert len(boxes) > 5
        np.testing.assert_allclose(boxes, together[i][0], atol=1e-3)
        np.testing.assert_allclose(scores, together[i][1], atol=1e-5)


def test_no_proposal_at_all_is_an_empty_result(model: FaceRCNN) -> None:
    graph = FaceGraph(model).eval()
    graph.proposal_threshold = 1.0
    with torch.no_grad():
        boxes, scores, image = graph(torch.zeros(2, 64, 96, 3, dtype=torch.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == image.shape == (0,)


def test_suppression_keeps_groups_apart_and_limits_each() -> None:
    box = [10.0, 10.0, 30.0, 30.0]
    shifted = [11.0, 10.0, 31.0, 30.0]
    far = [50.0, 50.0, 70.0, 70.0]
    boxes = torch.tensor([box, shifted, box, far, far])
    scores = torch.tensor([0.6, 0.9, 0.5, 0.8, 0.7])
    groups = torch.tensor([0, 0, 1, 1, 0])

    def kept(limit: int, iou: float = 0.5) -> list[int]:
        return FaceGraph.nms(None, boxes, scores, groups, 2, iou, limit).tolist()  # type: ignore[arg-type]

    assert kept(10) == [1, 4, 3, 2]  # 0 gives way to 1; 2 and 3 are another image's
    assert kept(1) == [1, 3]
    assert kept(10, iou=0.95) == [1, 4, 0, 3, 2]
    empty = torch.zeros(0)
    assert FaceGraph.nms(None, boxes[:0], empty, empty.long(), 2, 0.5, 9).tolist() == []  # type: ignore[arg-type]


def test_the_model_itself_is_left_as_it_was(model: FaceRCNN) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    FaceGraph(model)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_reference_sees_squares_only() -> None:
    from detector.inference.metadata import inference_resize
    from faces.errors import UserError

    config = TrainConfig(data=DataConfig(image_size=224), model=preset("reference").model)
    assert inference_resize(config.model, config.data).target(300, 700) == (224, 224)
    with pytest.raises(UserError, match="square of 224 pixels"):
        inference_resize(config.model, config.data, 640)
