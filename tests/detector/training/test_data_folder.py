"""`--data`: one folder in place of four, divided where it has no validation part."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import faces
from detector.checkpoint import load_checkpoint
from detector.config import DataConfig, TrainConfig, load_config
from detector.evaluation.truth import read_part
from detector.tasks import make_config
from detector.training.distributed import World
from detector.training.setup import open_index
from detector.training.train import Trainer, fit
from faces.errors import UserError
from scripts.main import main
from tests.tiny import make_data, make_voc, tiny_config


@pytest.fixture
def one_set(tmp_path: Path) -> Path:
    """Twenty pictures, and a copy of each of the first five in another encoding."""
    folder = make_voc(tmp_path / "photos", 20)
    for i in range(5):
        with Image.open(folder / "images" / f"scene_{i:02d}.png") as image:
            image.save(folder / "images" / f"copy_{i:02d}.jpg", quality=70)
        shutil.copy(
            folder / "annotations" / f"scene_{i:02d}.xml",
            folder / "annotations" / f"copy_{i:02d}.xml",
        )
    return folder


def config_of(folder: Path, run: Path, **optim: Any) -> TrainConfig:
    config = tiny_config(folder, run, **optim)
    four = ("image_path", "train_ann_dir", "valid_path", "valid_ann_dir")
    data = replace(config.data, data_dir=None, **dict.fromkeys(four))
    return replace(config, data=replace(data, data_dir=folder))


def test_a_folder_with_two_parts_is_as_the_four_paths(tmp_path: Path) -> None:
    folder = make_data(tmp_path / "data")
    train, valid, division = open_index(DataConfig(data_dir=folder), World())
    assert division is None
    assert train.image_dir == folder / "train" / "images"
    assert valid.image_dir == folder / "val" / "images"
    assert (len(train), len(valid)) == (8, 3)


def test_a_folder_with_only_a_validation_part_trains_nothing(tmp_path: Path) -> None:
    make_voc(tmp_path / "data" / "val", 3)
    with pytest.raises(UserError, match="has only a part to validate on"):
        open_index(DataConfig(data_dir=tmp_path / "data"), World())


def test_one_set_is_divided_and_its_boxes_stay_with_their_pictures(one_set: Path) -> None:
    whole, _, _ = open_index(
        DataConfig(
            image_path=one_set / "images", train_ann_dir=one_set / "annotations",
            valid_path=one_set / "images", valid_ann_dir=one_set / "annotations",
        ),
        World(),
    )  # fmt: skip
    train, valid, division = open_index(DataConfig(data_dir=one_set, valid_share=0.3), World())
    assert division is not None
    assert len(train) + len(valid) == 25
    scenes = [{part.name(i)[-6:-4] for i in range(len(part))} for part in (train, valid)]
    assert not scenes[0] & scenes[1]
    where = {whole.name(i): i for i in range(len(whole))}
    for part in (train, valid):
        for i in range(len(part)):
            k = where[part.name(i)]
            assert part.boxes(i).tolist() == whole.boxes(k).tolist()
            assert part.labels(i).tolist() == whole.labels(k).tolist()
            assert part.sizes[i].tolist() == whole.sizes[k].tolist()
            assert part.faces[i] == whole.faces[k]


@pytest.mark.slow
def test_a_run_keeps_its_division_where_evaluate_and_resume_find_it(
    one_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    config = config_of(one_set, run, epochs=1, batch_size=10, ap_every=0)
    assert fit(config).history
    kept = json.loads((run / "split.json").read_text())
    for file in ("last.pt", "best.pt"):
        assert load_checkpoint(run / file)["split"] == kept
    valid = {Path(name).stem for name in kept["valid"]}

    truth, images = read_part(one_set, (), run / "best.pt", None)
    assert {item.name for item in truth} == set(images) == valid
    truth, _ = read_part(one_set, (), None, run)
    assert {item.name for item in truth} == valid
    assert len(read_part(one_set, (), None, None)[0]) == 25  # nobody knows of a division

    # A picture that comes later, and could be like one of either part, is in neither.
    shutil.copy(one_set / "images" / "scene_09.png", one_set / "images" / "later.png")
    shutil.copy(one_set / "annotations" / "scene_09.xml", one_set / "annotations" / "later.xml")
    config = load_config(run)
    resumed = Trainer(config, World(), torch.device("cpu"), 0)
    assert resumed.data.division is not None
    assert resumed.data.division.to_dict() == kept
    assert {resumed.data.valid.name(i) for i in range(len(kept["valid"]))} == set(kept["valid"])
    assert len(resumed.data.train) == len(kept["train"])

    make_voc(one_set.with_name("else") / "train", 4)
    make_voc(one_set.with_name("else") / "val", 2)
    moved = replace(config, data=replace(config.data, data_dir=one_set.with_name("else")))
    with pytest.raises(UserError, match=r"has a part to validate on now"):
        Trainer(moved, World(), torch.device("cpu"), 0)

    # Of other pictures with the same names nothing is known.
    other = make_voc(tmp_path / "other", 20, seed=5, size=(96, 80))
    assert len(read_part(other, (), run / "best.pt", None)[0]) == 20

    assert main(["train", "--resume", str(run), "--data", str(other)]) == 2
    assert "data cannot be changed in a resumed run" in capsys.readouterr().err


def test_python_and_toml_call_it_data(tmp_path: Path) -> None:
    assert make_config(None, {"data": "photos"}).data.data_dir == Path("photos")
    assert make_config(None, {"data": {"data_dir": "photos"}}).data.data_dir == Path("photos")
    toml = tmp_path / "mine.toml"
    toml.write_text('data = "photos"\nvalid_share = 0.2\n')
    data = make_config(toml, {}).data
    assert (data.data_dir, data.valid_share) == (Path("photos"), 0.2)
    with pytest.raises(UserError, match="data=nowhere: there is no such folder"):
        faces.train(data="nowhere", run=str(tmp_path / "run"), device="cpu")


@pytest.mark.parametrize("name", ["image_path", "train_ann_dir", "valid_path", "valid_ann_dir"])
def test_both_ways_at_once_are_refused_with_both_names(name: str) -> None:
    with pytest.raises(UserError, match=f"give data or {name}, not both"):
        DataConfig(data_dir=Path("a")), make_config(None, {"data": "a", name: "b"})


@pytest.mark.parametrize("share", [0.0, -0.1, 0.6])
def test_a_share_that_cannot_be(share: float) -> None:
    with pytest.raises(UserError, match="valid_share must be"):
        make_config(None, {"valid_share": share})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("evaluate --data a --wider b", "not data and wider"),
        ("evaluate --data a --image-path b", "give data or --image-path, not both"),
        ("evaluate --wider a --split b", "split needs data"),
        ("evaluate --wider a --part test", "part needs data"),
        ("evaluate --data a --split b --part test", "split is about no part to test"),
        ("evaluate --data nowhere", "--data nowhere: there is no such folder"),
        ("calibrate a.pt --data a --image-path b", "give --data or --image-path, not both"),
        ("calibrate --folders a --data b", "need a detector's MODEL.pt"),
    ],
)
def test_what_does_not_go_together(
    flags: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(flags.split()) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = TrainConfig(run=tmp_path / "runs" / "none", data=DataConfig(tmp_path / "empty"))
    with pytest.raises(UserError, match="no annotations"):
        fit(config)
    assert not (tmp_path / "runs").exists()
