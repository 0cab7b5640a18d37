"""What a training run shows: lines of progress, plots, sample pictures, TensorBoard events."""

from __future__ import annotations

import datetime
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.config import TrainConfig
from detector.draw import FOUND, TRUTH, contact_sheet, draw_boxes, evenly
from detector.inference.detect import FaceDetector
from detector.inference.resize import Resize
from detector.inference.torch_backend import TorchNetwork
from detector.model import FaceRCNN
from detector.training.dataset import FaceIndex
from detector.training.saved import Progress
from detector.training.setup import TrainingData
from detector.training.transforms import FACE
from faces.errors import UserError
from faces.history import plot_histories, save_figure
from faces.images.read import read_image
from faces.images.write import save_image

log = logging.getLogger(__name__)


def progress_line(progress: Progress, config: TrainConfig, batches: int, lr: float) -> str:
    """One line for a log file: where the run is, the mean loss, the speed, the time left.

    ``batches`` is the number of batches in an epoch.
    """
    left = (config.optim.epochs - progress.epoch) * batches - progress.batch
    eta = datetime.timedelta(seconds=round(left * progress.seconds / max(1, progress.batch)))
    mean = progress.sums["loss"] / max(1, progress.batch)
    speed = progress.images_per_second(config.optim.images_a_step)
    return (
        f"epoch {progress.epoch + 1}/{config.optim.epochs}, step {progress.batch}/{batches}: "
        f"loss {mean:.4f}, lr {lr:.1e}, {speed:.1f} images/s, ETA {eta}"
    )


class Display:
    """The pictures and events that are written after every epoch.

    The run does not depend on them, so it goes on without those that fail, with a warning. Raises
    UserError when TensorBoard is asked for and not installed.
    """

    def __init__(self, config: TrainConfig, data: TrainingData, device: torch.device) -> None:
        assert config.run is not None
        self.folder, self.fig_path = config.run, config.fig_path
        self.data, self.device = data, device
        self.events = open_tensorboard(config.run) if config.tensorboard else None

    def show_epoch(self, history: list[dict[str, Any]], model: FaceRCNN) -> None:
        """Write what the last epoch of ``history`` gave; ``model`` draws the sample pictures."""
        line = history[-1]
        outputs = {
            "the plot": partial(self._plot, history),
            "the sample pictures": partial(self._samples, model),
            "TensorBoard's events": partial(self._events, line),
        }
        for what, write in outputs.items():
            try:
                write()
            except Exception as error:  # also a fault of ours: no reason to end a night's run
                known = isinstance(error, UserError | OSError)
                log.warning(
                    "epoch %d: cannot write %s, the run goes on without: %s", line["epoch"], what,
                    error, exc_info=not known,
                )  # fmt: skip

    def _plot(self, history: list[dict[str, Any]]) -> None:
        figure = plot_histories({self.folder.name: history})
        save_figure(figure, self.folder / "loss.png")
        if self.fig_path is not None:
            save_figure(figure, self.fig_path)

    def _samples(self, model: FaceRCNN) -> None:
        resize = self.data.valid_batches.resize
        draw_samples(model, self.device, self.data.valid, resize, self.folder / "samples.png")

    def _events(self, line: dict[str, Any]) -> None:
        if self.events is None:
            return
        values = {
            f"{part}/{name}": v for part in ("train", "valid") for name, v in line[part].items()
        }
        values["lr"] = line["lr"]
        if line["ap50"] is not None:
            values["valid/ap50"] = line["ap50"]
        for name, value in values.items():
            self.events.add_scalar(name, value, line["step"])
        self.events.flush()


def open_tensorboard(folder: Path) -> Any:
    """A writer of events. Raises UserError without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "tensorboard: TensorBoard is not installed: pip install 'faces[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder))


def draw_samples(
    model: FaceRCNN,
    device: torch.device,
    index: FaceIndex,
    resize: Resize,
    path: Path,
    count: int = 6,
) -> None:
    """Write a sheet of ``count`` images spread over ``index``, truth in green, found in orange.

    Found means with a score of 0.5 and more. The model is left in the mode it was in.
    """
    training = model.training
    detector = FaceDetector(TorchNetwork(model, device), resize, score_threshold=0.5)
    faces = np.array([(index.labels(i) == FACE).sum() for i in range(len(index))])
    readable = np.flatnonzero((faces >= 1) & (faces <= 20))
    chosen = readable if len(readable) >= count else np.arange(len(index))
    pictures, titles = [], []
    for i in evenly(chosen.tolist(), count):
        image = read_image(index.path(i))
        found = detector.detect(image)
        truth = index.boxes(i)[index.labels(i) == FACE]
        thickness = max(2, round(max(image.shape[:2]) / 200))
        picture = draw_boxes(image, truth, TRUTH, width=thickness)
        captions = [f"{score:.2f}" for score in found.score]
        pictures.append(draw_boxes(picture, found.xyxy, FOUND, captions, max(1, thickness // 2)))
        titles.append(f"{len(truth)} true (green), {len(found)} found (orange)")
    model.train(training)
    save_image(path, contact_sheet(pictures, 3, 420, titles))
