"""Learning the five points: from what, beside what, and alone."""

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

from detector.checkpoint import load_checkpoint
from detector.config import ModelConfig, TrainConfig
from detector.data.voc.annotation import VocAnnotation, VocObject, read_voc, write_voc
from detector.evaluation.evaluate import evaluate
from detector.inference.load import load_detector
from detector.model import build_model
from detector.points import (
    MEAN_FACE,
    OTHER_SIDE,
    points_in_pixels,
    points_loss,
)
from detector.training.dataset import FaceIndex
from detector.training.distributed import World
from detector.training.setup import open_data
from detector.training.train import Trainer, fit
from faces.errors import UserError
from scripts.main import main
from tests.detector.training.runs import same_run, saved_progress, without_pictures
from tests.detector.training.test_points_in_crops import BOX, POINTS
from tests.tiny import TINY_MODEL, make_data, make_faces, tiny_config


@pytest.fixture(autouse=True)
def _empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch.setattr)


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
