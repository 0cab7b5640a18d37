"""Training: flags -> data -> model -> AdamW; every epoch validation -> plateau -> history -> files.

Nothing random is carried over from step to step: every step seeds torch from (seed, step, rank) and
every sample from (seed, epoch, position). A checkpoint therefore needs no random state, and a run
that goes on from one repeats the uninterrupted run bit for bit.
"""

from __future__ import annotations

import datetime
import json
import logging
import math
import platform
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from detector.checkpoint import checkpoint_config, load_checkpoint, save_checkpoint, saving
from detector.config import TrainConfig, to_dict
from detector.inference.torch_backend import inference_resize, pick_device, trains_in_bf16
from detector.model import FaceRCNN, Targets, build_model
from detector.shipped import find_checkpoint
from detector.training.dataset import (
    Batch,
    FaceDataset,
    FaceIndex,
    ShuffledBatches,
    ValidationBatches,
    make_loader,
    mix,
)
from detector.training.distributed import World, join_world, own_device
from detector.training.optimizer import (
    lower_learning_rate,
    make_optimizer,
    set_learning_rate,
    update_average,
    warmup_steps,
)
from detector.training.pictures import draw_samples
from detector.training.run_folder import open_run
from detector.training.start import inherit, settle
from detector.training.transforms import train_transform
from detector.training.validate import set_train_mode, to_device, validate
from detector.training_pictures import TrainingPictures, pictures_of
from faces.errors import UserError
from faces.files import atomic_write, atomic_write_text
from faces.folders import copy_file
from faces.history import (
    describe,
    figure_format,
    is_best,
    plot_histories,
    save_figure,
    write_history,
)
from faces.run import check_room, memory_mb, stop_signals
from faces.words import counted

log = logging.getLogger(__name__)

LARGE_EVERY = 6
"""Every so manieth batch of `fpn` is one of large crops: enough for portraits, which are easy, and
no more than that taken from small faces."""


class LossNotFinite(UserError):
    """The loss or its gradient became infinite or not a number; the message says where."""


@dataclass
class Progress:
    """How far a run has come; part of every resumable checkpoint."""

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


@dataclass(frozen=True)
class FitResult:
    """How a call of `fit` ended.

    Args:
        run: the run folder.
        history: one dict an epoch.
        stopped_by: the signal that ended it early, or None when all epochs are done.
        main: whether this is the process that reports (all but one are not, under torchrun).
    """

    run: Path
    history: list[dict[str, Any]]
    stopped_by: int | None
    main: bool


def fit(config: TrainConfig) -> FitResult:
    """Train a detector as ``config`` says, or go on with ``config.resume``.

    Everything goes into the run folder: config.json, history.jsonl, last.pt, best.pt, loss.png and
    samples.png. SIGINT and SIGTERM finish the step and save. Raises UserError for bad input, and
    `LossNotFinite` (after writing bad_batch.pt) when training breaks down.
    """
    world = join_world()
    device = own_device(pick_device(config.device), world)
    if device.type == "mps":
        log.warning("MPS was asked for: torchvision's detection operators are slow or hang there")
    if config.threads:
        torch.set_num_threads(config.threads)
    resume = config.resume is not None
    config = open_run(config, world)
    trainer = Trainer(replace(config, resume=None, config=None), world, device, resume)
    with stop_signals() as stop:
        return trainer.run(stop)


