"""A run that was stopped or killed goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint, save_checkpoint
from detector.config import FOUR_PATHS, OptimConfig, TrainConfig, load_config, to_dict
from detector.training.dataset import ValidationBatches
from detector.training.distributed import World
from detector.training.optimizer import (
    set_learning_rate,
)
from detector.training.run_folder import open_run
from detector.training.saved import read_saved
from detector.training.train import Trainer, fit
from faces.errors import UserError
from faces.files import temporary_name
from scripts.main import main
from tests.conftest import ROOT
from tests.detector.training.runs import (
    FILES,
    count_steps,
    same_run,
    saved_progress,
)
from tests.tiny import make_data, make_voc, tiny_config


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
def test_more_epochs_for_a_finished_run(data: Path, tmp_path: Path) -> None:
    whole = tiny_config(data, tmp_path / "whole", epochs=2, cooldown=0.0)
    fit(whole)
    short = tiny_config(data, tmp_path / "run", epochs=1, cooldown=0.0)
    fit(short)
    fit(replace(short, optim=replace(short.optim, epochs=2), resume=tmp_path / "run"))
    same_run(tmp_path / "whole", tmp_path / "run")


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


@pytest.mark.slow
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


@pytest.fixture
def moved(data: Path, finished: Path, tmp_path: Path) -> TrainConfig:
    """A copy of a finished run, asked to go on with its pictures, which were moved."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(data, tmp_path / "pictures")
    began_with(tmp_path / "run", data=tiny_config(tmp_path / "gone", tmp_path).data)
    config = tiny_config(tmp_path / "pictures", tmp_path / "run")
    return replace(config, resume=tmp_path / "run")


def began_with(run: Path, **changes: Any) -> None:
    config = replace(load_config(run), **changes)
    (run / "config.json").write_text(json.dumps(to_dict(config)))


def go_on(config: TrainConfig) -> Trainer:
    config, source = open_run(config, World())
    return Trainer(replace(config, resume=None), World(), torch.device("cpu"), source)


def test_the_pictures_of_a_run_may_have_been_moved(
    data: Path, moved: TrainConfig, tmp_path: Path
) -> None:
    assert open_run(moved, World())[0].data == moved.data
    resumed = go_on(moved)
    assert (resumed.progress.epoch, len(resumed.data.train)) == (2, 8)
    assert load_config(tmp_path / "run").data == moved.data
    # Where they still are, they stay, and what is left out is as it was.
    began_with(tmp_path / "run", data=tiny_config(data, tmp_path).data)
    with pytest.raises(UserError, match="image_path cannot be changed"):
        open_run(moved, World())
    began = tiny_config(data, tmp_path).data
    for kept in (dict.fromkeys(FOUR_PATHS), {"image_path": began.image_path}):
        part = replace(moved.data, **{**dict.fromkeys(FOUR_PATHS), **kept})
        assert open_run(replace(moved, data=part), World())[0].data == began


def test_a_run_whose_pictures_were_moved_says_how_to_go_on(
    moved: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    four = dict.fromkeys(FOUR_PATHS)
    one = replace(moved.data, **four, data_dir=Path("photos"))
    began_with(tmp_path / "run", data=one)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", "run"]) == 2
    told = f"--data photos, which the run in run began with, is not there below {tmp_path}: say"
    assert told in capsys.readouterr().err


def test_a_run_does_not_go_on_with_other_pictures(moved: TrainConfig, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "pictures" / "train")
    make_voc(tmp_path / "pictures" / "train", 8, seed=5)
    with pytest.raises(
        UserError, match=r"images holds other pictures than the run in .*run began with"
    ):
        go_on(moved)
    assert load_config(tmp_path / "run").data != moved.data


def test_epochs_that_are_done_are_not_undone(moved: TrainConfig, tmp_path: Path) -> None:
    fewer = replace(moved, optim=replace(moved.optim, epochs=1))
    with pytest.raises(UserError, match=r"epochs must be 2 or more: so many are done in .*run"):
        go_on(fewer)
    assert load_config(tmp_path / "run").optim.epochs == 2


def test_one_file_may_be_spelled_in_two_ways(
    moved: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_with(tmp_path / "run", init=tmp_path / "parent.pt")
    monkeypatch.chdir(tmp_path)
    assert open_run(replace(moved, init=Path("parent.pt")), World())[1] == 0
    with pytest.raises(UserError, match="init cannot be changed"):
        open_run(replace(moved, init=Path("other.pt")), World())
