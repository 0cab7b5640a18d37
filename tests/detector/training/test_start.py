"""What a run starts from decides what learns, and what its scores mean."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import (
    checkpoint_config,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
)
from detector.config import (
    FOUR_PATHS,
    OLD_MIN_OBJECTNESS,
    OLD_SCORE_CALIBRATION,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    from_dict,
    to_dict,
)
from detector.inference.torch_backend import open_checkpoint
from detector.model import FaceRCNN, build_model
from detector.shipped import find_checkpoint
from detector.training.batches import mix
from detector.training.distributed import World
from detector.training.start import inherit, settle
from detector.training.train import Trainer, fit
from faces.errors import UserError
from tests.tiny import TINY_MODEL, make_data, make_voc, tiny_config


def trained(model: FaceRCNN) -> FaceRCNN:
    """As if it had seen pictures."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean += 0.5
    return model


def chosen(optim: OptimConfig) -> tuple[Any, ...]:
    return optim.freeze, optim.batch_norm, optim.backbone_lr


def test_without_trained_weights_the_whole_body_learns() -> None:
    blank = build_model(TINY_MODEL)
    assert chosen(settle(OptimConfig(), blank)) == (0, "all", 1.0)
    assert chosen(settle(OptimConfig(backbone_lr=0.5), blank)) == (0, "all", 0.5)
    assert chosen(settle(OptimConfig(), trained(build_model(TINY_MODEL)))) == (4, "heads", 0.3)
    trained(blank.backbone.body)  # type: ignore[arg-type]  # ImageNet's body, new heads
    assert chosen(settle(OptimConfig(), blank)) == (4, "heads", 0.3)
    asked = OptimConfig(freeze=18, batch_norm="all", backbone_lr=0.0)
    assert settle(asked, blank) == asked


@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"freeze": 4}, "freeze 4 would keep its first blocks random"),
        ({"batch_norm": "heads"}, "batch_norm heads would keep its batch norms without stat"),
        ({"batch_norm": "frozen"}, "batch_norm frozen would keep"),
        ({"backbone_lr": 0.0}, "backbone_lr 0 would keep it random"),
        ({"freeze": 1, "batch_norm": "heads"}, "freeze 1 .*, and batch_norm heads"),
    ],
)
@pytest.mark.usefixtures("small_reference")
@pytest.mark.parametrize("arch", ["fpn", "reference"])
@pytest.mark.parametrize("resumed", [False, True])
def test_what_would_stay_random_for_ever_is_refused(
    asked: dict[str, Any], message: str, arch: str, resumed: bool
) -> None:
    blank = build_model(replace(TINY_MODEL, arch=arch))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"no trained weights, and {message}.*backbone_weights"):
        settle(OptimConfig(**asked), blank, resumed=resumed)


def test_new_heads_cannot_keep_the_statistics_they_do_not_have() -> None:
    model = build_model(TINY_MODEL)
    trained(model.backbone.body)  # type: ignore[arg-type]
    asked = OptimConfig(batch_norm="frozen")
    with pytest.raises(UserError, match=r"batch_norm frozen: the pyramid and heads are new"):
        settle(asked, model)
    assert settle(asked, model, resumed=True).batch_norm == "frozen"  # it went so far as it was
    assert settle(asked, trained(model)).batch_norm == "frozen"


