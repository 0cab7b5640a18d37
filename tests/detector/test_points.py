"""The five points: the head, what it learns from, and that everything else stays as it was."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import tv_tensors

from detector.checkpoint import load_checkpoint
from detector.config import DataConfig, ModelConfig, TrainConfig
from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from detector.evaluation.evaluate import evaluate
from detector.export.graph import PointsGraph, face_graph
from detector.inference.load import load_detector
from detector.model import build_model
from detector.points import (
    AROUND,
    GRID,
    MEAN_FACE,
    OTHER_SIDE,
    SHAKEN,
    PointsHead,
    points_in_pixels,
    points_loss,
    shaken,
)
from detector.training.dataset import FaceIndex
from detector.training.distributed import World
from detector.training.setup import open_data
from detector.training.train import Trainer, fit
from detector.training.transforms import FaceCrop, Flip, Square, Tilt, train_transform
from faces.errors import UserError
from scripts.main import main
from tests.detector.training.runs import same_run, saved_progress, without_pictures
from tests.small_export import write_checkpoint
from tests.tiny import TINY_MODEL, make_data, make_faces, tiny_config


@pytest.fixture(autouse=True)
def _empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch.setattr)


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


def test_the_index_reads_points_and_knows_where_there_are_none(tmp_path: Path) -> None:
    folder = make_faces(tmp_path / "faces", 5)
    index = FaceIndex(folder / "images", folder / "annotations")
    assert index.has_points
    assert np.isnan(index.points(0)).all()
    [item] = read_voc(folder / "annotations" / "face_01.xml").objects
    np.testing.assert_allclose(index.points(1)[0], np.array(item.landmarks), rtol=1e-6)
    assert not index.take([0, 4]).has_points
    np.testing.assert_array_equal(index.take([3, 1]).points(1), index.points(1))
    assert index.record(1) != index.take([2]).record(0)


def test_points_need_annotations_that_have_them(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    config = tiny_config(data, tmp_path / "run")
    with pytest.raises(UserError, match=r"points: no face of .* has a point.*prepare points"):
        fit(replace(config, model=replace(config.model, points=True)))
    with pytest.raises(UserError, match="points are found by fpn only"):
        TrainConfig(model=ModelConfig(arch="reference", points=True))


def test_only_points_needs_a_trained_detector(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    config = tiny_config(data, tmp_path / "run", only_points=True)
    with pytest.raises(UserError, match="only_points needs points, and a trained detector"):
        fit(config)
    make_faces(data / "train", 8)
    config = replace(config, run=tmp_path / "other", model=replace(config.model, points=True))
    with pytest.raises(UserError, match="only_points needs points, and a trained detector"):
        fit(config)


def test_boxes_are_shaken_by_a_part_of_their_sides() -> None:
    boxes = BOX.repeat(4000, 1)
    torch.manual_seed(0)
    off = (shaken(boxes) - boxes) / torch.tensor([40.0, 50, 40, 50])
    assert off.mean(dim=0).abs().max() < 0.005
    assert (off.std(dim=0) - SHAKEN).abs().max() < 0.005
    assert (torch.corrcoef(off.T) - torch.eye(4)).abs().max() < 0.1  # each side for itself
    assert shaken(BOX[:0]).shape == (0, 4)


def test_points_are_learned_from_true_boxes_and_nothing_else_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shaken anew in every step; faces without points, and pictures without faces, teach nothing.

    The same loss is learned beside the others where all is trained.
    """
    torch.manual_seed(3)
    model = build_model(replace(TINY_MODEL, points=True), pretrained=False).train()
    images = torch.randint(0, 255, (3, 3, 96, 96)).to(torch.uint8)
    none = torch.full((1, 5, 2), math.nan)
    labels = torch.ones(2, dtype=torch.int64)
    targets: list[dict[str, torch.Tensor]] = [
        {"boxes": torch.cat((BOX, BOX + 9)), "labels": labels, "points": torch.cat((none, POINTS))},
        {"boxes": BOX[:0], "labels": labels[:0], "points": POINTS[:0]},
        {"boxes": BOX, "labels": labels[:1], "points": none},
    ]
    model.eval()  # where batch norms keep their statistics, so that both see the same maps
    model.training = model.rpn.training = model.roi_heads.training = True
    drawn = [BOX + 10, BOX + 8]
    boxes: list[torch.Tensor] = []

    def shake(of: torch.Tensor) -> torch.Tensor:
        boxes.append(of)
        return of + (1.0 if len(boxes) <= len(targets) else -1.0)

    monkeypatch.setattr("detector.stages.shaken", shake)
    together = model(images, targets)["loss_points"]
    assert [of.tolist() for of in boxes] == [(BOX + 9).tolist(), [], []]
    monkeypatch.setattr(model.rpn, "forward", None)
    monkeypatch.setattr(model.roi_heads, "forward", None)
    model.only_points = True
    found = []
    for _ in range(2):
        boxes.clear()
        found.append(model(images, targets))
    boxes.extend(BOX for _ in targets)
    found.append(model(images, targets))
    assert all(losses.keys() == {"loss_points"} for losses in found)
    assert torch.equal(found[0]["loss_points"], together)
    assert torch.equal(found[0]["loss_points"], found[1]["loss_points"])
    assert not torch.equal(found[0]["loss_points"], found[2]["loss_points"])
    assert model.counted() == {("loss_points",): 5}
    for losses, box in ((found[0], drawn[0]), (found[2], drawn[1])):
        maps = model.backbone(model.transform(images)[0].tensors)
        heads = model.roi_heads
        pooled = heads.points_pool(maps, [box, BOX[:0], BOX[:0]], [(96, 96)] * 3)
        expected, _ = points_loss(heads.points(pooled), box, POINTS)
        assert torch.equal(losses["loss_points"], expected)
    empty = model(images, [targets[1]] * 3)["loss_points"]
    assert empty.item() == 0
    empty.backward()
    assert all(p.grad is not None for p in model.roi_heads.points.parameters())


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


