"""The folder of a training run: may it be written, is there a run in it already."""

from __future__ import annotations

from pathlib import Path

from detector.config import TrainConfig, load_config
from detector.training.distributed import World
from faces.errors import UserError
from faces.files import atomic_write_text


def open_run(config: TrainConfig, world: World) -> Path:
    """Make the run folder, or find the one to resume; refuses to mix two runs in one folder."""
    if config.resume is not None:
        load_config(config.resume)  # raises when this is no run folder
        if world.main:
            for leftover in config.resume.glob(".part-*"):  # of a process killed while it wrote
                leftover.unlink(missing_ok=True)
        return config.resume
    run = config.run or Path("runs") / config.model.arch
    if world.main:
        if (run / "config.json").exists():
            raise UserError(
                f"{run} already holds a run: go on with --resume {run}, or choose another folder "
                "with --run"
            )
        try:
            run.mkdir(parents=True, exist_ok=True)
            atomic_write_text(run / ".probe", "can this folder be written?")
            (run / ".probe").unlink()
        except OSError as error:
            raise UserError(f"the run folder {run} cannot be written: {error}") from error
    world.agree(0)
    return run
