"""The five points move with the pixels of a crop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torchvision import tv_tensors

from detector.config import DataConfig
from detector.points import (
    OTHER_SIDE,
)
from detector.training.transforms import FaceCrop, Flip, Square, Tilt, train_transform

POINTS = torch.tensor([[[30.0, 40], [50, 42], [41, 52], [33, 60], [48, 61]]])
BOX = torch.tensor([[20.0, 25, 60, 75]])


def target(points: torch.Tensor = POINTS, size: int = 100) -> dict[str, Any]:
    boxes = tv_tensors.BoundingBoxes(BOX, format="XYXY", canvas_size=(size, size))
    return {"boxes": boxes, "labels": torch.ones(1, dtype=torch.int64), "points": points}


def spots(points: torch.Tensor, size: int = 100) -> torch.Tensor:
    """An image that is black but for a disk of its own color around each point."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = torch.zeros(3, size, size, dtype=torch.uint8)
    for k, (x, y) in enumerate(points.tolist()):
        near = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < 9
        image[:, near] = torch.tensor([[40 * k + 60], [250 - 40 * k], [90]], dtype=torch.uint8)
    return image


def seen(image: torch.Tensor) -> torch.Tensor:
    """Where the disks of `spots` are, in the order of their colors."""
    places = []
    for k in range(5):
        color = torch.tensor([40 * k + 60, 250 - 40 * k, 90]).view(3, 1, 1)
        rows, columns = ((image.int() - color).abs().amax(0) < 20).nonzero(as_tuple=True)
        places.append([float(columns.float().mean()) + 0.5, float(rows.float().mean()) + 0.5])
    return torch.tensor(places)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "transform",
    [
        FaceCrop(160, (60.0, 80.0), 1.0),
        Tilt(degrees=20.0, stretch=1.25, share=1.0),
        Square(150),
    ],
)
def test_points_go_where_the_pixels_go(transform: Any, seed: int) -> None:
    torch.manual_seed(seed)
    image, moved = transform(tv_tensors.Image(spots(POINTS[0])), target())
    inside = moved["points"][0].isfinite().all(dim=1)
    assert inside.any()
    assert not torch.equal(moved["points"][0], POINTS[0])
    off = (moved["points"][0] - seen(image.as_subclass(torch.Tensor)))[inside]
    assert off.abs().max() < 1.0


def test_mirroring_exchanges_left_and_right() -> None:
    flipped = 0
    for seed in range(8):
        torch.manual_seed(seed)
        image, moved = Flip()(tv_tensors.Image(spots(POINTS[0])), target())
        points = moved["points"][0]
        eyes, mouth = points[1] - points[0], points[4] - points[3]
        assert eyes[0] > 0, "the left eye is on the left"
        assert mouth[0] > 0
        place = seen(image.as_subclass(torch.Tensor))
        same = torch.equal(points, POINTS[0])
        flipped += not same
        expected = place if same else place[list(OTHER_SIDE)]
        assert (points - expected).abs().max() < 0.6
        assert not same or torch.equal(moved["boxes"].as_subclass(torch.Tensor), BOX)
    assert 0 < flipped < 8


def test_flipping_draws_what_torchvision_draws() -> None:
    """So that runs without points go on as they were."""
    from torchvision.transforms import v2

    image = tv_tensors.Image(spots(POINTS[0]))
    for seed in range(6):
        results = []
        for flip in (Flip(), v2.RandomHorizontalFlip()):
            torch.manual_seed(seed)
            mirrored, moved = flip(image, target())
            results.append((mirrored, moved["boxes"], torch.rand(1)))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_points_that_leave_the_crop_or_are_not_known_are_missing() -> None:
    unknown = POINTS.clone()
    unknown[0, 2] = math.nan
    crop = FaceCrop(50, (50.0, 50.0), 1.0)
    box = crop._boxes(target(unknown), left=35, top=0, side=100)
    known = box["points"][0].isfinite().all(dim=1)
    assert known.tolist() == [False, True, False, False, True]
    assert torch.allclose(box["points"][0, 1], torch.tensor([7.5, 21.0]))
    torch.manual_seed(0)
    transform = train_transform("fpn", DataConfig(image_size=128, face_sizes=(40.0, 60.0)))
    _, moved = transform(tv_tensors.Image(spots(POINTS[0])), target(unknown))
    assert moved["points"].shape == (len(moved["boxes"]), 5, 2)


def test_boxes_that_go_take_their_points_along() -> None:
    both = target(torch.cat((POINTS, POINTS + 1)))
    empty = torch.tensor([[5.0, 5, 5, 30]])
    both["boxes"] = tv_tensors.BoundingBoxes(
        torch.cat((empty, BOX)), format="XYXY", canvas_size=(100, 100)
    )
    both["labels"] = torch.ones(2, dtype=torch.int64)
    data = DataConfig(image_size=128, min_face=1.0)
    _, moved = train_transform("reference", data)(tv_tensors.Image(spots(POINTS[0])), both)
    assert len(moved["boxes"]) == len(moved["labels"]) == len(moved["points"]) == 1
    assert torch.allclose(moved["points"], (POINTS + 1) * 1.28)