def test_only_faces_with_points_are_shown_where_only_they_are_learned(tmp_path: Path) -> None:
    folder = make_faces(tmp_path / "faces" / "train", 9)  # 0, 4 and 8 have none
    pictures = folder.parent
    make_faces(pictures / "val", 4)
    [item] = read_voc(folder / "annotations" / "face_01.xml").objects
    bare = replace(item, xyxy=(1.0, 1.0, 30.0, 40.0), landmarks=())
    write_voc(
        folder / "annotations" / "face_01.xml", VocAnnotation("face_01.png", 96, 96, (bare, item))
    )
    config = tiny_config(pictures, tmp_path / "run", only_points=True)
    data = open_data(config, World(), torch.device("cpu"))
    assert [int(data.train.name(i)[5:7]) for i in range(len(data.train))] == [1, 2, 3, 5, 6, 7]
    assert data.train.labels(0).tolist() == [-1, 1]
    assert data.train.faces.tolist() == [1] * 6
    assert len(data.valid) == 4
    every = open_data(tiny_config(pictures, tmp_path / "run"), World(), torch.device("cpu"))
    assert len(every.train) == 9
    assert every.train.labels(1).tolist() == [1, 1]


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_only_points_says_their_error_and_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    without_pictures(monkeypatch.setattr)
    data = make_faces(tmp_path / "faces" / "train", 8).parent
    make_faces(data / "val", 4, seed=1)
    config = tiny_config(data, tmp_path / "parent", epochs=1)
    fit(replace(config, model=replace(config.model, points=True)))
    parent = tmp_path / "parent" / "best.pt"
    optim = replace(
        config.optim, only_points=True, epochs=2, learning_rate=1e-2, accumulate=accumulate
    )
    config = replace(config, init=parent, optim=optim)
    history = fit(replace(config, run=tmp_path / "whole")).history
    for line in history:
        assert line["train"].keys() == line["valid"].keys() == {"loss", "loss_points"}
        assert 0 < line["valid"]["loss_points"] < 1
        assert line["ap50"] is None  # that of the boxes, which stay as they are
    before = load_checkpoint(parent)["weights"]
    after = load_checkpoint(tmp_path / "whole" / "last.pt")["weights"]
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("roi_heads.points.") for name in changed)

    steps = history[0]["step"]
    original = Trainer.step

    def stop_in_the_second_epoch(self: Trainer, parts: Any) -> dict[str, float]:
        if self.progress.step == steps:
            signal.raise_signal(signal.SIGTERM)
        return original(self, parts)

    monkeypatch.setattr(Trainer, "step", stop_in_the_second_epoch)
    stopped = fit(replace(config, run=tmp_path / "halves"))
    assert stopped.stopped_by == signal.SIGTERM
    assert saved_progress(tmp_path / "halves")[1:] == (1, steps + 1)
    monkeypatch.setattr(Trainer, "step", original)
    fit(replace(config, run=tmp_path / "halves", resume=tmp_path / "halves"))
    same_run(tmp_path / "whole", tmp_path / "halves")


