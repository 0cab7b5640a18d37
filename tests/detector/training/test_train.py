"""The trainer on a tiny network: files, resuming, stopping, breaking down."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from detector.checkpoint import load_checkpoint, model_from_checkpoint, save_checkpoint
from detector.config import ModelConfig, OptimConfig, TrainConfig, load_config, to_dict
from detector.data.submission import scored_boxes
from detector.data.voc.annotation import read_voc, write_voc
from detector.evaluation.matching import match
from detector.evaluation.truth import read_voc_truth
from detector.evaluation.voc_ap import voc_curve
from detector.inference.load import load_detector
from detector.model import build_model
from detector.training import show, train
from detector.training.dataset import ValidationBatches
from detector.training.distributed import World
from detector.training.optimizer import (
    lower_learning_rate,
    make_optimizer,
    set_learning_rate,
    warmup_steps,
)
from detector.training.run_folder import open_run
from detector.training.saved import read_saved
from detector.training.train import LossNotFinite, Trainer, fit
from detector.training.validate import Validation
from detector.training_pictures import TrainingPictures, pictures_of
from faces import run as run_process
from faces.errors import UserError
from faces.files import temporary_name
from faces.history import TIMINGS, read_history
from faces.images.read import read_image
from faces.networks.averaging import update_average
from tests.conftest import ROOT
from tests.tiny import TINY_MODEL, make_data, make_voc, tiny_config

FILES = {"config.json", "history.jsonl", "last.pt", "best.pt", "loss.png", "samples.png"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    fit(tiny_config(data, run))
    return run


def same_run(one: Path, other: Path) -> None:
    """The same weights, optimizer and history, bit for bit; only timings may differ."""

    def plain(run: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k not in TIMINGS} for line in read_history(run)]

    assert plain(one) == plain(other)
    for name in ("last.pt", "best.pt"):
        a, b = load_checkpoint(one / name), load_checkpoint(other / name)
        assert a["weights"].keys() == b["weights"].keys()
        for key, tensor in a["weights"].items():
            assert torch.equal(tensor, b["weights"][key]), (name, key)
    a, b = (load_checkpoint(run / "last.pt")["training"] for run in (one, other))
    for key, tensor in a["model"].items():
        assert torch.equal(tensor, b["model"][key]), key
    for key, state in a["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, b["optimizer"]["state"][key][name]), (key, name)


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


@pytest.mark.slow
def test_training_learns_from_scratch(tmp_path: Path) -> None:
    """With four frozen random blocks and a body without statistics it found nothing, ever."""
    make_voc(tmp_path / "train", 16, seed=0)
    make_voc(tmp_path / "val", 8, seed=1)
    settings = {"epochs": 40, "batch_size": 4, "plateau_patience": 99, "cooldown": 0.5}
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


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 6]
)
def test_stop_and_resume_equals_an_uninterrupted_run(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    run = tmp_path / "run"
    config = tiny_config(data, run)
    original = Trainer.step

    def stop_after(self: Trainer, batch: Any) -> dict[str, float]:
        if self.progress.step + 1 == after:
            os.kill(os.getpid(), signal.SIGTERM) if os.name == "posix" else signal.raise_signal(
                signal.SIGTERM
            )
        return original(self, batch)

    monkeypatch.setattr(Trainer, "step", stop_after)
    result = fit(config)
    assert result.stopped_by == signal.SIGTERM
    assert load_checkpoint(run / "last.pt")["training"]["progress"]["step"] == after
    monkeypatch.undo()
    result = fit(replace(config, resume=run))
    assert result.stopped_by is None
    same_run(finished, run)


def saved_progress(run: Path) -> tuple[int, int, int]:
    """Epochs, batches of the current one and steps that last.pt holds."""
    progress = load_checkpoint(run / "last.pt")["training"]["progress"]
    return progress["epoch"], progress["batch"], progress["step"]


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the steps that are taken from now on."""
    taken: list[int] = []
    original = Trainer.step

    def step(self: Trainer, batch: Any) -> dict[str, float]:
        taken.append(self.progress.step)
        return original(self, batch)

    monkeypatch.setattr(Trainer, "step", step)
    return taken


