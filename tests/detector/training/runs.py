"""What tests of training runs look at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint
from detector.config import TrainConfig, to_dict
from detector.training import show
from detector.training.train import Trainer
from faces.history import TIMINGS, read_history
from tests.figures import empty_figures

FILES = {"config.json", "history.jsonl", "last.pt", "best.pt", "loss.png", "samples.png"}


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


def without_pictures(put: Callable[[Any, str, Any], None]) -> None:
    """Have runs write empty pictures; ``put`` is ``setattr``, or sets it for a while."""

    def draw_samples(*arguments: Any) -> None:
        arguments[-1].touch()

    empty_figures(put, show)
    put(show, "draw_samples", draw_samples)


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


def kept_epoch(run: Path) -> int:
    """The epoch whose weights are in best.pt."""
    return load_checkpoint(run / "best.pt")["history"][-1]["epoch"]


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


def torchrun(*arguments: str) -> list[str]:
    """The command line that starts a program as two processes."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        *arguments,
    ]  # fmt: skip