@pytest.mark.slow
def test_points_that_nothing_keeps_right_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Boxes without points train the body under them: no points are better than wrong ones."""
    data = make_faces(tmp_path / "faces" / "train", 6).parent
    make_faces(data / "val", 3)
    config = tiny_config(data, tmp_path / "parent", epochs=1)
    fit(replace(config, model=replace(config.model, points=True)))
    parent = tmp_path / "parent" / "best.pt"
    plain = make_data(tmp_path / "plain")
    child = tmp_path / "child" / "best.pt"
    fit(replace(tiny_config(plain, child.parent, epochs=1), init=parent))
    assert "the trained detector will find none (`faces prepare points`)" in caplog.text
    saved = load_checkpoint(child)
    assert not saved["config"]["model"]["points"]
    assert not any("points" in name for name in saved["weights"])
    assert load_detector(child).detect(np.zeros((64, 64, 3), np.uint8)).landmarks is None
    fit(replace(tiny_config(data, tmp_path / "kept", epochs=1), init=parent))
    assert load_checkpoint(tmp_path / "kept" / "best.pt")["config"]["model"]["points"]
    only = tiny_config(plain, tmp_path / "only", only_points=True)
    with pytest.raises(UserError, match=r"points: no face of .* has a point"):
        fit(replace(only, init=parent))


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


FACE = (178.0, 62.0, 270.0, 184.0)
ASTRONAUT = [(203.4, 102.5), (247.0, 104.2), (224.5, 128.0), (202.8, 141.5), (244.0, 143.0)]
"""The face of scikit-image's astronaut and its points, as two networks find them."""


