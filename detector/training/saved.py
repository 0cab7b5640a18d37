"""What a training run saves, and how it goes on from there.

last.pt holds everything that a resumed run needs, best.pt only the weights to use. Nothing random
is saved: see `detector.training.train`.
"""

from __future__ import annotations

import datetime
import logging
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.optim.lr_scheduler import ReduceLROnPlateau

from detector.checkpoint import load_checkpoint
from detector.config import TrainConfig, to_dict
from detector.data.division import FILE, Division, read_division
from detector.model import FaceRCNN
from detector.training.distributed import World
from detector.training.run_folder import PICTURES
from detector.training.setup import TrainingData
from detector.training_pictures import TrainingPictures
from faces.errors import UserError
from faces.history import figure_format
from faces.run import check_room
from faces.text import counted

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a run has come; part of last.pt."""

    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches of the current epoch finished."""
    step: int = 0
    """Optimizer steps taken."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sum of each loss over the batches of the current epoch."""
    seconds: float = 0.0
    """Time the current epoch has taken so far."""
    waited: float = 0.0
    """Part of it spent waiting for data."""
    history: list[dict[str, Any]] = field(default_factory=list)

    def add(self, losses: dict[str, float], seconds: float, waited: float) -> None:
        """Count a batch."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batch += 1
        self.step += 1
        self.seconds += seconds
        self.waited += waited

    def images_per_second(self, batch_size: int) -> float:
        """Speed of this epoch; a large crop counts as four images, whose pixels it has."""
        return self.batch * batch_size / max(self.seconds, 1e-9)


def weights_payload(
    config: TrainConfig, model: FaceRCNN, progress: Progress, data: TrainingData,
    pictures: TrainingPictures, processes: int,
) -> dict[str, Any]:  # fmt: skip
    """The content of best.pt; see `detector.checkpoint`."""
    return {
        "config": to_dict(config),
        "weights": model.state_dict(),
        "history": progress.history,
        "provenance": {
            "torch": str(torch.__version__),  # a str subclass that weights_only refuses
            "torchvision": str(torchvision.__version__),
            "python": platform.python_version(),
            "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "training_images": len(data.train),
            "validation_images": len(data.valid),
            "processes": processes,
            "steps": progress.step,
        },
        "pictures": pictures.to_text(),
        **({"split": data.division.to_dict()} if data.division else {}),
    }


def read_saved(folder: Path, world: World) -> tuple[dict[str, Any] | None, Division | None]:
    """The last.pt of a run to go on with; None when the run ended before its first save.

    And how its pictures were divided; None where they came in two parts. A run that ended before
    its first save has that in split.json only.

    Raises UserError when it is missing from a run that has a history, or the run had another number
    of processes: each has its own random numbers and batch norms, so it would be another run.
    """
    last = folder / "last.pt"
    if not last.is_file():
        if (folder / "history.jsonl").exists():
            raise UserError(
                f"{last} is missing, without which this run cannot go on: bring it back, or "
                f"start a new run from its weights, `faces train --init {folder / 'best.pt'}`"
            )
        return None, read_division(folder) if (folder / FILE).is_file() else None
    payload = load_checkpoint(last)
    before = payload["provenance"].get("processes", world.size)
    if before != world.size:
        alone = f"faces train --resume {folder}"
        raise UserError(
            f"{folder} is a run of {counted(before, 'process')}, and there "
            f"{'is' if world.size == 1 else 'are'} {world.size} now: go on with "
            + (f"`{alone}`" if before == 1 else f"torchrun --nproc-per-node {before}")
            + " (over all machines), or start a new run from its weights, "
            f"`faces train --init {last}`"
        )
    return payload, Division.from_dict(payload["split"], "last.pt") if "split" in payload else None


def restore(
    payload: dict[str, Any], optimizer: torch.optim.Optimizer, scheduler: ReduceLROnPlateau,
    data: TrainingData,
) -> Progress:  # fmt: skip
    """Bring optimizer and schedule to where they were; returns how far the run had come."""
    training = payload["training"]
    optimizer.load_state_dict(training["optimizer"])
    for group in optimizer.param_groups:
        group.setdefault("full_lr", group["lr"])  # runs from before the cooldown
    scheduler.load_state_dict(training["scheduler"])
    for part, index in (("training", data.train), ("validation", data.valid)):
        before = payload["provenance"][f"{part}_images"]
        if before != len(index):
            log.warning(
                "there are %d %s images, %d when the run was saved: the run goes on with the "
                "images that there are now", len(index), part, before,
            )  # fmt: skip
    return Progress(**training["progress"])


def check_resumed(
    payload: dict[str, Any], config: TrainConfig, data: TrainingData,
    learned: TrainingPictures | None,
) -> None:  # fmt: skip
    """Raises UserError when a run cannot go on as it is asked to.

    Args:
        payload: its last.pt.
        learned: the pictures that it has learned from; None: unknown.
    """
    done = payload["training"]["progress"]["epoch"]
    if config.optim.epochs < done:
        raise UserError(
            f"epochs must be {done} or more: so many are done in {config.run}, and none is undone"
        )
    before, now = payload["config"]["data"], to_dict(config.data)
    if learned is None or all(before.get(name) == now[name] for name in PICTURES):
        return
    paths = data.train.paths()
    if 2 * sum(learned.has(path) for path in paths) <= len(paths):
        raise UserError(
            f"{data.train.image_dir} holds other pictures than the run in {config.run} began "
            "with: give the folder that has them now, or start a new run"
        )
    log.info("the pictures of %s are now in %s", config.run, data.train.image_dir)


def check_outputs(config: TrainConfig, model: FaceRCNN) -> None:
    """Raises UserError when what the run is to write would not fit or cannot be written."""
    assert config.run is not None
    size = sum(p.numel() for p in model.parameters()) * 4
    check_room(config.run, size)
    for name, path, needed in (
        ("model", config.model_file, size),
        ("fig_path", config.fig_path, 0),
    ):
        if path is None:
            continue
        if name == "fig_path":
            figure_format(path)
        check_room(path.parent, needed)
        if path.is_dir():
            raise UserError(f"{name}: {path} is a folder: name a file in it")
