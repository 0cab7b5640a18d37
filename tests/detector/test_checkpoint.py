"""Checkpoints that are not ours, damaged, or of another version get one clear line."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detector.checkpoint import (
    checkpoint_config,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
)
from detector.config import OptimConfig, TrainConfig, load_config, to_dict
from detector.model import build_model
from faces.errors import UserError
from scripts.options.command_line import read_config
from scripts.train import read_arguments
from tests.tiny import TINY_MODEL


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    config = TrainConfig(model=TINY_MODEL, run=tmp_path / "run")
    model = build_model(TINY_MODEL)
    payload = {"config": to_dict(config), "weights": model.state_dict(), "history": []}
    save_checkpoint(tmp_path / "model.pt", payload)
    return tmp_path / "model.pt"


def test_round_trip(checkpoint: Path) -> None:
    payload = load_checkpoint(checkpoint)
    config = checkpoint_config(payload)
    assert config.model == TINY_MODEL
    assert config.run == checkpoint.parent / "run"
    model = model_from_checkpoint(payload)
    assert not model.training
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, payload["weights"][key])


def test_a_file_cut_short_at_any_length_is_refused(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        checkpoint.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match=r"model\.pt is not a checkpoint.*cut short"):
            load_checkpoint(checkpoint)


def test_nothing_is_unpickled(checkpoint: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.write_text, (tmp_path / "owned", "yes"))

    checkpoint.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError):
        load_checkpoint(checkpoint)
    torch.save({"format": "faces-detector", "version": 2, "config": Evil()}, checkpoint)
    with pytest.raises(UserError):
        load_checkpoint(checkpoint)
    assert not (tmp_path / "owned").exists()


def test_foreign_newer_and_missing_files(checkpoint: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="holds no detector"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "other.pt")
    with pytest.raises(UserError, match="holds no detector"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save({"format": "faces-detector", "version": 99}, tmp_path / "new.pt")
    with pytest.raises(UserError, match="version 99, this program reads version 2"):
        load_checkpoint(tmp_path / "new.pt")
    with pytest.raises(UserError, match="there is no detector"):
        load_checkpoint(tmp_path / "absent.pt")


def test_a_configuration_of_another_release_is_refused(checkpoint: Path) -> None:
    payload = load_checkpoint(checkpoint)
    payload["config"]["optim"]["momentum_of_tomorrow"] = 1
    with pytest.raises(UserError, match=r"another version.*unknown key 'momentum_of_tomorrow'"):
        checkpoint_config(payload)


def test_files_of_earlier_releases_say_half_and_body_lr(checkpoint: Path, tmp_path: Path) -> None:
    """The weights are under ``backbone.body``, as they still are."""
    payload = load_checkpoint(checkpoint)
    assert any(name.startswith("backbone.body.") for name in payload["weights"])
    config = replace(
        checkpoint_config(payload),
        model=replace(TINY_MODEL, score_calibration=0.75),
        optim=OptimConfig(backbone_lr=0.4),
    )
    values = to_dict(config)
    values["model"]["half"] = values["model"].pop("score_calibration")
    values["optim"]["body_lr"] = values["optim"].pop("backbone_lr")
    assert checkpoint_config({"config": values}) == config
    model = model_from_checkpoint({**payload, "config": values})
    assert model.roi_heads.shift == pytest.approx(math.log(3))
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert load_config(tmp_path) == config  # of a run to go on with


@pytest.mark.parametrize("key", ["body_lr", "body-lr", "backbone_lr"])
def test_a_toml_file_may_have_the_old_name(key: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text in (f"{key} = 0.4", f"[optim]\n{key} = 0.4"):
        path.write_text(text)
        assert read_config(path, TrainConfig()).optim.backbone_lr == 0.4


@pytest.mark.parametrize("flag", ["--body-lr", "--body_lr", "--backbone-lr"])
def test_the_old_flag_is_an_alias(flag: str) -> None:
    assert read_arguments([flag, "0.4"]).optim.backbone_lr == 0.4
