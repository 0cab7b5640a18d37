"""The folder of a training run: made for a new run, or found for one to go on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.config import DataConfig, ModelConfig, OptimConfig, TrainConfig, load_config
from detector.training.distributed import World
from detector.training.start import left_open
from faces.errors import UserError
from faces.files import atomic_write_text

MAY_CHANGE: dict[type, set[str]] = {
    TrainConfig: {"resume", "model_file", "fig_path", "device", "threads", "save_minutes"}
    | {"tensorboard", "config"},
    DataConfig: {"num_workers", "cache_mb"},
    ModelConfig: set(),
    OptimConfig: {"epochs"},
}
"""What a resumed run may do differently without ceasing to be the same run."""


def open_run(config: TrainConfig, world: World) -> TrainConfig:
    """Make the run folder, or find the one to resume; returns the configuration with it as ``run``.

    A resumed run keeps its settings: those that ``config`` leaves open are taken from it. Raises
    UserError for others than it has, and rather than mix two runs in one folder.
    """
    if config.resume is not None:
        folder = config.resume
        config = _same_run(load_config(folder), config, folder)
        if world.main:
            for leftover in folder.glob(".part-*"):  # of a process killed while it wrote
                leftover.unlink(missing_ok=True)
        return config
    run = config.run or Path("runs") / config.model.arch
    if world.main:
        if (run / "config.json").exists():
            raise UserError(
                f"{run} already holds a run: go on with `faces train --resume {run}`, or choose "
                "another folder"
            )
        try:
            run.mkdir(parents=True, exist_ok=True)
            atomic_write_text(run / ".probe", "can this folder be written?")
            (run / ".probe").unlink()
        except OSError as error:
            raise UserError(f"the run folder {run} cannot be written: {error}") from error
    world.agree(0)
    return replace(config, run=run)


def _same_run(before: TrainConfig, after: TrainConfig, run: Path) -> TrainConfig:
    if after.run in (None, before.run):  # the folder may have been moved or copied since
        after = replace(after, run=run)
    parts = {
        name: _same(getattr(before, name), getattr(after, name), run)
        for name in ("data", "model", "optim")
    }
    return replace(_same(replace(before, run=run), after, run), **parts)


def _same(before: Any, after: Any, run: Path) -> Any:
    kept = {}
    for name, value in vars(before).items():
        if name in ("data", "model", "optim") or name in MAY_CHANGE[type(before)]:
            continue
        if getattr(after, name) != value and left_open(after, name):
            kept[name] = value
        elif getattr(after, name) != value:
            typed = "data" if name == "data_dir" else name  # its flag, and its name in Python
            raise UserError(
                f"{typed} cannot be changed in a resumed run ({run} has "
                f"{_plain(value)}): start a new run, or leave it out"
            )
    return replace(after, **kept)


def _plain(value: Any) -> str:
    """A setting as it would be typed."""
    if isinstance(value, tuple):
        return " ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)
