"""Exported files of a detector that finds points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from detector.checkpoint import save_checkpoint
from detector.config import TrainConfig, to_dict
from detector.export.parity import compare, table
from detector.export.publish import export_checkpoint
from detector.inference.load import load_detector
from tests.conftest import EXPORT_SOURCES, Keep
from tests.small_export import talkative_model
from tests.tiny import TINY_MODEL


@pytest.mark.slow
def test_every_format_gives_the_points_of_the_checkpoint(keep: Keep) -> None:
    """The files are kept until what decides about them changes; making them takes longest."""

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        config = replace(TINY_MODEL, points=True)
        model = talkative_model(TrainConfig(model=config))
        torch.nn.init.normal_(model.roi_heads.points.maps.weight, std=0.1)
        about = {"history": [], "provenance": {}, "config": to_dict(TrainConfig(model=config))}
        save_checkpoint(folder / "points.pt", {"weights": model.state_dict(), **about})
        for exported in export_checkpoint(folder / "points.pt"):
            assert all(outcome.point_error is not None for outcome in exported.outcomes)
            assert "points" in table(exported.outcomes)

    folder = keep("points_export", [*EXPORT_SOURCES, Path(__file__)], make)
    expected = load_detector(folder / "points.pt", score_threshold=0.0).detect(astronaut())
    assert expected.landmarks is not None
    assert len(expected) > 20
    inside = expected.landmarks.mean(axis=1)
    assert (inside > expected.xyxy[:, :2]).mean() > 0.9
    for format in ("onnx", "torchscript"):
        path = folder / f"points.{format}"
        found = load_detector(path, score_threshold=0.0).detect(astronaut())
        np.testing.assert_allclose(found.landmarks[:20], expected.landmarks[:20], atol=0.01)


def test_points_that_differ_are_no_parity() -> None:
    boxes, scores = np.array([[0, 0, 10, 10]], np.float32), np.array([0.9], np.float32)
    points = np.zeros((1, 5, 2), np.float32)
    same = compare((boxes, scores, points), (boxes, scores, points), 0.02, 0.5, 9)
    other = compare((boxes, scores, points), (boxes, scores, points + 0.5), 0.02, 0.5, 9)
    assert (same[-1], other[-1]) == (0.0, 0.5)
    assert compare((boxes, scores), (boxes, scores), 0.02, 0.5, 9)[-1] is None