@pytest.mark.slow
def test_a_signal_while_validating_stops_it_and_resuming_repeats_only_that(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    original = ValidationBatches._load

    def load(self: ValidationBatches, group: list[int]) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return original(self, group)

    monkeypatch.setattr(ValidationBatches, "_load", load)
    monkeypatch.setattr(Trainer, "_save_best", lambda self: pytest.fail("it was not validated"))
    assert fit(tiny_config(data, run)).stopped_by == signal.SIGTERM
    assert saved_progress(run) == (0, 4, 4)
    assert not (run / "history.jsonl").exists()
    monkeypatch.undo()
    taken = count_steps(monkeypatch)
    assert fit(replace(tiny_config(data, run), resume=run)).stopped_by is None
    assert taken == [4, 5, 6, 7]
    same_run(finished, run)


@pytest.mark.slow
def test_a_broken_validation_picture_costs_no_epoch(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = make_data(tmp_path / "data"), tmp_path / "run"
    bad = data / "val" / "images" / "scene_01.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:2000])  # the header is fine
    with pytest.raises(UserError) as caught:
        fit(tiny_config(data, run))
    first, second = str(caught.value).splitlines()
    assert str(bad) in first
    assert "The run was saved." in second
    assert f"`faces train --resume {run}`" in second
    assert saved_progress(run) == (0, 4, 4)
    bad.write_bytes(whole)
    taken = count_steps(monkeypatch)
    fit(replace(tiny_config(data, run), resume=run))
    assert taken == [4, 5, 6, 7]
    same_run(finished, run)


def test_a_validation_picture_that_went_is_told_on_resuming(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, run = make_data(tmp_path / "data"), tmp_path / "run"
    fit(tiny_config(data, run, epochs=1))
    (data / "val" / "images" / "scene_01.png").unlink()
    (data / "val" / "annotations" / "scene_01.xml").unlink()
    fit(replace(tiny_config(data, run), resume=run))
    assert "there are 2 validation images, 3 when the run was saved" in caplog.text


@pytest.mark.slow
def test_a_disk_that_fills_up_after_validating_costs_only_that(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    original = os.fsync
    full_for = ["best.pt"]

    def fsync(descriptor: int) -> None:
        if (run / "last.pt").exists() and full_for:
            raise OSError(28, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match=r"cannot write .*best\.pt: the disk is full.*--resume"):
        fit(tiny_config(data, run))
    assert saved_progress(run) == (0, 4, 4)
    full_for.clear()
    taken = count_steps(monkeypatch)
    fit(replace(tiny_config(data, run), resume=run))
    assert taken == [4, 5, 6, 7]
    same_run(finished, run)


def test_a_history_that_cannot_be_written_is_no_traceback(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, history: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train, "write_history", full)
    with pytest.raises(UserError, match=r"cannot write .*history\.jsonl: the disk is full"):
        fit(tiny_config(data, tmp_path / "run"))
    assert saved_progress(tmp_path / "run") == (1, 0, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("draw_samples", UserError("a.png is damaged"), "the sample pictures.*a.png is"),
        ("draw_samples", ZeroDivisionError("a fault"), "the sample pictures.*a fault"),
        ("save_figure", OSError(28, "No space left on device"), "the plot.*No space left"),
        ("plot_histories", ValueError("no axis"), "the plot.*no axis"),
    ],
)
def test_pictures_that_fail_do_not_end_a_run(
    data: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    error: Exception,
    message: str,
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(show, name, fail)
    assert len(fit(tiny_config(data, tmp_path / "run")).history) == 2
    same_run(finished, tmp_path / "run")
    warnings = [r for r in caplog.records if "the run goes on without" in r.getMessage()]
    assert len(warnings) == 2
    assert re.search(f"epoch 1: cannot write {message}", warnings[0].getMessage())
    # A fault of the program keeps its traceback.
    assert bool(warnings[0].exc_info) == (not isinstance(error, UserError | OSError))


def test_events_that_fail_do_not_end_a_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        def add_scalar(self, *args: Any) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(show, "open_tensorboard", lambda folder: Full())
    config = replace(tiny_config(data, tmp_path / "run", epochs=1), tensorboard=True)
    assert len(fit(config).history) == 1
    assert "cannot write TensorBoard's events, the run goes on without" in caplog.text


def validated_as(
    monkeypatch: pytest.MonkeyPatch, *epochs: tuple[float, float | None]
) -> list[bool]:
    """Validation gives these losses and AP50, one pair an epoch; whether AP was asked for."""
    coming, asked = iter(epochs), []

    def validated(*args: Any, ap: bool, **kwargs: Any) -> Validation:
        asked.append(ap)
        loss, ap50 = next(coming)
        return Validation({"loss": loss}, ap50 if ap else None)

    monkeypatch.setattr(train, "validate", validated)
    return asked


def kept_epoch(run: Path) -> int:
    """The epoch whose weights are in best.pt."""
    return load_checkpoint(run / "best.pt")["history"][-1]["epoch"]


@pytest.mark.slow
def test_the_best_epoch_is_the_one_with_the_highest_ap_or_the_lowest_loss(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    figures = [(0.9, 0.1), (0.8, 0.6), (0.5, 0.4), (0.7, 0.6)]
    validated_as(monkeypatch, *figures)
    history = fit(tiny_config(data, tmp_path / "ap", epochs=4)).history
    # The last has the AP of the second and a lower loss.
    assert [line["best"] for line in history] == [True, True, False, True]
    assert [line["ap50"] for line in history] == [0.1, 0.6, 0.4, 0.6]
    assert kept_epoch(tmp_path / "ap") == 4
    assert "AP50 0.600, validation loss 0.8000 (best)" in caplog.text
    validated_as(monkeypatch, *figures)
    fit(tiny_config(data, tmp_path / "loss", epochs=4, best="loss"))
    assert kept_epoch(tmp_path / "loss") == 3


@pytest.mark.slow
def test_ap_is_measured_every_so_many_epochs_and_after_the_last(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = validated_as(monkeypatch, *[(1.0 - epoch / 10, 0.5) for epoch in range(5)])
    history = fit(tiny_config(data, tmp_path / "run", epochs=5, ap_every=2)).history
    assert asked == [False, True, False, True, True]
    assert [line["ap50"] for line in history] == [None, 0.5, None, 0.5, 0.5]
    assert [line["best"] for line in history] == [True, True, False, True, True]
    asked = validated_as(monkeypatch, (1.0, 0.5), (0.9, 0.5))
    fit(tiny_config(data, tmp_path / "never", ap_every=0))
    assert asked == [False, False]
    assert kept_epoch(tmp_path / "never") == 2


def test_validation_pictures_without_a_face_are_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    for path in (data / "val" / "annotations").iterdir():
        write_voc(path, replace(read_voc(path), objects=()))
    with pytest.raises(UserError, match=r"val.annotations: none of its 3 annotations has an obj"):
        fit(tiny_config(data, tmp_path / "run"))


@pytest.mark.slow
def test_a_run_from_before_ap_was_measured_goes_on_by_the_loss(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    validated_as(monkeypatch, (0.9, None), (0.5, None))
    fit(tiny_config(data, run))
    payload = load_checkpoint(run / "last.pt")
    for old in (payload["history"], payload["training"]["progress"]["history"]):
        for line in old:
            for name in ("ap50", "best", "valid_seconds"):
                line.pop(name, None)
    torch.save(payload, run / "last.pt")
    values = json.loads((run / "config.json").read_text())
    del values["optim"]["best"], values["optim"]["ap_every"]
    (run / "config.json").write_text(json.dumps(values))
    assert load_config(run).optim.best == "ap"
    validated_as(monkeypatch, (0.7, 0.8), (0.4, 0.7))
    config = load_config(run)
    more = replace(config, optim=replace(config.optim, epochs=4), resume=run)
    assert [line.get("best") for line in fit(more).history] == [None, None, False, True]
    assert kept_epoch(run) == 4


@pytest.mark.slow
def test_more_epochs_for_a_finished_run(data: Path, tmp_path: Path) -> None:
    whole = tiny_config(data, tmp_path / "whole", epochs=2, cooldown=0.0)
    fit(whole)
    short = tiny_config(data, tmp_path / "run", epochs=1, cooldown=0.0)
    fit(short)
    fit(replace(short, optim=replace(short.optim, epochs=2), resume=tmp_path / "run"))
    same_run(tmp_path / "whole", tmp_path / "run")


def test_the_learning_rate_rises_falls_and_keeps_what_the_plateau_made_of_it() -> None:
    optim = OptimConfig(warmup_steps=4, cooldown=0.25, plateau_factor=0.5)
    optimizer = torch.optim.AdamW(
        [{"params": [torch.zeros(1)], "lr": lr, "full_lr": lr} for lr in (1.0, 0.25)]
    )
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)

    def rate(step: int) -> float:
        set_learning_rate(optimizer, optim, step, 40)
        one, other = (group["lr"] for group in optimizer.param_groups)
        assert other == pytest.approx(one / 4)
        return one

    assert [rate(step) for step in (0, 1, 3, 4, 30)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert [rate(step) for step in (31, 35, 39)] == pytest.approx([0.9, 0.5, 0.1])
    lower_learning_rate(scheduler, 1.0)  # the first is the best there is
    assert rate(30) == 1.0
    lower_learning_rate(scheduler, 2.0)  # no better: half of the full rate, not of the current one
    assert (rate(30), rate(35)) == (0.5, 0.25)
    set_learning_rate(optimizer, replace(optim, cooldown=0.0), 39, 40)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_short_run_spends_at_most_a_tenth_of_its_steps_on_the_warm_up() -> None:
    optim = OptimConfig()
    assert [warmup_steps(optim, steps) for steps in (9, 12, 500, 2000, 50_000)] == [
        *(0, 1, 50), optim.warmup_steps, optim.warmup_steps
    ]  # fmt: skip
    assert warmup_steps(replace(optim, warmup_steps=0), 2000) == 0
    optimizer = torch.optim.AdamW([{"params": [torch.zeros(1)], "lr": 1.0, "full_lr": 1.0}])
    set_learning_rate(optimizer, replace(optim, cooldown=0.0), 3, 20)
    assert optimizer.param_groups[0]["lr"] == 1.0


KILLER = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from detector.training import show, train
from detector.config import TrainConfig, from_dict

config = from_dict(TrainConfig, json.loads(sys.argv[1]))
real_fsync, real_replace = os.fsync, Path.replace

def fit(kill_at):
    count = 0

    def die():
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(descriptor):
        if count + 1 == kill_at:  # inside a write: half the bytes are in the temporary file
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
        die()
        real_fsync(descriptor)

    def replace_file(self, target):
        result = real_replace(self, target)
        die()  # between two files of a save
        return result

    os.fsync, Path.replace = fsync, replace_file
    resume = config.run if (config.run / "config.json").exists() else None
    train.fit(replace(config, resume=resume))

for kill_at in map(int, sys.argv[2:]):
    child = os.fork()  # torch is imported once
    if not child:
        code = 1
        try:
            fit(kill_at)
            code = 0
        finally:
            sys.excepthook(*sys.exc_info()) if code else None
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, flush=True)
    if code != -signal.SIGKILL:
        break
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_anywhere_and_resumed_equals_an_uninterrupted_run(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # A save after every step, so that kills fall into steps, checkpoints, history and pictures.
    config = replace(tiny_config(data, run), save_minutes=1e-9)
    kills = map(str, (3, 5, 2, 9, 1, 4, 7, 12, 10**6))
    done = subprocess.run(
        [sys.executable, "-c", KILLER, json.dumps(to_dict(config)), *kills],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=True,
    )  # fmt: skip
    *killed, last = map(int, done.stdout.split())
    assert last == 0, done.stderr
    assert len(killed) >= 4
    assert set(killed) == {-signal.SIGKILL}
    assert {path.name for path in run.iterdir()} == FILES
    same_run(finished, run)


@pytest.mark.slow
def test_same_samples_for_any_number_of_workers(data: Path, finished: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run")
    fit(replace(config, data=replace(config.data, num_workers=2)))
    same_run(finished, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_with_everything_needed(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run", learning_rate=1e30, warmup_steps=0, clip_norm=0.0)
    with pytest.raises(LossNotFinite, match=r"not finite at epoch \d+, step \d+: .*scene_\d\d.png"):
        fit(config)
    bad = torch.load(tmp_path / "run" / "bad_batch.pt", weights_only=True)
    assert len(bad["names"]) == len(bad["images"]) == len(bad["targets"]) == 2
    assert bad["losses"].keys() >= {"loss", "loss_objectness"}


def test_a_broken_step_keeps_the_last_good_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    config = tiny_config(data, run)
    original = train.update_average

    def poison(average: Any, model: Any, decay: float, step: int) -> None:
        original(average, model, decay, step)
        if step == 5:
            with torch.no_grad():
                model.roi_heads.box_predictor.cls_score.weight.fill_(float("nan"))

    monkeypatch.setattr(train, "update_average", poison)
    with pytest.raises(LossNotFinite, match="epoch 2, step 6"):
        fit(config)
    kept = load_checkpoint(run / "last.pt")
    assert kept["training"]["progress"]["epoch"] == 1
    assert all(torch.isfinite(t).all() for t in kept["weights"].values())


def test_a_second_run_does_not_overwrite_the_first(data: Path, finished: Path) -> None:
    with pytest.raises(UserError, match=r"already holds a run.*--resume"):
        fit(tiny_config(data, finished))


def test_resume_needs_a_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        fit(replace(tiny_config(data, tmp_path), resume=tmp_path))


def test_resuming_clears_away_what_a_killed_process_left(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    shutil.copyfile(finished / "config.json", tmp_path / "config.json")
    temporary_name(tmp_path / "last.pt").write_bytes(b"half of the weights")
    open_run(replace(tiny_config(data, tmp_path), resume=tmp_path), World())
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_an_unwritable_run_folder_is_found_before_training(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot be written"):
        fit(tiny_config(data, tmp_path / "file" / "run"))


def test_a_full_disk_is_found_before_the_first_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = run_process.shutil._ntuple_diskusage(10**9, 10**9, 1000)
    monkeypatch.setattr(run_process.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(Trainer, "step", lambda *args: pytest.fail("a step was taken"))
    with pytest.raises(UserError, match="MB free, the checkpoints need"):
        fit(tiny_config(data, tmp_path / "run"))


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_no_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    config = tiny_config(data, run)
    fit(replace(config, optim=replace(config.optim, epochs=1)))
    before = (run / "last.pt").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((UserError, OSError), match=r"disk is full|No space"):
        fit(replace(config, resume=run))
    monkeypatch.undo()
    assert (run / "last.pt").read_bytes() == before
    assert {path.name for path in run.iterdir()} == FILES


@pytest.mark.parametrize("flag", ["image_path", "train_ann_dir", "valid_path", "valid_ann_dir"])
def test_missing_folders_are_named(data: Path, tmp_path: Path, flag: str) -> None:
    config = tiny_config(data, tmp_path / "run")
    config = replace(config, data=replace(config.data, **{flag: None}))
    with pytest.raises(UserError, match=f"{flag} is needed"):
        fit(config)


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


def test_tensorboard_events_on_request(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    fit(replace(tiny_config(data, tmp_path / "run", epochs=1), tensorboard=True))
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


def test_amsgrad_reaches_the_optimizer(data: Path, tmp_path: Path) -> None:
    fit(tiny_config(data, tmp_path / "run", epochs=1, amsgrad=True))
    state = load_checkpoint(tmp_path / "run" / "last.pt")["training"]["optimizer"]
    assert all("max_exp_avg_sq" in values for values in state["state"].values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("warm_up", "rates"),
    [(0, [3e-3, 3e-3, 1.5e-3, 7.5e-4]), (8, [3e-3, 3e-3, 3e-3, 1.5e-3])],  # 4 steps an epoch
)
def test_plateau_is_stepped_on_the_validation_loss_once_warm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_up: int, rates: list[float]
) -> None:
    flat = {"loss": 1.0, "loss_classifier": 1.0}
    monkeypatch.setattr(train, "validate", lambda *a, **k: Validation(dict(flat), 0.5))
    monkeypatch.setattr(train, "warmup_steps", lambda optim, steps: warm_up)
    result = fit(
        tiny_config(
            data,
            tmp_path / "run",
            epochs=4,
            plateau_patience=0,
            plateau_factor=0.5,
            cooldown=0.0,
        )
    )
    assert [line["lr"] for line in result.history] == pytest.approx(rates)


def test_every_step_sets_the_learning_rate(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *rest: Any) -> None:
        set_learning_rate(optimizer, *rest)
        seen.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(train, "set_learning_rate", note)
    fit(tiny_config(data, tmp_path / "run", epochs=1, cooldown=0.5))
    assert seen == pytest.approx([3e-3, 3e-3, 3e-3, 1.5e-3])


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


def test_optimizer_groups() -> None:
    model = build_model(TINY_MODEL)
    config = TrainConfig(model=TINY_MODEL, optim=OptimConfig(backbone_lr=0.3))
    groups = make_optimizer(model, config).param_groups
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {
        (1e-3, 1e-2), (1e-3, 0.0), (3e-4, 1e-2), (3e-4, 0.0)
    }  # fmt: skip
    assert all(p.ndim == 1 for g in groups if g["weight_decay"] == 0 for p in g["params"])
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_running_average() -> None:
    model, average = build_model(TINY_MODEL), build_model(TINY_MODEL)
    before = {k: v.clone() for k, v in average.state_dict().items()}
    update_average(average, model, 0.9, step=10**6)
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            wanted = 0.9 * before[key] + 0.1 * model.state_dict()[key]
            torch.testing.assert_close(value, wanted)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_broken_picture_ends_a_run_that_was_saved_and_goes_on_without_it(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = make_data(tmp_path / "data")
    config = tiny_config(data, tmp_path / "run", batch_size=1)
    config = replace(config, data=replace(config.data, num_workers=workers))
    bad = data / "train" / "images" / "scene_03.png"
    bad.write_bytes(bad.read_bytes()[:2000])  # the header is fine
    with pytest.raises(UserError) as caught:
        fit(config)
    first, second = str(caught.value).splitlines()
    assert str(bad) in first
    assert "Traceback" not in str(caught.value)
    assert f"`faces train --resume {tmp_path / 'run'}`" in second
    done = load_checkpoint(tmp_path / "run" / "last.pt")["training"]["progress"]["step"]
    bad.unlink()
    (data / "train" / "annotations" / "scene_03.xml").unlink()
    result = fit(replace(config, resume=tmp_path / "run"))
    assert "there are 7 training images, 8 when the run was saved" in caplog.text
    assert [line["epoch"] for line in result.history] == [1, 2]
    assert 0 <= done < result.history[0]["step"]


def test_fewer_pictures_on_resuming_never_make_the_learning_rate_negative(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    config = tiny_config(data, tmp_path / "run", batch_size=1, epochs=2, cooldown=1.0)
    fit(replace(config, optim=replace(config.optim, epochs=1)))
    for number in (2, 3, 4, 5, 6):
        (data / "train" / "images" / f"scene_{number:02d}.png").unlink()
        (data / "train" / "annotations" / f"scene_{number:02d}.xml").unlink()
    result = fit(replace(config, resume=tmp_path / "run"))
    assert result.history[-1]["lr"] == pytest.approx(3e-3 / 6)  # the last of 2 x 3 steps
    optimizer = torch.optim.AdamW([{"params": [torch.zeros(1)], "lr": 1.0, "full_lr": 1.0}])
    set_learning_rate(optimizer, OptimConfig(), 3_900, 3_600)
    assert optimizer.param_groups[0]["lr"] == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    """As a process with workers; the tests of resuming stop runs with SIGTERM."""
    config = replace(tiny_config(data, tmp_path / "run", epochs=500))
    path = tmp_path / "config.toml"
    path.write_text(toml(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.main", "train", "--config", str(path), "-w", "2"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    lines: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if "epoch 2/500" in line:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
            break
    out, rest = process.communicate(timeout=500)
    text = "".join(lines) + rest
    assert process.returncode == 128 + signal.SIGINT, text
    assert "Traceback" not in text
    assert f"Go on with: faces train --resume {tmp_path / 'run'}" in text
    assert load_checkpoint(tmp_path / "run" / "last.pt")["training"]["progress"]["step"] >= 8
    assert not list((tmp_path / "run").glob(".*"))
    assert out == ""


@pytest.mark.slow
def test_a_finished_command_ends_with_its_workers(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(toml(tiny_config(data, tmp_path / "run", epochs=1)))
    done = subprocess.run(
        [sys.executable, "-m", "scripts.main", "train", "--config", str(path), "-w", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "checkpoint:" in done.stdout


def toml(config: TrainConfig) -> str:
    """The configuration as a --config file."""

    def text(value: Any) -> str:
        return json.dumps(value)

    lines, tables = [], []
    for key, value in to_dict(config).items():
        if isinstance(value, dict):
            inner = [f"{k} = {text(v)}" for k, v in value.items() if v is not None]
            tables.append(f"[{key}]\n" + "\n".join(inner))
        elif value is not None:
            lines.append(f"{key} = {text(value)}")
    return "\n".join([*lines, *tables])


TORCHRUN_GRADIENTS = textwrap.dedent(
    """
    import sys, torch
    from detector.model import build_model
    from detector.training.accumulate import accumulate_gradients
    from detector.training.distributed import join_world, leave_world
    from tests.tiny import TINY_MODEL

    torch.set_num_threads(1)
    world = join_world()
    torch.manual_seed(0)
    model = build_model(TINY_MODEL)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    # Every anchor and proposal is sampled, so nothing is left to chance.
    model.rpn.fg_bg_sampler.batch_size_per_image = 10**9
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 10**9
    model.rpn.fg_bg_sampler.positive_fraction = 1.0
    model.roi_heads.fg_bg_sampler.positive_fraction = 1.0
    random = torch.Generator().manual_seed(1)
    pair = torch.randint(0, 255, (2, 3, 64, 64), generator=random, dtype=torch.uint8)
    boxes = [torch.tensor([[8.0, 8, 28, 32]]), torch.tensor([[20.0, 30, 44, 60]])]
    images = torch.cat([pair, pair])
    targets = [{"boxes": b, "labels": torch.ones(1, dtype=torch.int64)} for b in boxes * 2]
    share = 4 // world.size
    mine = slice(world.rank * share, (world.rank + 1) * share)
    wrapped = world.wrap(model, torch.device("cpu"))
    if sys.argv[2:]:
        parts = [(images[i : i + 1], targets[i : i + 1], [i]) for i in range(mine.start, mine.stop)]
        with world.apart(wrapped):
            accumulate_gradients(model, parts, lambda part: wrapped(*part[:2]))
        world.mean_gradients(model)
    else:
        sum(wrapped(images[mine], targets[mine]).values()).backward()
    if world.main:
        torch.save({n: p.grad for n, p in model.named_parameters()}, sys.argv[1])
    leave_world()
    """
)


def torchrun(*arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        *arguments,
    ]  # fmt: skip


@pytest.mark.parametrize("arch", ["fpn", pytest.param("reference", marks=pytest.mark.slow)])
def test_accumulated_batches_give_the_gradient_of_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_reference: None, arch: Any
) -> None:
    """Although some of their pictures show no face, and others three."""

    def gradient(batch_size: int, accumulate: int) -> tuple[dict[str, float], Any]:
        config = tiny_config(
            data, tmp_path / f"{batch_size}", batch_size=batch_size, accumulate=accumulate,
            clip_norm=0.0, seed=4,
        )  # fmt: skip
        config = replace(config, model=replace(config.model, arch=arch), precision="float32")
        trainer = Trainer(config, World(), torch.device("cpu"))
        for part in (trainer.model.rpn, trainer.model.roi_heads):  # so that nothing is drawn
            part.fg_bg_sampler.batch_size_per_image = 10**9
            part.fg_bg_sampler.positive_fraction = 1.0
        monkeypatch.setattr(trainer.optimizer, "step", lambda: None)
        parts = list(trainer.data.loader)
        assert [len(images) for images, _, _ in parts] == [batch_size] * accumulate
        assert len({len(target["boxes"]) for _, targets, _ in parts for target in targets}) > 1
        losses = trainer.step(parts)
        return losses, {n: p.grad for n, p in trainer.model.named_parameters()}

    def without_statistics(model: Any, optim: Any) -> None:
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()

    monkeypatch.setattr(train, "set_train_mode", without_statistics)
    losses, whole = gradient(8, 1)
    for batch_size, accumulate in ((4, 2), (1, 8))[: 2 if arch == "fpn" else 1]:
        added, parts = gradient(batch_size, accumulate)
        assert added == pytest.approx(losses, rel=1e-5)
        for name, one in whole.items():
            torch.testing.assert_close(parts[name], one, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_gradients_of_two_processes_equal_those_of_one(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(TORCHRUN_GRADIENTS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    alone, both = [sys.executable, str(script)], torchrun(str(script))
    ways = {"one": (alone, []), "two": (both, []), "accumulated": (both, ["accumulate"])}
    gradients = {}
    for name, (command, more) in ways.items():
        out = tmp_path / f"{name}.pt"
        subprocess.run(
            [*command, str(out), *more], cwd=ROOT, env=environment, check=True, timeout=500,
            capture_output=True,
        )  # fmt: skip
        gradients[name] = torch.load(out, weights_only=True)
    one = gradients.pop("one")
    assert max(float(gradient.abs().max()) for gradient in one.values()) > 1e-2
    for other in gradients.values():
        assert one.keys() == other.keys()
        for name, gradient in one.items():
            torch.testing.assert_close(other[name], gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("before", "remedy"), [(2, "torchrun --nproc-per-node 2"), (1, None)])
def test_resuming_with_another_number_of_processes_is_refused(
    data: Path, finished: Path, tmp_path: Path, before: int, remedy: str | None
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    payload = load_checkpoint(run / "last.pt")
    payload["provenance"]["processes"] = before
    del payload["format"], payload["version"]
    save_checkpoint(run / "last.pt", payload)
    config = tiny_config(data, finished)
    config = replace(config, resume=run, optim=replace(config.optim, epochs=3))
    if remedy is None:
        assert len(fit(config).history) == 3  # in a copy of its folder
        with pytest.raises(UserError, match=r"a run of 1 process, and there are 2 now.*--resume"):
            read_saved(run, World(0, 2))
    else:
        message = rf"a run of 2 processes, and there is 1 now: go on with {remedy}.*--init"
        with pytest.raises(UserError, match=message):
            fit(config)
    assert before == 1 or load_checkpoint(run / "last.pt")["training"]["progress"]["epoch"] == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"image_path": Path("elsewhere")}},
        {"data": {"classes": ("Face", "head")}},
        {"data": {"face_crops": 0.5}},
        {"model": {"channels": 16}},
        {"model": {"score_calibration": 0.7}},
        {"optim": {"batch_size": 4}},
        {"optim": {"freeze": 3}},
        {"optim": {"seed": 7}},
        {"init": Path("other.pt")},
        {"run": Path("elsewhere")},
    ],
)
def test_a_resumed_run_keeps_its_settings_from_python_too(
    data: Path, finished: Path, changes: dict[str, Any]
) -> None:
    config = replace(tiny_config(data, finished), resume=finished)
    [(part, value)] = changes.items()
    name = part
    if isinstance(value, dict):
        [name] = value
        value = replace(getattr(config, part), **value)
    with pytest.raises(UserError, match=f"{name} cannot be changed in a resumed run") as caught:
        fit(replace(config, **{part: value}))
    assert "Path(" not in str(caught.value)
    kept = getattr(getattr(config, part, None), name, "") if name != part else ""
    assert not isinstance(kept, Path) or f" has {kept}):" in str(caught.value)


TORCHRUN_STOPPED = textwrap.dedent(
    """
    import json, signal, sys
    from detector.checkpoint import load_checkpoint
    from detector.config import TrainConfig, from_dict
    from detector.training.distributed import leave_world
    from detector.training.train import Trainer, fit

    original, stop = Trainer.step, None

    def step(self, batch):
        if self.world.rank == 1 and self.progress.step + 1 == stop:
            signal.raise_signal(signal.SIGTERM)
        return original(self, batch)

    Trainer.step = step
    for argument, stop in zip(sys.argv[1:], (None, 3, None), strict=True):
        result = fit(from_dict(TrainConfig, json.loads(argument)))
        assert (result.stopped_by == signal.SIGTERM) == (stop is not None)
        if stop and result.main:
            saved = load_checkpoint(result.run / "last.pt")["training"]["progress"]
            assert saved["step"] == stop
    leave_world()
    """
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_two_processes_stopped_and_resumed_equal_an_uninterrupted_run(
    data: Path, tmp_path: Path
) -> None:
    """The history too: the losses of both, not those of the one that writes."""
    script = tmp_path / "stopped.py"
    script.write_text(TORCHRUN_STOPPED)
    whole, run = tiny_config(data, tmp_path / "whole"), tiny_config(data, tmp_path / "run")
    again = replace(run, resume=tmp_path / "run")
    subprocess.run(
        torchrun(str(script), *(json.dumps(to_dict(config)) for config in (whole, run, again))),
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        check=True, timeout=500, capture_output=True,
    )  # fmt: skip
    same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_broken_picture_on_one_process_ends_all_and_the_run_is_saved(
    tmp_path: Path, part: str
) -> None:
    data, run = make_data(tmp_path / "data"), tmp_path / "run"
    make_voc(data / "val", 2, seed=9, size=(120, 96))  # a second group, for the second process
    bad = data / part / "images" / "scene_00.png"
    bad.write_bytes(bad.read_bytes()[:2000])
    path = tmp_path / "config.toml"
    path.write_text(toml(tiny_config(data, run, epochs=500)))
    done = subprocess.run(
        torchrun("-m", "scripts.train", "--", "--run", str(run), "--config", str(path)),
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{bad}" in done.stderr
    assert f"go on with `faces train --resume {run}`" in done.stderr
    epoch, batch, step = saved_progress(run)
    if part == "val":
        assert (epoch, batch, step) == (0, 4, 4)
    assert step == 4 * epoch + batch


@pytest.mark.slow
def test_torchrun_trains_and_writes_once(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = tmp_path / "config.toml"
    path.write_text(toml(tiny_config(data, run)))
    done = subprocess.run(
        # Without the "--" torchrun takes --run for an abbreviation of its own --run-path.
        torchrun("-m", "scripts.train", "--", "--run", str(run), "--config", str(path)),
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert {p.name for p in run.iterdir()} == FILES
    assert [line["step"] for line in read_history(run)] == [4, 8]
    assert done.stderr.count("epoch 2/2: training loss") == 1
    assert load_checkpoint(run / "last.pt")["provenance"]["processes"] == 2
    assert done.stdout.count("checkpoint:") == 1
