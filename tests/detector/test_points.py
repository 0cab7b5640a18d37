"""The head of the five points: its losses, its maps, and that all else stays as it was."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.config import TrainConfig
from detector.export.graph import PointsGraph, face_graph
from detector.inference.load import load_detector
from detector.model import build_model
from detector.points import (
    AROUND,
    GRID,
    MEAN_FACE,
    SHAKEN,
    PointsHead,
    points_in_pixels,
    points_loss,
    shaken,
)
from faces.errors import UserError
from tests.detector.training.runs import without_pictures
from tests.small_export import write_checkpoint
from tests.tiny import TINY_MODEL


@pytest.fixture(autouse=True)
def _empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch.setattr)


POINTS = torch.tensor([[[30.0, 40], [50, 42], [41, 52], [33, 60], [48, 61]]])
BOX = torch.tensor([[20.0, 25, 60, 75]])


def test_the_loss_counts_known_points_only() -> None:
    relative = torch.tensor(MEAN_FACE)[None].repeat(2, 1, 1).requires_grad_()
    boxes = torch.cat((BOX, BOX))
    points = points_in_pixels(relative.detach(), boxes)
    loss, count = points_loss(relative, boxes, points)
    assert (loss.item(), count) == (pytest.approx(0, abs=1e-6), 10)
    points[0, 0] += torch.tensor([4.0, 0])  # a tenth of the width
    points[1, 1:] = math.nan
    loss, count = points_loss(relative, boxes, points)
    assert count == 6
    assert loss.item() == pytest.approx((0.1 - 0.015) / 6, abs=1e-6)
    loss.backward()
    assert relative.grad is not None
    assert relative.grad.isfinite().all()
    assert (relative.grad.abs() > 1e-3).nonzero().tolist() == [[0, 0, 0]]
    loss, count = points_loss(relative, boxes, torch.full_like(points, math.nan))
    assert (loss.item(), count) == (0.0, 0)
    assert loss.requires_grad  # every process of torchrun has a gradient


@pytest.mark.slow
def test_the_head_learns_where_points_are() -> None:
    """From maps that show them, as pooled ones do; better than any fixed face could be."""
    torch.manual_seed(0)
    head = PointsHead(8)
    start = points_in_pixels(head(torch.zeros(1, 8, GRID, GRID)), BOX)
    assert (start - points_in_pixels(torch.tensor(MEAN_FACE), BOX)).abs().max() < 1.0
    draw = torch.Generator().manual_seed(1)

    def samples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        turn = 0.3 * torch.rand(count, 1, 2, generator=draw) - 0.15
        points = torch.tensor(MEAN_FACE) + turn + 0.02 * torch.randn(count, 5, 2, generator=draw)
        cell = ((torch.arange(GRID) + 0.5) / GRID - 0.5) * AROUND
        x, y = (((points[..., i, None] - cell) / 0.2) ** 2 for i in (0, 1))
        maps = torch.exp(-(x[:, :, None, :] + y[:, :, :, None]))
        noise = 0.1 * torch.randn(count, 8, GRID, GRID, generator=draw)
        noise[:, :5] += maps
        return noise, points_in_pixels(points, BOX.expand(count, 4))

    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3)
    for _ in range(60):
        maps, points = samples(64)
        loss, _ = points_loss(head(maps), BOX.expand(64, 4), points)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    maps, points = samples(200)
    boxes = BOX.expand(200, 4)
    off = (points_in_pixels(head(maps), boxes) - points).norm(dim=2).median()
    fixed = (points_in_pixels(torch.tensor(MEAN_FACE), boxes) - points).norm(dim=2).median()
    assert off < 0.4 * fixed


def test_points_are_found_to_a_fraction_of_a_cell() -> None:
    """A face that is moved by half a cell moves its points by as much."""
    head = PointsHead(5, 5)
    with torch.no_grad():
        for conv in head.convs:
            conv.weight.zero_()
            conv.weight[range(5), range(5), 1, 1] = 1
        head.maps.weight.copy_(torch.eye(5)[..., None, None])
        head.prior.zero_()
    cell = ((torch.arange(GRID) + 0.5) / GRID - 0.5) * AROUND
    found = []
    for move in (0.0, AROUND / GRID / 2):
        x, y = (((torch.tensor(MEAN_FACE)[:, i, None] + move - cell) / 0.15) ** 2 for i in (0, 1))
        found.append(head((30 - x[:, None, :] - y[:, :, None]).relu()[None]))
    assert (found[1] - found[0] - AROUND / GRID / 2).abs().max() < 0.005
    assert (found[0] - torch.tensor(MEAN_FACE)).abs().max() < 0.03


def test_weights_of_another_head_are_refused(tmp_path: Path) -> None:
    config = TrainConfig(model=replace(TINY_MODEL, points=True))
    path = write_checkpoint(tmp_path / "a.pt", build_model(config.model, pretrained=False), config)
    assert load_detector(path).detect(np.zeros((64, 64, 3), np.uint8)).landmarks is not None
    saved = torch.load(path, weights_only=True)
    del saved["weights"]["roi_heads.points.prior"]
    torch.save(saved, path)
    with pytest.raises(UserError, match="weights are not those of the network"):
        load_detector(path)


def test_boxes_are_shaken_by_a_part_of_their_sides() -> None:
    boxes = BOX.repeat(4000, 1)
    torch.manual_seed(0)
    off = (shaken(boxes) - boxes) / torch.tensor([40.0, 50, 40, 50])
    assert off.mean(dim=0).abs().max() < 0.005
    assert (off.std(dim=0) - SHAKEN).abs().max() < 0.005
    assert (torch.corrcoef(off.T) - torch.eye(4)).abs().max() < 0.1  # each side for itself
    assert shaken(BOX[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("side", "level"), [(20, 0), (170, 0), (175, 1), (340, 1), (350, 2), (680, 2), (700, 3)]
)
def test_points_are_pooled_from_maps_finer_than_their_cells(side: int, level: int) -> None:
    """Two samples a cell, at least a stride apart where that can be: in use and exported.

    A face of 200 pixels has a cell every 19, its maps are of stride 8; box and score have 32.
    """
    model = build_model(replace(TINY_MODEL, points=True), pretrained=False).eval()
    maps = {str(i): torch.full((1, 8, 256 // 2**i, 256 // 2**i), float(i)) for i in range(4)}
    box = 512 + torch.tensor([[-side, -side, side, side]]) / 2
    pooled = model.roi_heads.points_pool(maps, [box], [(1024, 1024)])
    assert torch.allclose(pooled, torch.full_like(pooled, level))
    graph = face_graph(model)
    assert isinstance(graph, PointsGraph)
    exported, _ = graph.pool(
        list(maps.values()), box, torch.zeros(1), GRID, graph.points_samples, AROUND
    )
    assert torch.allclose(exported, pooled)


def test_without_points_nothing_is_different() -> None:
    """Neither the first weights, nor losses and detections; the head comes last."""
    images = torch.randint(0, 255, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    targets = [{"boxes": BOX, "labels": torch.ones(1, dtype=torch.int64), "points": POINTS}] * 2
    results = []
    for points in (False, True):
        torch.manual_seed(3)
        model = build_model(replace(TINY_MODEL, points=points), pretrained=False)
        torch.nn.init.zeros_(model.rpn.head.cls_logits.bias)  # new ones find nothing
        torch.nn.init.zeros_(model.roi_heads.box_predictor.cls_score.bias)
        torch.manual_seed(4)
        losses = model.train()(images, targets)
        with torch.no_grad():
            results.append((losses, model.eval()(images)))
    (plain, found), (more, also) = results
    assert more.keys() - plain.keys() == {"loss_points"}
    assert all(torch.equal(plain[name], more[name]) for name in plain)
    for one, other in zip(found, also, strict=True):
        assert "landmarks" not in one
        assert len(one["boxes"])
        assert other["landmarks"].shape == (len(other["boxes"]), 5, 2)
        for name, value in one.items():
            assert torch.equal(value, other[name])
