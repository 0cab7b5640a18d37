"""Which epoch is the best, and when its AP is measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint
from detector.config import load_config
from detector.data.voc.annotation import read_voc, write_voc
from detector.training import train
from detector.training.train import fit
from detector.training.validate import Validation
from faces.errors import UserError
from tests.detector.training.runs import (
    kept_epoch,
)
from tests.tiny import make_data, tiny_config


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