def make_astronauts(folder: Path, count: int, seed: int) -> Path:
    """``folder``/images and ``folder``/annotations: that face, turned and scaled at random."""
    from skimage.data import astronaut

    random = np.random.default_rng(seed)
    picture = Image.fromarray(astronaut())
    (folder / "images").mkdir(parents=True)
    for i in range(count):
        angle, scale = math.radians(random.uniform(-35, 35)), random.uniform(0.4, 0.8)
        x, y = random.uniform(50, 78, 2)
        turn = scale * np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        middle = np.array([(FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2])
        back = np.linalg.inv(turn)
        shift = middle - back @ [x, y]
        matrix = (*back[0], shift[0], *back[1], shift[1])
        image = picture.transform((128, 128), Image.Transform.AFFINE, matrix, Image.BILINEAR)
        mirrored = bool(i % 2)
        points = (np.array(ASTRONAUT) - middle) @ turn.T + [x, y]
        half = np.sqrt((turn**2) @ [46.0**2, 61.0**2])
        center = np.array([x, y])
        box = np.array([center - half, center + half])
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            points = (points * [-1, 1] + [128, 0])[list(OTHER_SIDE)]
            box = np.sort(box * [-1, 1] + [128, 0], axis=0)
        image.save(folder / "images" / f"{i:02d}.png")
        face = VocObject(
            "face", tuple(box.flatten().tolist()), landmarks=tuple(map(tuple, points.tolist()))
        )
        write_voc(
            folder / "annotations" / f"{i:02d}.xml",
            VocAnnotation(f"{i:02d}.png", 128, 128, (face,)),
        )
    return folder


def boxes_and_scores(model: Path | str, image: NDArray[np.uint8]) -> tuple[bytes, bytes]:
    found = load_detector(model, score_threshold=0.005).detect(image)
    assert len(found)
    return found.xyxy.tobytes(), found.score.tobytes()


@pytest.mark.slow
def test_points_are_added_to_a_detector_which_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands that somebody would type; it is better after them than any fixed face."""
    from skimage.data import astronaut

    from detector.shipped import find_checkpoint

    data = tmp_path / "data"
    make_astronauts(data / "train", 16, seed=0)
    make_astronauts(data / "val", 6, seed=1)
    run, without = tmp_path / "run", tmp_path / "without.pt"
    saved = load_checkpoint(find_checkpoint("shipped"))
    saved["config"]["model"]["points"] = False
    saved["weights"] = {k: v for k, v in saved["weights"].items() if "heads.points" not in k}
    torch.save(saved, without)
    command = [
        "train", "--init", str(without), "--points", "--only-points", "--data", str(data),
        "--run", str(run), "--epochs", "24", "-b", "4", "-w", "0", "-i", "128", "-l", "2e-3",
        "--threads", "1", "--face-sizes", "30", "80", "--precision", "float32", "--device", "cpu",
    ]  # fmt: skip
    assert main(command) == 0
    model = run / "best.pt"
    assert boxes_and_scores(model, astronaut()) == boxes_and_scores(without, astronaut())
    before, after = saved["weights"], load_checkpoint(model)["weights"]
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    result = evaluate(model, data=data, resamples=100)
    errors = result.report["landmarks"]
    assert errors["faces"] == errors["annotated_faces"] == 6
    assert "points" in str(result)
    fixed = mean_face_error(data / "val")
    assert errors["mean"] < 0.7 * fixed

    [face] = load_detector(model).detect(astronaut())
    assert face.landmarks is not None
    off = np.linalg.norm(face.landmarks - ASTRONAUT, axis=1) / math.sqrt(92 * 122)
    assert off.mean() < 0.1
    out = tmp_path / "found"
    Image.fromarray(astronaut()).save(tmp_path / "eileen.png")
    capsys.readouterr()
    assert (
        main(["detect", str(tmp_path / "eileen.png"), "--model", str(model), "--out", str(out)])
        == 0
    )
    lines = [path for path in out.rglob("*") if path.suffix in (".json", ".jsonl")]
    assert any("landmarks" in path.read_text() for path in lines)


@pytest.mark.slow
def test_the_shipped_detector_finds_points() -> None:
    """In every file of it; on the astronaut within 0.05 of the box's side (0.02 measured)."""
    from skimage.data import astronaut

    from detector.shipped import find_checkpoint, find_int8, find_model

    small = find_int8(find_model("shipped"))
    assert small is not None
    for path in (find_model("shipped"), find_checkpoint("shipped"), small):
        [face] = load_detector(path, threads=1).detect(astronaut())
        assert face.landmarks is not None
        off = np.linalg.norm(face.landmarks - ASTRONAUT, axis=1) / math.sqrt(92 * 122)
        assert off.mean() < 0.05, path


def mean_face_error(folder: Path) -> float:
    """Of the face that is no more than the mean, in sides of the box."""
    index = FaceIndex(folder / "images", folder / "annotations")
    errors = []
    for i in range(len(index)):
        boxes, points = torch.from_numpy(index.boxes(i)), index.points(i)
        fixed = points_in_pixels(torch.tensor(MEAN_FACE), boxes).numpy()
        side = math.sqrt((boxes[0, 2] - boxes[0, 0]) * (boxes[0, 3] - boxes[0, 1]))
        errors.append(np.linalg.norm(fixed - points, axis=2).mean() / side)
    return float(np.mean(errors))
