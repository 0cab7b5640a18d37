"""AP50 while training: the figure that `faces evaluate` gives, by any number of processes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detector.config import DataConfig, ModelConfig
from detector.data.voc.annotation import read_voc, write_voc
from detector.evaluation.curves import voc_curve
from detector.evaluation.matching import match
from detector.evaluation.truth import read_voc_truth
from detector.inference.detect import FaceDetector
from detector.inference.resize import Resize
from detector.inference.torch_backend import TorchNetwork, inference_resize
from detector.model import FaceRCNN, build_model
from detector.training import validate as validating
from detector.training.dataset import FaceIndex, ValidationBatches
from detector.training.distributed import World
from detector.training.validate import average_precision, validate
from faces.errors import UserError
from faces.images.read import read_image
from tests.tiny import TINY_MODEL, make_voc

CPU = torch.device("cpu")


def folder_of_all_kinds(folder: Path) -> Path:
    """Two sizes of picture, one shrunk; one without a face; a difficult and an empty box."""
    make_voc(folder, 5)
    make_voc(folder / "more", 3, seed=4, size=(200, 130))
    for part in ("images", "annotations"):
        for path in (folder / "more" / part).iterdir():
            path.rename(folder / part / f"large_{path.name}")
    path = folder / "annotations" / "scene_02.xml"
    voc = read_voc(path)
    hard = replace(voc.objects[0], difficult=True)
    write_voc(path, replace(voc, objects=(hard, *voc.objects[1:])))
    return folder


def batches_of(folder: Path, resize: Resize, size: int = 2) -> ValidationBatches:
    index = FaceIndex(folder / "images", folder / "annotations")
    return ValidationBatches(index, resize, size, workers=1)


def eager(config: ModelConfig) -> FaceRCNN:
    """A network that was taught nothing but sees faces everywhere."""
    torch.manual_seed(5)
    model = build_model(config, pretrained=False)
    with torch.no_grad():
        nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)
        nn.init.normal_(model.rpn.head.cls_logits.weight, std=1.0)
    model.rpn.score_thresh = 0.0
    return model


@pytest.mark.slow
@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize(
    "config",
    [TINY_MODEL, replace(TINY_MODEL, arch="reference", box_loss=1.0)],
    ids=["fpn", "reference"],
)
def test_ap50_is_what_an_evaluation_of_the_same_weights_gives(
    tmp_path: Path, config: ModelConfig
) -> None:
    folder = folder_of_all_kinds(tmp_path)
    resize = inference_resize(config, DataConfig(image_size=128, max_side=96))
    model = eager(config)
    if config.arch == "reference":  # its anchors are of 32 pixels and more: no chance of an IoU
        model.rpn.anchor_generator.cell_anchors = [
            anchors / 2 for anchors in model.rpn.anchor_generator.cell_anchors
        ]
    evaluated = validate(model, batches_of(folder, resize), CPU)
    assert evaluated is not None
    truth, files = read_voc_truth(folder / "annotations", folder / "images")
    detector = FaceDetector(TorchNetwork(model, CPU), resize, score_threshold=0.0, batch_size=1)
    found = {}
    for name, path in files.items():
        faces = detector.detect(read_image(path))
        found[name] = np.column_stack((faces.xyxy, faces.score)).astype(np.float64)
    wanted = voc_curve(match(truth, found))
    assert sum(map(len, found.values())) > 50
    assert wanted.ap
    assert evaluated.ap50 == pytest.approx(wanted.ap, abs=1e-6)


@dataclass(frozen=True)
class Together(World):
    """A process among several, whose others have these shares."""

    shares: dict[int, Any] = field(default_factory=dict)

    def share_buffers(self, model: nn.Module) -> None:
        """Nothing: there is one model."""

    def gather(self, value: Any) -> list[Any]:
        self.shares[self.rank] = value
        return [self.shares[rank] for rank in sorted(self.shares)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 9])
def test_any_number_of_processes_gives_the_same_figures(tmp_path: Path, size: int) -> None:
    batches = batches_of(folder_of_all_kinds(tmp_path), Resize("fit", 96))
    model = eager(TINY_MODEL)
    alone = validate(model, batches, CPU)
    shares: dict[int, Any] = {}
    for rank in range(1, size):
        world = Together(rank, size)
        if rank < len(batches):
            validate(model, batches, CPU, world)
            assert len(world.shares[rank].losses) < len(batches)
            shares[rank] = world.shares[rank]
        else:  # more processes than groups of pictures
            shares[rank] = validating._Share()
    assert validate(model, batches, CPU, Together(0, size, shares=shares)) == alone


@pytest.mark.parametrize("bad_input", [True, False])
def test_what_goes_wrong_on_another_process_is_raised_here(tmp_path: Path, bad_input: bool) -> None:
    batches = batches_of(make_voc(tmp_path, 3), Resize("fit", 96))
    other = validating._Share(error="b.png is damaged", bad_input=bad_input)
    expected: type[Exception] = UserError if bad_input else RuntimeError
    with pytest.raises(expected, match=r"b\.png is damaged"):
        validate(eager(TINY_MODEL), batches, CPU, Together(0, 2, shares={1: other}))


def test_what_goes_wrong_here_is_told_to_the_others_first(tmp_path: Path) -> None:
    batches = batches_of(make_voc(tmp_path, 3), Resize("fit", 96))
    (tmp_path / "images" / "scene_00.png").write_bytes(b"\x89PNG no more")
    world = Together(0, 2, shares={1: validating._Share()})
    with pytest.raises(UserError, match=r"scene_00\.png"):
        validate(eager(TINY_MODEL), batches, CPU, world)
    assert world.shares[0].bad_input
    assert "scene_00.png" in world.shares[0].error


def test_a_stop_on_any_process_stops_all(tmp_path: Path) -> None:
    batches = batches_of(make_voc(tmp_path, 3), Resize("fit", 96))
    model = eager(TINY_MODEL)
    assert validate(model, batches, CPU, stop=[15]) is None
    other = validating._Share(stopped=True)
    assert validate(model, batches, CPU, Together(0, 2, shares={1: other})) is None


def test_weights_that_broke_down_have_no_ap(tmp_path: Path) -> None:
    batches = batches_of(make_voc(tmp_path, 3), Resize("fit", 96))
    broken = eager(TINY_MODEL)
    with torch.no_grad():
        broken.roi_heads.box_predictor.cls_score.weight.fill_(float("nan"))
    evaluated = validate(broken, batches, CPU)
    assert evaluated is not None
    assert evaluated.ap50 == 0.0
    assert not np.isfinite(evaluated.losses["loss"])


def test_what_is_not_finite_is_no_detection(tmp_path: Path) -> None:
    batches = batches_of(make_voc(tmp_path, 1), Resize("fit", 96))
    face = {
        "boxes": torch.tensor([[1.0, 2, 30, 40], [float("nan"), 2, 30, 40], [5, 5, 20, 20]]),
        "scores": torch.tensor([0.5, 0.9, float("inf")]),
    }
    assert validating._in_pixels(batches, 0, face).tolist() == [[1, 2, 30, 40, 0.5]]


def test_difficult_faces_count_neither_way(tmp_path: Path) -> None:
    folder = make_voc(tmp_path, 1)
    path = folder / "annotations" / "scene_00.xml"
    voc = read_voc(path)
    [face] = voc.objects
    other = replace(face, xyxy=(60, 50, 80, 75))
    found = {0: np.array([[*other.xyxy, 0.9], [*face.xyxy, 0.5]])}

    def ap(difficult: bool) -> float | None:
        objects = (face, replace(other, difficult=difficult))
        write_voc(path, replace(voc, objects=objects))
        return average_precision(FaceIndex(folder / "images", folder / "annotations"), found)

    assert ap(difficult=False) == ap(difficult=True) == 1.0
    found[0] = found[0][1:]  # the other is not found
    assert ap(difficult=False) == 0.5
    assert ap(difficult=True) == 1.0
    assert (
        average_precision(FaceIndex(folder / "images", folder / "annotations"), {}) is None
    )  # no picture at all