class Trainer:
    """One training run in memory. ``config.run`` is its folder."""

    def __init__(
        self, config: TrainConfig, world: World, device: torch.device, resume: bool = False
    ) -> None:
        assert config.run is not None
        self.config, self.world, self.device, self.folder = config, world, device, config.run
        resumed = self._saved() if resume else None
        self.bf16 = trains_in_bf16(config.precision, device, config.model.arch)
        data, optim = config.data, config.optim
        for name in ("image_path", "train_ann_dir", "valid_path", "valid_ann_dir"):
            if getattr(data, name) is None:
                raise UserError(f"--{name.replace('_', '-')} is needed: see `faces train --help`")
        assert data.image_path is not None
        assert data.train_ann_dir is not None
        assert data.valid_path is not None
        assert data.valid_ann_dir is not None
        index = FaceIndex(data.image_path, data.train_ann_dir, data.classes, world.main)
        self.valid_index = FaceIndex(data.valid_path, data.valid_ann_dir, data.classes, world.main)
        ours = config.model.arch == "fpn"
        self.batches = ShuffledBatches(
            index.faces if ours else np.ones_like(index.faces),  # as published: each image once
            optim.batch_size, optim.seed, world.rank, world.size,
            large_every=LARGE_EVERY if ours else 0,
        )  # fmt: skip
        dataset = FaceDataset(
            index,
            train_transform(config.model.arch, data),
            data.cache_mb,
            train_transform(config.model.arch, data, large=True),
        )
        self.loader = make_loader(dataset, self.batches, data.num_workers, device.type == "cuda")
        self.train_index = index
        self.pictures = TrainingPictures()
        if world.main:
            self.pictures = TrainingPictures.of([index.path(i) for i in range(len(index))])
        self.valid_batches = ValidationBatches(
            self.valid_index,
            inference_resize(config.model, data),
            batch_size=4,
            workers=data.num_workers,
            min_face=data.min_face,
        )

        torch.manual_seed(mix(optim.seed))
        parent = None
        if resumed is None and config.init is not None:
            parent = load_checkpoint(find_checkpoint(config.init))
            model = inherit(config.model, checkpoint_config(parent).model)
            self.config = config = replace(config, model=model)
        fresh = resumed is None and parent is None
        self.model = build_model(config.model, pretrained=fresh).to(device)
        if parent is not None:
            self.pictures |= _start_from(self.model, parent, config.init)
        elif resumed is not None:
            self.model.load_state_dict(resumed["training"]["model"])
        optim = settle(optim, self.model, resumed=resumed is not None)
        self.config = config = replace(config, optim=optim)
        self.average: FaceRCNN | None = None
        if optim.ema:
            self.average = build_model(config.model, pretrained=False).to(device)
            self.average.load_state_dict(self.model.state_dict())
        if device.type == "cpu":
            self.model.to(memory_format=torch.channels_last)
        for block in list(self.model.body)[: optim.freeze]:
            block.requires_grad_(False)
        self.optimizer = make_optimizer(self.model, config)
        self.scheduler = ReduceLROnPlateau(
            self.optimizer, factor=optim.plateau_factor, patience=optim.plateau_patience
        )
        self.progress = Progress()
        if resumed is not None:
            self._restore(resumed)
        self.parallel = world.wrap(self.model, device)
        self.events = _tensorboard(self.folder) if config.tensorboard and world.main else None
        if world.main:
            size = sum(p.numel() for p in self.model.parameters()) * 4
            check_room(self.folder, size)
            if config.model_file is not None:
                check_room(config.model_file.parent, size)
                if config.model_file.is_dir():
                    raise UserError(f"--model {config.model_file} is a folder: name a file in it")
            if config.fig_path is not None:
                figure_format(config.fig_path)
                check_room(config.fig_path.parent, 0)
                if config.fig_path.is_dir():
                    raise UserError(f"--fig-path {config.fig_path} is a folder: name a file in it")
            atomic_write_text(
                self.folder / "config.json", json.dumps(to_dict(config), indent=2) + "\n"
            )

    # ---- the run ----------------------------------------------------------------------------

    def run(self, stop: list[int]) -> FitResult:
        """All remaining epochs, until done or until a signal number appears in ``stop``."""
        total = self.config.optim.epochs
        bar = tqdm(
            total=total, initial=self.progress.epoch, desc="epochs", unit="epoch", position=0,
            disable=None if self.world.main else True,
        )  # fmt: skip
        with bar:
            while self.progress.epoch < total:
                if not self._epoch(stop) or not self._finish_epoch(stop):
                    return self._result(stop[0] if stop else int(signal.SIGTERM))
                bar.update()
        wanted, best = self.config.model_file, self.folder / "best.pt"
        if self.world.main and wanted is not None and not wanted.exists() and best.is_file():
            copy_file(best, wanted)  # asked for on resuming, and no epoch since then was better
        return self._result(None)

    def _result(self, stopped_by: int | None) -> FitResult:
        return FitResult(self.folder, self.progress.history, stopped_by, self.world.main)

    def _epoch(self, stop: list[int]) -> bool:
        """The rest of the current epoch's steps, and a save; False when it was stopped within.

        What is saved at the end stands before the validation: should that break off, it alone has
        to be done again.
        """
        progress = self.progress
        self.batches.epoch, self.batches.start = progress.epoch, progress.batch
        bar = tqdm(
            total=len(self.batches), initial=progress.batch, position=1, leave=False, unit="step",
            desc=f"epoch {progress.epoch + 1}", disable=None if self.world.main else True,
        )  # fmt: skip
        saved = logged = clock = time.monotonic()
        batches = iter(self.loader)
        with bar:
            while True:
                batch, unreadable = _next(batches)
                waited = time.monotonic() - clock
                # Asked before every step, so that no process waits for gradients of one that left.
                verdict = self.world.largest(2 if unreadable else int(bool(stop)))
                if verdict == 2:
                    raise self._unreadable(unreadable)
                if verdict == 1 or batch is None:
                    self._save_last()
                    self.world.agree(0)  # torchrun ends all when one has left, also one that saves
                    return verdict == 0
                losses = self.step(batch)
                for name, value in losses.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                progress.batch += 1
                progress.step += 1
                now = time.monotonic()
                progress.seconds += now - clock
                progress.waited += waited
                clock = now
                bar.update()
                bar.set_postfix_str(self._status(losses), refresh=False)
                if bar.disable and self.world.main and now - logged > 60:
                    logged = now
                    log.info("%s", self._line(len(self.batches)))
                if now - saved > self.config.save_minutes * 60:
                    self._save_last()
                    saved = clock = time.monotonic()

    def _unreadable(self, mine: str | None) -> UserError:
        """Save, and name the picture that this or another process could not read."""
        reason = next(text for text in self.world.gather(mine) if text)
        message = self._remedy(reason)
        try:
            self._save_last()
        except UserError as error:
            message = f"{reason}\n{error}"
        return UserError(self.world.agree(message))

    def _remedy(self, reason: str) -> str:
        return (
            f"{reason}\nThe run was saved. Mend the file or remove it with its annotation "
            f"(`faces prepare check` finds all such files), then go on with --resume {self.folder}"
        )

    def step(self, batch: Batch) -> dict[str, float]:
        """One optimizer step on this process's part of a batch; returns the losses of the whole."""
        images, targets, indices = batch
        optim = self.config.optim
        set_learning_rate(self.optimizer, optim, self.done, self.steps)
        set_train_mode(self.model, optim)
        torch.manual_seed(mix(optim.seed, self.progress.step, self.world.rank))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = self.parallel(
                images.to(self.device, non_blocking=True), to_device(targets, self.device)
            )
            total = torch.stack(list(losses.values())).sum()
        values = {"loss": total.item(), **{name: value.item() for name, value in losses.items()}}
        if not math.isfinite(values["loss"]):
            self._not_finite("loss", values, images, targets, indices)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), optim.clip_norm or math.inf, foreach=True
        )
        if not torch.isfinite(norm):
            self._not_finite("gradient", values, images, targets, indices)
        self.optimizer.step()
        if self.average is not None:
            update_average(self.average, self.model, optim.ema, self.progress.step)
        return self.world.mean(values)  # of all processes, so that the main one's save has them

    def _finish_epoch(self, stop: list[int]) -> bool:
        """Validate, step the plateau schedule, write the history, the checkpoints, the pictures.

        False when it was stopped while validating.
        """
        progress, optim = self.progress, self.config.optim
        train = {name: value / max(1, progress.batch) for name, value in progress.sums.items()}
        epoch = progress.epoch + 1
        begun = time.monotonic()
        try:
            judged = validate(
                self.judged,
                self.valid_batches,
                self.device,
                self.world,
                ap=optim.ap_every > 0 and (epoch % optim.ap_every == 0 or epoch == optim.epochs),
                stop=stop,
                progress=self.world.main and sys.stderr.isatty(),
            )
        except UserError as error:
            raise UserError(self._remedy(str(error))) from error
        if judged is None:
            return False
        valid = judged.losses
        lr = self.optimizer.param_groups[0]["lr"]
        if self.done >= warmup_steps(optim, self.steps):
            lower_learning_rate(self.scheduler, valid["loss"])
        images = progress.batch * optim.batch_size
        line = {
            "epoch": epoch,
            "step": progress.step,
            "lr": lr,
            "train": train,
            "valid": valid,
            "ap50": judged.ap50,
            "seconds": round(progress.seconds, 2),
            "valid_seconds": round(time.monotonic() - begun, 2),
            "images_per_second": round(images / max(progress.seconds, 1e-9), 2),
            "data_wait": round(progress.waited / max(progress.seconds, 1e-9), 4),
            "memory_mb": memory_mb(),
        }
        line["best"] = is_best(line, progress.history, self.best_by)
        self.progress = Progress(epoch=epoch, step=progress.step, history=[*progress.history, line])
        if not self.world.main:
            return True
        if line["best"]:
            self._save_best()
        self._save_last()
        path = self.folder / "history.jsonl"
        with saving(path):
            write_history(path, self.progress.history)
        self._show(line)
        log.info(
            "epoch %d/%d: training loss %.4f, %s%s, lr %.1e, %.1f images/s",
            epoch, optim.epochs, train["loss"], describe(line), " (best)" if line["best"] else "",
            lr, line["images_per_second"],
        )  # fmt: skip
        return True

    @property
    def best_by(self) -> Literal["ap", "loss"]:
        """What makes an epoch the best; a run from before AP was measured goes on by the loss."""
        known = all("ap50" in line for line in self.progress.history)
        return self.config.optim.best if known else "loss"

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.optim.epochs * len(self.batches)

    @property
    def done(self) -> int:
        """How many of them are done: other than ``progress.step`` where pictures came or went."""
        return self.progress.epoch * len(self.batches) + self.progress.batch

    @property
    def judged(self) -> FaceRCNN:
        """The weights that are validated and kept: the running average, or the plain ones."""
        return self.model if self.average is None else self.average

    # ---- what is shown ----------------------------------------------------------------------

    def _status(self, losses: dict[str, float]) -> str:
        lr = self.optimizer.param_groups[0]["lr"]
        return f"loss {losses['loss']:.3f}, lr {lr:.1e}, {self._speed():.1f} images/s"

    def _speed(self) -> float:
        """Images a second of this epoch; a large crop counts as four, whose pixels it has."""
        progress = self.progress
        return progress.batch * self.config.optim.batch_size / max(progress.seconds, 1e-9)

    def _line(self, batches: int) -> str:
        """One line of progress for a log file."""
        progress, epochs = self.progress, self.config.optim.epochs
        left = (epochs - progress.epoch) * batches - progress.batch
        eta = datetime.timedelta(seconds=round(left * progress.seconds / max(1, progress.batch)))
        mean = progress.sums["loss"] / max(1, progress.batch)
        lr = self.optimizer.param_groups[0]["lr"]
        return (
            f"epoch {progress.epoch + 1}/{epochs}, step {progress.batch}/{batches}: "
            f"loss {mean:.4f}, lr {lr:.1e}, {self._speed():.1f} images/s, ETA {eta}"
        )

    def _show(self, line: dict[str, Any]) -> None:
        """Redraw the pictures and write TensorBoard's events.

        Nothing of the run depends on them, so it goes on without those that fail, with a warning.
        """
        ways = {"the plot": self._plot, "the sample pictures": self._samples}
        if self.events is not None:
            ways["TensorBoard's events"] = partial(self._events, line)
        for what, draw in ways.items():
            try:
                draw()
            except Exception as error:  # also a fault of ours: no reason to end a night's run
                known = isinstance(error, UserError | OSError)
                log.warning(
                    "epoch %d: cannot write %s, the run goes on without: %s", line["epoch"], what,
                    error, exc_info=not known,
                )  # fmt: skip

    def _plot(self) -> None:
        figure = plot_histories({self.folder.name: self.progress.history})
        save_figure(figure, self.folder / "loss.png")
        if self.config.fig_path is not None:
            save_figure(figure, self.config.fig_path)

    def _samples(self) -> None:
        draw_samples(
            self.judged,
            self.device,
            self.valid_index,
            self.valid_batches.resize,
            self.folder / "samples.png",
        )

    def _events(self, line: dict[str, Any]) -> None:
        assert self.events is not None
        for part in ("train", "valid"):
            for name, value in line[part].items():
                self.events.add_scalar(f"{part}/{name}", value, line["step"])
        if line["ap50"] is not None:
            self.events.add_scalar("valid/ap50", line["ap50"], line["step"])
        self.events.add_scalar("lr", line["lr"], line["step"])
        self.events.flush()

    # ---- what is written --------------------------------------------------------------------

    def _payload(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "weights": self.judged.state_dict(),
            "history": self.progress.history,
            "provenance": {
                "torch": str(torch.__version__),  # a str subclass that weights_only refuses
                "torchvision": str(torchvision.__version__),
                "python": platform.python_version(),
                "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "training_images": len(self.train_index),
                "validation_images": len(self.valid_index),
                "processes": self.world.size,
                "steps": self.progress.step,
            },
            "pictures": self.pictures.to_text(),
        }

    def _save_last(self) -> None:
        if not self.world.main:
            return
        training = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "progress": asdict(self.progress),
        }
        save_checkpoint(self.folder / "last.pt", {**self._payload(), "training": training})

    def _save_best(self) -> None:
        # Before last.pt: a run killed in between is validated again and writes the same file again.
        save_checkpoint(self.folder / "best.pt", self._payload())
        if self.config.model_file is not None:
            save_checkpoint(self.config.model_file, self._payload())

    def _saved(self) -> dict[str, Any] | None:
        """What a run that goes on left behind; None when it was killed before its first save."""
        last = self.folder / "last.pt"
        if not last.is_file():
            if (self.folder / "history.jsonl").exists():
                raise UserError(
                    f"{last} is missing, without which this run cannot go on: bring it back, or "
                    f"start a new run from its weights, `--init {self.folder / 'best.pt'}`"
                )
            return None
        payload = load_checkpoint(last)
        # Each process has its own random numbers and batch norms, so with more or fewer of them it
        # would be another run.
        before = payload["provenance"].get("processes", self.world.size)
        if before != self.world.size:
            alone = f"faces train --resume {self.folder}"
            raise UserError(
                f"{self.folder} is a run of {counted(before, 'process')}, and there "
                f"{'is' if self.world.size == 1 else 'are'} {self.world.size} now: go on with "
                + (f"`{alone}`" if before == 1 else f"torchrun --nproc-per-node {before}")
                + f" (over all machines), or start a new run from its weights, `--init {last}`"
            )
        return payload

    def _restore(self, payload: dict[str, Any]) -> None:
        training = payload["training"]
        if self.average is not None:
            self.average.load_state_dict(payload["weights"])
        self.optimizer.load_state_dict(training["optimizer"])
        for group in self.optimizer.param_groups:
            group.setdefault("full_lr", group["lr"])  # runs from before the cooldown
        self.scheduler.load_state_dict(training["scheduler"])
        self.progress = Progress(**training["progress"])
        self.pictures |= pictures_of(payload.get("pictures", ""), payload["provenance"])
        for part, index in (("training", self.train_index), ("validation", self.valid_index)):
            before = payload["provenance"][f"{part}_images"]
            if before != len(index):
                log.warning(
                    "there are %d %s images, %d when the run was saved: it goes on with those "
                    "there are", len(index), part, before,
                )  # fmt: skip
        if self.world.main:
            write_history(self.folder / "history.jsonl", self.progress.history)
            log.info(
                "going on with epoch %d, step %d of %s",
                self.progress.epoch + 1, self.progress.batch, self.folder,
            )  # fmt: skip

    def _not_finite(
        self, what: str, losses: dict[str, float], images: Tensor, targets: Targets, ids: list[int]
    ) -> None:
        names = [self.train_index.name(i) for i in ids]
        path = self.folder / "bad_batch.pt"
        with atomic_write(path) as file:
            torch.save(
                {"images": images, "targets": targets, "names": names, "losses": losses}, file
            )
        raise LossNotFinite(
            f"the {what} is not finite at epoch {self.progress.epoch + 1}, step "
            f"{self.progress.step}: {losses}; images: {', '.join(names)}. The batch is in {path}, "
            f"the last good checkpoint stays in {self.folder}. Look at these images' annotations "
            "(`faces prepare check`), lower --learning-rate or set --clip-norm"
        )


def _next(batches: Iterator[Batch]) -> tuple[Batch | None, str | None]:
    """The next batch, None after the last; or why a picture of it cannot be read."""
    try:
        return next(batches, None), None
    except UserError as error:  # a worker's has its traceback before it
        return None, str(error).rpartition(f"{UserError.__name__}: ")[2].strip()


def _start_from(
    model: FaceRCNN, parent: Mapping[str, Any], path: Path | None
) -> TrainingPictures | None:
    """Load the weights of another run's checkpoint, ``path``; returns what they learned from."""
    try:
        model.load_state_dict(parent["weights"])
    except RuntimeError as error:
        raise UserError(
            f"--init {path} holds a network of another architecture than the one asked for: give "
            "the same --arch, --width, --channels and --head-width as it was trained with"
        ) from error
    return pictures_of(parent.get("pictures", ""), parent.get("provenance", {}))


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard needs TensorBoard: pip install 'faces[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder))
