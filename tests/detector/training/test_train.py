"""The trainer on a tiny network: what it learns, writes and starts from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint, model_from_checkpoint
from detector.config import ModelConfig
from detector.data.submission import scored_boxes
from detector.evaluation.curves import voc_curve
from detector.evaluation.matching import match
from detector.evaluation.truth import read_voc_truth
from detector.inference.load import load_detector
from detector.model import build_model
from detector.training.train import Trainer, fit
from detector.training_pictures import TrainingPictures, pictures_of
from faces.errors import UserError
from faces.history import TIMINGS, read_history
from faces.images.read import read_image
from faces.networks.torch import update_average
from tests.detector.training.runs import (
    FILES,
    same_run,
)
from tests.tiny import TINY_MODEL, make_voc, tiny_config


def test_a_run_leaves_exactly_these_files(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == FILES


def test_history_has_one_complete_line_an_epoch(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["step"] for line in lines] == [4, 8]
    parts = {"loss", "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    for line in lines:
        assert line["train"].keys() == line["valid"].keys() == parts
        assert line["train"]["loss"] == pytest.approx(
            sum(v for k, v in line["train"].items() if k != "loss"), rel=1e-5
        )
        assert line["lr"] > 0
        assert set(TIMINGS) <= line.keys()


def test_checkpoint_rebuilds_the_network_from_itself(finished: Path) -> None:
    payload = load_checkpoint(finished / "best.pt")
    assert "training" not in payload
    assert payload["provenance"]["training_images"] == 8
    model = model_from_checkpoint(payload)
    assert not model.training
    assert model.config == TINY_MODEL


@pytest.mark.slow
def test_learning_in_bfloat16_is_nearly_that_in_float32(data: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bf16"):
        config = replace(tiny_config(data, tmp_path / precision), precision=precision)
        history = fit(config).history
        losses[precision] = [line["train"]["loss"] for line in history]
        payload = load_checkpoint(tmp_path / precision / "last.pt")
        assert all(t.dtype != torch.bfloat16 for t in payload["training"]["model"].values())
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.1)


def average_precision(model: Path | str, folder: Path) -> float:
    """PASCAL VOC's AP50 on a folder of `make_voc`."""
    truth, images = read_voc_truth(folder / "annotations", folder / "images")
    detector = load_detector(model, max_side=96, score_threshold=0.005)
    found = {
        image.name: scored_boxes(detector.detect(read_image(images[image.name]))) for image in truth
    }
    return voc_curve(match(truth, found)).ap


@pytest.mark.slow
def test_training_learns(tmp_path: Path) -> None:
    """A network that finds nothing on new pictures finds most of what it was shown on others."""
    make_voc(tmp_path / "train", 8, seed=0)
    make_voc(tmp_path / "val", 8, seed=1)
    config = tiny_config(tmp_path, tmp_path / "run", epochs=6, learning_rate=2e-3, ema=0.0)
    fit(replace(config, model=ModelConfig(), init=Path("shipped")))
    assert average_precision("shipped", tmp_path / "val") < 0.1
    assert average_precision(tmp_path / "run" / "last.pt", tmp_path / "val") > 0.6


@pytest.mark.slow(20)
def test_training_learns_from_scratch(tmp_path: Path) -> None:
    """With four frozen random blocks and a body without statistics it found nothing, ever."""
    make_voc(tmp_path / "train", 64, seed=0)
    make_voc(tmp_path / "val", 8, seed=1)
    settings = {"epochs": 10, "batch_size": 4, "plateau_patience": 99, "cooldown": 0.5}
    config = tiny_config(tmp_path, tmp_path / "run", ema=0.0, ap_every=0, **settings)
    fit(replace(config, model=replace(TINY_MODEL, channels=16, head_width=32, width=0.25)))
    assert average_precision(tmp_path / "run" / "last.pt", tmp_path / "val") > 0.6


