"""The folder of a training run: free for a new one, or found for one to go on with.

On several machines each has a folder of its own, and its own copy of the pictures.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.checkpoint import load_checkpoint
from detector.config import (
    AUTO,
    FOUR_PATHS,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    load_config,
    run_folder,
)
from detector.training.distributed import World
from detector.training.start import left_open
from faces.errors import UserError
from faces.files import check_writable

MAY_CHANGE: dict[type, set[str]] = {
    TrainConfig: {"resume", "model_file", "fig_path", "device", "threads", "save_minutes"}
    | {"tensorboard", "config"},
    DataConfig: {"num_workers", "cache_mb"},
    ModelConfig: set(),
    OptimConfig: {"epochs"},
}
"""What a resumed run may do differently without ceasing to be the same run."""


PICTURES = {"data_dir", *FOUR_PATHS}
"""Where the pictures are; on resuming, where they are now if they were moved."""

PLACES = {"run", "init", "backbone_weights", *PICTURES}
"""What lies elsewhere on every machine."""


def open_run(config: TrainConfig, world: World) -> tuple[TrainConfig, int | None]:
    """Choose the folder of a new run, or find the one to go on with.

    A run that goes on keeps its settings: those that ``config`` leaves open are taken from it.

    Returns the configuration with the folder as ``run``, and the rank in whose folder the run has
    come furthest (None: it is a new run). Raises UserError, on all ranks, for other settings than
    the run has, for others than another rank's, and rather than mix two runs in one folder.
    """
    kinds = world.gather("auto" if config.resume == AUTO else str(config.resume is not None))
    if len(set(kinds)) > 1:
        raise UserError("give --resume on all machines or on none, and auto on all or on none")
    folder = run_folder(config)
    source = _furthest(folder, world) if config.resume is not None else None
    if source is None and kinds[0] == "True":
        source = 0  # whose folder is then named for what it lacks
    problem = None
    try:
        if source is None:
            _check_free(folder, world)
        else:
            config = _go_on(config, folder, world, source)
    except UserError as error:
        problem = str(error)
    world.refuse(problem)
    config = replace(config, run=folder)
    _check_agreement(config, world)
    return config, source


def _furthest(folder: Path, world: World) -> int | None:
    """The first of the ranks whose copy of the run has the most steps; None when there is no run.

    It is rank 0's, unless its machine was replaced.
    """
    steps = -1
    if world.local == 0 and (folder / "config.json").exists():
        steps = 0
        if world.machines > 1 and (folder / "last.pt").is_file():
            try:
                training = load_checkpoint(folder / "last.pt")["training"]
                steps = 1 + training["progress"]["step"]
            except (UserError, KeyError):  # a damaged copy is no reason to end where others are
                steps = 0
    every = world.gather(steps)
    return every.index(max(every)) if max(every) >= 0 else None


def _check_free(folder: Path, world: World) -> None:
    """It is made once data and network are there: a run that cannot begin leaves nothing behind."""
    if world.local:
        return
    if (folder / "config.json").exists():
        raise UserError(
            f"{folder} already holds a run: go on with `faces train --resume {folder}`, or choose "
            "another folder"
        )
    check_writable(folder, "--run")


def _go_on(config: TrainConfig, folder: Path, world: World, source: int) -> TrainConfig:
    before, machine = world.share(lambda: (load_config(folder), world.machine), source)
    if world.local == 0:
        for leftover in folder.glob(".part-*"):  # of a process killed while it wrote
            leftover.unlink(missing_ok=True)
    world.spread(folder / "best.pt", source)
    config = _same_run(before, config, folder, PLACES if world.machine != machine else ())
    for name in sorted(PICTURES):
        path = getattr(config.data, name)
        if path is not None and path == getattr(before.data, name) and not path.exists():
            below = "" if path.is_absolute() else f" below {Path.cwd()}"
            raise UserError(
                f"{_typed(name)}={path}, which the run in {folder} began with, is not there{below}:"
                " say where it is now, and the run goes on with it"
            )
    return config


def _check_agreement(config: TrainConfig, world: World) -> None:
    """All ranks have the same settings, but for `PLACES` and what concerns one machine only."""
    mine = {
        name: _plain(value)
        for part in (config, config.data, config.model, config.optim)
        for name, value in vars(part).items()
        if name not in PLACES | (MAY_CHANGE[type(part)] - {"epochs"})
        and name not in ("data", "model", "optim")
    }
    first, *others = world.gather(mine)
    for rank, other in enumerate(others, start=1):
        for name, value in first.items():
            if other[name] != value:
                raise UserError(
                    f"{name} is {value} on process 0 and {other[name]} on process {rank}: give "
                    "the same settings on every machine"
                )


def _same_run(
    before: TrainConfig, after: TrainConfig, run: Path, free: Collection[str]
) -> TrainConfig:
    """``after``, with what it leaves open; settings in ``free`` may differ from ``before``."""
    if after.run in (None, before.run):  # the folder may have been moved or copied since
        after = replace(after, run=run)
    given = {name for name in PICTURES if getattr(after.data, name) is not None}
    if not given or given < set(FOUR_PATHS):  # what is left open stays
        same = {name: getattr(before.data, name) for name in PICTURES - given}
        after = replace(after, data=replace(after.data, **same))
    parts = {
        name: _same(getattr(before, name), getattr(after, name), run, free)
        for name in ("data", "model", "optim")
    }
    return replace(_same(replace(before, run=run), after, run, free), **parts)


def _same(before: Any, after: Any, run: Path, free: Collection[str]) -> Any:
    kept = {}
    for name, value in vars(before).items():
        if name in ("data", "model", "optim") or name in MAY_CHANGE[type(before)]:
            continue
        now = getattr(after, name)
        if now == value or (name in free and (now is not None or name in FOUR_PATHS)):
            continue
        moved = name in PICTURES and value is not None and not value.exists()
        if moved and now is not None:
            continue
        if left_open(after, name):
            kept[name] = value
        elif not (isinstance(now, Path) and value is not None and now.resolve() == value.resolve()):
            raise UserError(
                f"{_typed(name)} cannot be changed in a resumed run ({run} has "
                f"{_plain(value)}): start a new run, or leave it out"
            )
    return replace(after, **kept)


def _typed(name: str) -> str:
    """What a setting is called as a flag and in Python."""
    return "data" if name == "data_dir" else name


def _plain(value: Any) -> str:
    """A setting as it would be typed."""
    if isinstance(value, tuple):
        return " ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)
