"""Damaged pictures, full disks and losses that are not finite cost as little as they can."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint
from detector.training import show, train
from detector.training.train import LossNotFinite, Trainer, fit
from faces import run as run_process
from faces.errors import UserError
from tests.detector.training.runs import (
    FILES,
    count_steps,
    same_run,
    saved_progress,
)
from tests.tiny import make_data, tiny_config


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_loss_that_is_not_finite_stops_with_everything_needed(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run", learning_rate=1e30, warmup_steps=0, clip_norm=0.0)
    with pytest.raises(LossNotFinite, match=r"not finite at epoch \d+, step \d+: .*scene_\d\d.png"):
        fit(config)
    bad = torch.load(tmp_path / "run" / "bad_batch.pt", weights_only=True)
    assert len(bad["names"]) == len(bad["images"]) == len(bad["targets"]) == 2
    assert bad["losses"].keys() >= {"loss", "loss_objectness"}


@pytest.mark.slow
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
