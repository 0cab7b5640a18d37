"""`faces.train` and `faces.export`: what is asked for becomes what the command would do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import faces
from detector.config import DataConfig, OptimConfig, TrainConfig, preset, to_dict
from detector.tasks import make_config
from tests.tiny import make_data, tiny_config


def test_settings_come_over_the_file_and_that_over_the_architecture(tmp_path):
    toml = tmp_path / "mine.toml"
    toml.write_text('arch = "reference"\nepochs = 7\n[data]\nimage_size = 256\n', encoding="utf-8")
    config = make_config(str(toml), {"epochs": 3, "image_path": str(tmp_path)})
    expected = preset("reference")
    assert config == replace(
        expected,
        data=replace(expected.data, image_size=256, image_path=tmp_path),
        optim=replace(expected.optim, epochs=3),
    )
    assert make_config(None, {"arch": "reference"}) == preset("reference")
    assert make_config(None, {}) == preset("fpn")


def test_a_configuration_may_hold_texts_for_paths():
    config = make_config(TrainConfig(run="runs/a", data=DataConfig(image_path="photos")), {})
    assert config == TrainConfig(run=Path("runs/a"), data=DataConfig(image_path=Path("photos")))


def test_groups_tuples_and_nothing_are_taken():
    config = make_config(
        None, {"optim": OptimConfig(epochs=2), "learning_rate": 1, "face_sizes": (8, 50)}
    )
    assert config.optim == OptimConfig(epochs=2, learning_rate=1.0)
    assert config.data.face_sizes == (8.0, 50.0)
    assert make_config(TrainConfig(run=Path("a")), {"run": None}).run is None


def test_a_resumed_run_starts_from_its_own_settings(tmp_path):
    config = tiny_config(tmp_path, tmp_path / "run")
    (tmp_path / "run").mkdir()
    text = json.dumps(to_dict(config))
    (tmp_path / "run" / "config.json").write_text(text, encoding="utf-8")
    resumed = make_config(None, {"resume": str(tmp_path / "run"), "epochs": 5})
    assert resumed == replace(
        config, run=None, resume=tmp_path / "run", optim=replace(config.optim, epochs=5)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, r"unknown key 'epoch'; did you mean 'epochs'\?"),
        ({"epochs": "three"}, "epochs cannot be 'three'; it takes int"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"arch": "huge"}, "arch cannot be 'huge'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(faces.UserError, match=message):
        faces.train(**settings)


@pytest.mark.slow
def test_it_trains(tmp_path):
    config = tiny_config(make_data(tmp_path), tmp_path / "run", epochs=1)
    result = faces.train(config)
    assert result.run == tmp_path / "run"
    assert len(result.history) == 1
    assert len(faces.train(resume=result.run, epochs=2).history) == 2


def test_export_takes_whatever_shows_a_picture(tmp_path, small_export):
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    [file] = faces.export(small_export.checkpoint, tmp_path, ["torchscript"], [image])
    assert file.path == tmp_path / "small.torchscript"
    assert len(file.outcomes) > 1
    with pytest.raises(faces.UserError, match="image 0"):
        faces.export(small_export.checkpoint, tmp_path, ["onnx"], [tmp_path / "missing.png"])