@pytest.mark.slow
def test_a_run_from_scratch_moves_everything_and_tells_pictures_apart(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    make_voc(data / "train", 40)
    # Enough steps for the statistics, a tenth of whose beginning is forgotten with each.
    settings = {"batch_size": 1, "epochs": 2, "plateau_patience": 99}
    fit(tiny_config(data, tmp_path / "run", ema=0.0, **settings))
    payload = load_checkpoint(tmp_path / "run" / "last.pt")
    assert chosen(checkpoint_config(payload).optim) == (0, "all", 1.0)
    torch.manual_seed(mix(0))
    start = build_model(TINY_MODEL)
    for name, tensor in payload["weights"].items():
        if "tracked" not in name:
            assert not torch.equal(tensor, start.state_dict()[name]), name
    optimizer = payload["training"]["optimizer"]["state"]
    assert len(optimizer) == len(list(start.parameters()))
    # Two pictures that differ gave the same features from stride 8 on.
    noise = torch.randint(0, 255, (1, 3, 96, 96), generator=torch.Generator().manual_seed(1))
    pictures = torch.cat((noise, torch.full((1, 3, 96, 96), 90))).to(torch.uint8)
    model = model_from_checkpoint(payload)
    with torch.no_grad():
        levels = model.backbone(model.transform(pictures)[0].tensors)
    for name, (one, other) in levels.items():
        assert (one - other).norm() > 0.05 * one.norm(), name


@pytest.mark.slow
def test_an_old_run_that_cannot_learn_is_not_gone_on_with(tmp_path: Path) -> None:
    """As releases left it that kept four random blocks and all statistics of the body."""
    data = make_data(tmp_path / "data")
    run = tmp_path / "run"
    config = tiny_config(data, run, epochs=1)
    fit(config)
    payload = load_checkpoint(run / "last.pt")
    blank = build_model(TINY_MODEL).state_dict()
    old = replace(
        config, optim=replace(config.optim, freeze=4, batch_norm="heads", backbone_lr=0.3)
    )
    for weights in (payload["weights"], payload["training"]["model"]):
        weights.update({k: v for k, v in blank.items() if "body" in k and "running" in k})
    del payload["format"], payload["version"]
    save_checkpoint(run / "last.pt", {**payload, "config": to_dict(old)})
    (run / "config.json").write_text(json.dumps(to_dict(old)))
    with pytest.raises(UserError, match=r"freeze 4 .* cannot be mended: begin another"):
        fit(replace(old, resume=run))
    # Its weights can be a start: then the body learns.
    fit(replace(config, run=tmp_path / "child", init=run / "last.pt"))
    child = load_checkpoint(tmp_path / "child" / "last.pt")
    assert chosen(checkpoint_config(child).optim) == (0, "all", 1.0)


@pytest.mark.slow
def test_what_was_chosen_is_kept_on_resuming(tmp_path: Path) -> None:
    """By then the weights have learned, and would be taken for others than it began with."""
    data = make_data(tmp_path / "data")
    config = tiny_config(data, tmp_path / "run", epochs=1)
    fit(config)
    fit(replace(config, resume=tmp_path / "run", optim=replace(config.optim, epochs=2)))
    config = checkpoint_config(load_checkpoint(tmp_path / "run" / "last.pt"))
    assert chosen(config.optim) == (0, "all", 1.0)


# ---- the score calibration ---------------------------------------------------------------------


def test_a_new_network_is_not_calibrated_and_the_shipped_one_is() -> None:
    assert ModelConfig().score_calibration == 0.5
    assert build_model(TINY_MODEL).roi_heads.shift == 0
    shipped = load_checkpoint(find_checkpoint("shipped"))
    config = checkpoint_config(shipped).model
    assert (config.score_calibration, config.temperature) == (0.495, 0.5)
    assert model_from_checkpoint(shipped).roi_heads.shift == pytest.approx(-0.02, abs=1e-4)
    # What is trained from it looks at no more proposals than it does.
    assert inherit(ModelConfig(), config).min_objectness == config.min_objectness == 0.1
    with pytest.raises(UserError, match="score_calibration must be between 0 and 1"):
        TrainConfig(model=ModelConfig(score_calibration=1.0))


def test_a_checkpoint_that_does_not_say_it_keeps_its_scores() -> None:
    """It was written when 0.965 was everybody's default, and gives what it gave."""
    values = to_dict(ModelConfig())
    del values["score_calibration"]
    assert from_dict(ModelConfig, values).score_calibration == OLD_SCORE_CALIBRATION == 0.965


def test_weak_proposals_of_a_new_network_are_looked_at() -> None:
    """0.3, measured for the shipped weights, left out what a network from scratch had learned."""
    values = to_dict(ModelConfig())
    del values["min_objectness"]
    old = from_dict(ModelConfig, values)
    assert old.min_objectness == OLD_MIN_OBJECTNESS == 0.3
    assert build_model(TINY_MODEL).rpn.score_thresh == 0.1
    kept = replace(TINY_MODEL, min_objectness=0.3)
    assert build_model(kept).rpn.score_thresh == 0.3
    # What learns from now on learns the overlap: not its parent's.
    assert build_model(inherit(TINY_MODEL, kept), pretrained=False).rpn.score_thresh == 0.1
    surer = replace(TINY_MODEL, min_objectness=0.01)  # it looked at weaker ones
    assert build_model(inherit(TINY_MODEL, surer), pretrained=False).rpn.score_thresh == 0.01
    with pytest.raises(UserError, match="temperature must be positive"):
        TrainConfig(model=ModelConfig(temperature=0.0))
    with pytest.raises(UserError, match="min_objectness must be"):
        TrainConfig(model=ModelConfig(min_objectness=1.0))


@pytest.mark.slow
def test_a_child_answers_as_its_parent_before_it_learns(tmp_path: Path) -> None:
    parent = replace(TINY_MODEL, score_calibration=0.9, temperature=0.5, objectness=0.25)
    assert inherit(TINY_MODEL, parent) == parent
    assert inherit(replace(TINY_MODEL, score_calibration=0.7), parent).score_calibration == 0.7
    assert inherit(replace(TINY_MODEL, head_width=16), parent).head_width == 16  # has a flag
    data = make_data(tmp_path / "data")
    config = tiny_config(data, tmp_path / "one", epochs=1)
    fit(replace(config, model=parent))
    child = replace(config, run=tmp_path / "two", init=tmp_path / "one" / "best.pt")
    fit(child)
    fit(replace(child, resume=tmp_path / "two", optim=replace(child.optim, epochs=2)))
    model, artifact = open_checkpoint(tmp_path / "two" / "last.pt")
    assert artifact.config.model == parent
    assert model.roi_heads.shift == pytest.approx(2.1972, abs=1e-4)
    assert model.roi_heads.temperature == 0.5


def test_pictures_that_the_parent_has_learned_from_are_not_to_validate_on(
    data: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a part that was given it is said; where one set is divided, they are to train."""
    config = replace(tiny_config(data, tmp_path / "run"), init=finished / "best.pt")
    valid = data / "train" / "images", data / "train" / "annotations"
    same = replace(config.data, valid_path=valid[0], valid_ann_dir=valid[1])
    Trainer(replace(config, data=same), World(), torch.device("cpu"))
    assert "validate on: 8 of these 8 images were trained on, the first is scene_00" in caplog.text
    caplog.clear()
    Trainer(config, World(), torch.device("cpu"))
    assert "were trained on" not in caplog.text

    grown = make_voc(tmp_path / "grown", 12, seed=7)
    for path in (data / "train").rglob("scene_*"):
        shutil.copy(path, grown / path.parent.name / path.name.replace("scene", "old"))
    one = replace(config.data, **dict.fromkeys(FOUR_PATHS), data_dir=grown, valid_share=0.5)
    divided = Trainer(replace(config, data=one), World(), torch.device("cpu")).data.division
    assert divided is not None
    assert len(divided.valid) == 10
    assert not any("old" in name for name in divided.valid)
