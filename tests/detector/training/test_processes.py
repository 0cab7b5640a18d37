"""Training as processes of its own: workers, Ctrl-C and torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint
from detector.config import to_dict
from faces.history import read_history
from tests.conftest import ROOT
from tests.detector.training.runs import (
    FILES,
    same_run,
    saved_progress,
    toml,
    torchrun,
)
from tests.tiny import make_data, make_voc, tiny_config


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


GRADIENTS = textwrap.dedent(
    """
    import sys, torch
    from detector.model import build_model
    from detector.training.optimizer import accumulate_gradients
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


def together(*commands: list[Any]) -> None:
    """Run ``[processes, script, *arguments]``, one after another."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.detector.training.together", json.dumps(commands)],
        cwd=ROOT, check=False, timeout=500, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow(10)
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_gradients_of_two_processes_equal_those_of_one(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    ways = {"one": (1, []), "two": (2, []), "accumulated": (2, ["accumulate"])}
    files = {name: tmp_path / f"{name}.pt" for name in ways}
    together(*([size, str(script), str(files[name]), *more] for name, (size, more) in ways.items()))
    gradients = {name: torch.load(file, weights_only=True) for name, file in files.items()}
    one = gradients.pop("one")
    assert max(float(gradient.abs().max()) for gradient in one.values()) > 1e-2
    for other in gradients.values():
        assert one.keys() == other.keys()
        for name, gradient in one.items():
            torch.testing.assert_close(other[name], gradient, atol=1e-4, rtol=1e-4)


STOPPED = textwrap.dedent(
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


@pytest.mark.slow(13)
@pytest.mark.skipif(sys.platform == "win32", reason="forks; POSIX signals")
def test_two_processes_stopped_and_resumed_equal_an_uninterrupted_run(
    data: Path, tmp_path: Path
) -> None:
    """The history too: the losses of both, not those of the one that writes."""
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    whole, run = tiny_config(data, tmp_path / "whole"), tiny_config(data, tmp_path / "run")
    again = replace(run, resume=tmp_path / "run")
    together([2, str(script), *(json.dumps(to_dict(config)) for config in (whole, run, again))])
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


@pytest.mark.slow(10)
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
