"""`faces train` as it is typed: the published flags, the order of settings, refusals."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from detector.checkpoint import load_checkpoint
from detector.config import TrainConfig, preset
from detector.training import train
from detector.training.validate import Validation
from faces.errors import UserError
from faces.history import read_history
from scripts.main import main
from scripts.train import read_arguments
from tests.detector.training.runs import without_pictures
from tests.tiny import make_data, make_voc, tiny_config


def test_defaults_follow_the_architecture() -> None:
    assert read_arguments([]) == TrainConfig()
    assert read_arguments(["--arch", "reference"]) == preset("reference")
    config = read_arguments(["--arch=reference", "-b", "3"])
    assert (config.optim.batch_size, config.optim.learning_rate) == (3, 1e-4)


def test_the_published_command_line_is_understood() -> None:
    config = read_arguments(
        shlex.split(
            "-b 10 -i 224 -e 40 -w 4 -l 0.0001 -m out.pt --image_path a --valid_path b "
            "--train_ann_dir c --valid_ann_dir d --fig_path loss.png"
        )
    )
    assert config.optim.batch_size == 10
    assert config.data.image_size == 224
    assert config.optim.epochs == 40
    assert config.data.num_workers == 4
    assert config.optim.learning_rate == 1e-4
    assert config.model_file == Path("out.pt")
    assert config.data.image_path == Path("a")
    assert config.data.valid_path == Path("b")
    assert config.data.train_ann_dir == Path("c")
    assert config.data.valid_ann_dir == Path("d")
    assert config.fig_path == Path("loss.png")


@pytest.mark.slow(20)
def test_the_published_command_line_trains_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As published but for the batch, the epochs, the weights, which would be downloaded, and the
    head's 82 M parameters: their writing takes longer than everything else."""
    monkeypatch.setattr("detector.model.REFERENCE_HEAD", 16)
    monkeypatch.chdir(tmp_path)
    make_voc(Path("train"), 2)
    make_voc(Path("val"), 2, seed=1)
    torch.save(mobilenet_v2().state_dict(), "body.pth")
    code = main(
        shlex.split(
            "train --arch reference -b 2 -i 224 -e 1 -w 1 -l 0.0001 -m OUT --image_path "
            "train/images --valid_path val/images --train_ann_dir train/annotations "
            "--valid_ann_dir val/annotations --fig_path figure.png --backbone-weights body.pth"
        )
    )
    assert code == 0
    payload = load_checkpoint(Path("OUT"))
    assert payload["config"]["model"]["arch"] == "reference"
    assert payload["weights"]["roi_heads.box_head.fc6.weight"].shape == (16, 62720)
    assert Path("figure.png").stat().st_size > 5000
    [line] = read_history(Path("runs/reference"))
    assert line["lr"] == 1e-4
    assert "checkpoint:" in capsys.readouterr().out


def test_default_then_file_then_flags(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('epochs = 7\nbatch_size = 4\n[model]\narch = "reference"\n')
    config = read_arguments(["--config", str(path), "-b", "6"])
    assert config.optim.epochs == 7
    assert config.optim.batch_size == 6
    assert config.optim.learning_rate == 1e-4  # the architecture that the file chose
    path.write_text("epoch = 7\n")
    with pytest.raises(UserError, match=r"mine\.toml.*'epoch'.*did you mean 'epochs'"):
        read_arguments(["--config", str(path)])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--image-size 100", "--image-size must be at least 128"),
        ("--image-size 150", "--image-size must be a multiple of 32"),
        ("--epochs 0", "epochs must be at least 1"),
        ("--learning-rate -1", "--learning-rate must be positive"),
        ("--ema 1", "ema must be"),
        ("-m model.onnx", "faces export"),
        ("--device nonsense", "device nonsense: take auto"),
        ("--clip-norm -1", "--clip-norm must not be negative"),
        ("--threads -3", "threads must not be negative"),
        ("--box-loss -1", "--box-loss must be positive"),
        ("--min-face -2", "--min-face must not be negative"),
        ("--resume nowhere", "is not a run folder"),
        ("--config nowhere.toml", r"nowhere\.toml"),
        ("", "--image-path is needed"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    flags: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *flags.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("faces: ")
    assert re.search(message, error)


def test_a_configuration_cannot_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would go on with a run whose settings were never compared with those given."""
    path = tmp_path / "mine.toml"
    path.write_text('resume = "runs/first"\nlearning_rate = 0.1\n')
    assert main(["train", "--config", str(path)]) == 2
    assert "give it as --resume" in capsys.readouterr().err


def tiny_flags(data: Path) -> list[str]:
    """A small network on the folders of `make_data`."""
    return (
        f"--image-path {data}/train/images --train-ann-dir {data}/train/annotations "
        f"--valid-path {data}/val/images --valid-ann-dir {data}/val/annotations -w 0 -b 4 -i 128 "
        "--max-side 96 --backbone-weights none --width 0.1 --channels 8 --head-width 8 "
        "--threads 1 --device cpu"
    ).split()


@pytest.mark.slow
def test_a_resumed_run_keeps_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pictures(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    data = make_data(tmp_path / "data")
    flags = tiny_flags(data)
    assert main(["train", *flags, "-e", "1", "--run", "r"]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", "r", "-b", "8"]) == 2
    assert "--batch-size cannot be changed in a resumed run" in capsys.readouterr().err
    assert main(["train", "--resume", "r", "-e", "2"]) == 0
    assert [line["epoch"] for line in read_history(Path("r"))] == [1, 2]
    # Asked for once everything was trained: what there is.
    assert main(["train", "--resume", "r", "-m", "mine.pt"]) == 0
    assert Path("mine.pt").read_bytes() == Path("r/best.pt").read_bytes()
    capsys.readouterr()
    Path("r/last.pt").unlink()
    assert main(["train", "--resume", "r"]) == 2
    assert "last.pt is missing" in capsys.readouterr().err
    assert [line["epoch"] for line in read_history(Path("r"))] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-m folder", "model: folder is a folder"),
        ("--fig-path folder", "fig-path: folder is a folder"),
        ("--fig-path loss.bmp", "a picture cannot be a .bmp"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_first_step(
    flags: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert main(["train", *tiny_flags(make_data(tmp_path / "data")), *flags.split()]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs" / "fpn" / "config.json").exists()


@pytest.mark.slow
def test_without_a_finite_validation_loss_there_is_no_best_checkpoint_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pictures(monkeypatch.setattr)
    data = make_data(tmp_path / "data")
    losses = iter([math.nan, math.nan, 0.7, 0.5])
    monkeypatch.setattr(train, "validate", lambda *a, **k: Validation({"loss": next(losses)}, 0.0))
    config = tiny_config(data, tmp_path / "run")
    monkeypatch.setattr("scripts.train.read_arguments", lambda argv: config)
    assert main(["train"]) == 2
    assert "no epoch of" in capsys.readouterr().err
    assert not (tmp_path / "run" / "best.pt").exists()
    more = replace(config, optim=replace(config.optim, epochs=4), resume=tmp_path / "run")
    assert [line["valid"]["loss"] for line in train.fit(more).history][2:] == [0.7, 0.5]
    assert load_checkpoint(tmp_path / "run" / "best.pt")["history"][-1]["valid"]["loss"] == 0.5
