"""Checkpoints that are not ours, damaged, or of another version get one clear line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from detector.checkpoint import (
    checkpoint_config,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
)
from detector.config import TrainConfig, to_dict
from detector.model import build_model
from faces.errors import UserError
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
    with pytest.raises(UserError, match=r"unknown field 'momentum_of_tomorrow'.*another version"):
        checkpoint_config(payload)