@pytest.mark.slow
def test_the_seed_changes_the_run_and_nothing_else_does(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    torch.manual_seed(12345)  # the state of the program around it must not matter
    fit(tiny_config(data, tmp_path / "again"))
    same_run(finished, tmp_path / "again")
    fit(tiny_config(data, tmp_path / "other", seed=1))
    assert read_history(tmp_path / "other")[0]["train"] != read_history(finished)[0]["train"]


@pytest.mark.slow
def test_same_samples_for_any_number_of_workers(data: Path, finished: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run")
    fit(replace(config, data=replace(config.data, num_workers=2)))
    same_run(finished, tmp_path / "run")


def test_a_second_run_does_not_overwrite_the_first(data: Path, finished: Path) -> None:
    with pytest.raises(UserError, match=r"already holds a run.*--resume"):
        fit(tiny_config(data, finished))


def test_an_unwritable_run_folder_is_found_before_training(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot be written"):
        fit(tiny_config(data, tmp_path / "file" / "run"))


@pytest.mark.parametrize("flag", ["image_path", "train_ann_dir", "valid_path", "valid_ann_dir"])
def test_missing_folders_are_named(data: Path, tmp_path: Path, flag: str) -> None:
    config = tiny_config(data, tmp_path / "run")
    config = replace(config, data=replace(config.data, **{flag: None}))
    with pytest.raises(UserError, match=f"{flag} is needed"):
        fit(config)


@pytest.mark.slow
def test_model_file_and_figure_are_written_where_asked(
    data: Path, tmp_path: Path, draws: None
) -> None:
    config = replace(
        tiny_config(data, tmp_path / "run", epochs=1),
        model_file=tmp_path / "out" / "faces.pt",
        fig_path=tmp_path / "out" / "loss.svg",
    )
    fit(config)
    assert load_checkpoint(tmp_path / "out" / "faces.pt")["weights"]
    assert b"<svg" in (tmp_path / "out" / "loss.svg").read_bytes()


@pytest.mark.slow
def test_fine_tuning_starts_from_another_runs_weights(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny_config(data, tmp_path / "run", epochs=1), init=finished / "best.pt")
    started: list[dict[str, torch.Tensor]] = []

    def note(self: Trainer, batch: Any) -> dict[str, float]:
        started.append({k: v.clone() for k, v in self.model.state_dict().items()})
        return original(self, batch)

    original = Trainer.step
    monkeypatch.setattr(Trainer, "step", note)
    fit(config)
    for key, tensor in load_checkpoint(finished / "best.pt")["weights"].items():
        assert torch.equal(started[0][key], tensor), key
    other = replace(config, run=tmp_path / "other", model=replace(config.model, channels=16))
    with pytest.raises(UserError, match=r"init: .*another architecture.*channels"):
        fit(other)


def pictures(run: Path, file: str = "last.pt") -> TrainingPictures:
    payload = load_checkpoint(run / file)
    found = pictures_of(payload["pictures"], payload["provenance"])
    assert found is not None
    return found


@pytest.mark.slow
def test_a_run_knows_its_training_pictures_and_those_it_began_from(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    mine, valid = ((data / part / "images").iterdir() for part in ("train", "val"))
    for file in ("best.pt", "last.pt"):
        assert len(pictures(finished, file)) == 8
    assert all(pictures(finished).has(path) for path in mine)
    assert not any(pictures(finished).has(path) for path in valid)

    other = make_voc(tmp_path / "train", 4, seed=7)
    config = tiny_config(data, tmp_path / "run", epochs=1)
    config = replace(
        config,
        init=finished / "best.pt",
        data=replace(config.data, image_path=other / "images", train_ann_dir=other / "annotations"),
    )
    fit(config)
    assert len(pictures(tmp_path / "run")) == 8 + 4
    assert pictures(tmp_path / "run").has(other / "images" / "scene_00.png")

    for part in ("images", "annotations"):  # seen is seen, also when it is taken away later
        (path,) = (other / part).glob("scene_03.*")
        path.unlink()
    more = replace(config, init=None, optim=replace(config.optim, epochs=2))
    fit(replace(more, resume=tmp_path / "run", run=None))
    assert len(pictures(tmp_path / "run")) == 8 + 4


@pytest.mark.slow
def test_tensorboard_events_on_request(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    fit(replace(tiny_config(data, tmp_path / "run", epochs=1), tensorboard=True))
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


@pytest.mark.slow
def test_frozen_blocks_and_statistics_stay(data: Path, tmp_path: Path, finished: Path) -> None:
    start = load_checkpoint(finished / "best.pt")["weights"]
    fit(replace(tiny_config(data, tmp_path / "run", freeze=2), init=finished / "best.pt"))
    weights = load_checkpoint(tmp_path / "run" / "last.pt")["training"]["model"]
    body = "backbone.body."
    for name, tensor in weights.items():
        frozen = name.startswith((f"{body}0.", f"{body}1."))
        if frozen or (name.startswith(body) and "running" in name):
            assert torch.equal(tensor, start[name]), name
    moved = [n for n in weights if n.startswith(f"{body}5.") and n.endswith("weight")]
    assert moved
    assert any(not torch.equal(weights[n], start[n]) for n in moved)
    assert not torch.equal(
        weights["backbone.lateral.0.1.running_mean"], start["backbone.lateral.0.1.running_mean"]
    )


@pytest.mark.slow
def test_running_average() -> None:
    model, average = build_model(TINY_MODEL), build_model(TINY_MODEL)
    before = {k: v.clone() for k, v in average.state_dict().items()}
    update_average(average, model, 0.9, step=10**6)
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            wanted = 0.9 * before[key] + 0.1 * model.state_dict()[key]
            torch.testing.assert_close(value, wanted)
