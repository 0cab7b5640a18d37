"""Training a detector, from the configuration to the last epoch.

    setup   the pictures, and the network with the weights that the run starts from
    train   the steps, epochs and validation: this file
    saved   what goes into last.pt and best.pt, and how a run goes on from it
    show    progress lines, plots, sample pictures

Nothing random is carried over from step to step: every step seeds torch from (seed, step, rank) and
every sample from (seed, epoch, position). So a checkpoint needs no random state, and a resumed run
repeats the uninterrupted run bit for bit.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from detector.checkpoint import save_checkpoint, saving
from detector.config import TrainConfig, to_dict
from detector.inference.torch_backend import pick_device, trains_in_bf16
from detector.model import FaceRCNN
from detector.training.batches import mix
from detector.training.dataset import Batch
from detector.training.distributed import World, join_world, own_device
from detector.training.optimizer import (
    accumulate_gradients,
    lower_learning_rate,
    make_optimizer,
    set_learning_rate,
    warmup_steps,
)
from detector.training.run_folder import open_run
from detector.training.saved import (
    Progress,
    check_outputs,
    check_resumed,
    read_saved,
    restore,
    weights_payload,
)
from detector.training.setup import (
    learned_before,
    open_data,
    read_parent,
    running_average,
    start_network,
)
from detector.training.show import Display, progress_line
from detector.training.validate import set_train_mode, to_device, validate
from detector.training_pictures import TrainingPictures, report_seen, seen_sentence
from faces.errors import UserError
from faces.files import atomic_write, atomic_write_text
from faces.folders import copy_file
from faces.history import describe, is_best, write_history
from faces.networks.torch import update_average
from faces.run import memory_mb, stop_signals

log = logging.getLogger(__name__)


class LossNotFinite(UserError):
    """The loss or its gradient became infinite or not a number; the message says where."""


@dataclass(frozen=True)
class FitResult:
    """How a call of `fit` ended.

    Args:
        history: one dict an epoch.
        stopped_by: the signal that ended it early, or None when all epochs are done.
        main: whether this is the process that reports (under torchrun, only one does).
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
    config, source = open_run(config, world)
    trainer = Trainer(replace(config, resume=None, config=None), world, device, source)
    with stop_signals() as stop:
        stopped_by = trainer.run(stop)
    return FitResult(trainer.folder, trainer.progress.history, stopped_by, world.main)


class Trainer:
    """One training run in memory.

    Args:
        config: ``config.run`` is its folder.
        source: the rank whose folder holds the run to go on with; None begins a new one.
    """

    def __init__(
        self, config: TrainConfig, world: World, device: torch.device, source: int | None = None
    ) -> None:
        assert config.run is not None
        self.folder, self.world, self.device = folder, _, _ = config.run, world, device
        saved = division = None
        if source is not None:
            saved, division = world.share(lambda: read_saved(folder, world), source)
        parent = read_parent(config, saved)
        learned = learned_before(parent)
        self.data = open_data(config, world, device, division, saved is not None, learned)
        if saved is not None:
            world.share(lambda: check_resumed(saved, config, self.data, learned))
        self.model, self.config = start_network(config, saved, parent, device, self.data.train)
        self.parallel = world.wrap(self.model, device)  # which gives all ranks rank 0's weights
        self.average: FaceRCNN | None = None
        if self.config.optim.ema:
            self.average = running_average(self.model, saved, device)
        # Measured where it is `auto`, so one process decides for all.
        self.bf16 = world.share(lambda: trains_in_bf16(config.precision, device, config.model.arch))
        self.optimizer = make_optimizer(self.model, self.config)
        self.scheduler = ReduceLROnPlateau(
            self.optimizer,
            factor=self.config.optim.plateau_factor,
            patience=self.config.optim.plateau_patience,
        )
        self.progress = Progress()
        if saved is not None:
            self.progress = restore(saved, self.optimizer, self.scheduler, self.data)
        if world.main:
            check_outputs(self.config, self.model)
        if world.local == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(to_dict(self.config), indent=2)
            atomic_write_text(self.folder / "config.json", text + "\n")
        if not world.main:
            return
        self.pictures = TrainingPictures.of(self.data.train.paths()) | learned
        self.display = Display(self.config, self.data, device)
        if self.data.division is not None:
            self.data.division.write(self.folder)
        if saved is None and parent is not None:
            valid = self.data.valid
            files = {valid.name(i): path for i, path in enumerate(valid.paths())}
            seen = report_seen(learned, files, list(files))
            if seen["seen"]:
                log.warning("the pictures to validate on: %s", seen_sentence(seen))
        if saved is not None:
            write_history(self.folder / "history.jsonl", self.progress.history)
            log.info(
                "going on with epoch %d, step %d of %s",
                self.progress.epoch + 1, self.progress.batch, self.folder,
            )  # fmt: skip

    def run(self, stop: list[int]) -> int | None:
        """Train all remaining epochs, until done or until a signal number appears in ``stop``.

        Returns that signal, None when all epochs are done.
        """
        total = self.config.optim.epochs
        with self._bar(total, self.progress.epoch, "epochs", "epoch") as bar:
            while self.progress.epoch < total:
                if not self._train_epoch(stop) or not self._finish_epoch(stop):
                    return stop[0] if stop else int(signal.SIGTERM)
                bar.update()
        wanted, best = self.config.model_file, self.folder / "best.pt"
        if self.world.main and wanted is not None and not wanted.exists() and best.is_file():
            copy_file(best, wanted)  # asked for on resuming, and no epoch since then was better
        return None

    def _train_epoch(self, stop: list[int]) -> bool:
        """The remaining steps of the current epoch, and a save; False when it was stopped.

        The save comes before the validation: should that break off, it alone has to be repeated.
        """
        progress, batches = self.progress, self.data.batches
        batches.epoch, batches.start = progress.epoch, progress.batch
        saved = logged = clock = time.monotonic()
        loaded = iter(self.data.loader)
        name = f"epoch {progress.epoch + 1}"
        with self._bar(len(batches), progress.batch, name, "step", position=1, leave=False) as bar:
            while True:
                parts, unreadable = _next(loaded, self.config.optim.accumulate)
                waited = time.monotonic() - clock
                # Agreed before every step: no process may wait for gradients of one that left.
                ending = self.world.largest(2 if unreadable else int(bool(stop)))
                if ending == 2:
                    raise self._unreadable(unreadable)
                if ending == 1 or not parts:
                    self._save_last()
                    # Together: torchrun ends all processes as soon as one has left.
                    self.world.share(lambda: None)
                    return ending == 0
                losses = self.step(parts)
                now = time.monotonic()
                progress.add(losses, now - clock, waited)
                clock = now
                speed = progress.images_per_second(self.config.optim.images_a_step)
                bar.update()
                bar.set_postfix_str(
                    f"loss {losses['loss']:.3f}, lr {self.lr:.1e}, {speed:.1f} images/s",
                    refresh=False,
                )
                if bar.disable and self.world.main and now - logged > 60:
                    logged = now
                    log.info("%s", progress_line(progress, self.config, len(batches), self.lr))
                if now - saved > self.config.save_minutes * 60:
                    self._save_last()
                    saved = clock = time.monotonic()

    def step(self, parts: list[Batch]) -> dict[str, float]:
        """One optimizer step on this process's share of ``accumulate`` batches.

        Returns the losses of all.
        """
        optim = self.config.optim
        set_learning_rate(self.optimizer, optim, self.steps_done, self.steps)
        set_train_mode(self.model, optim)
        torch.manual_seed(mix(optim.seed, self.progress.step, self.world.rank))
        self.optimizer.zero_grad(set_to_none=True)
        if optim.accumulate == 1:
            losses = self._losses(parts[0])
            total = torch.stack(list(losses.values())).sum()
            total.backward()
            values = {"loss": total.item(), **{name: x.item() for name, x in losses.items()}}
        else:
            # Batch norms share their statistics as DistributedDataParallel has it, once a step.
            self.world.share_buffers(self.model)
            with self.world.apart(self.parallel):
                values = accumulate_gradients(self.model, parts, self._losses)
            self.world.mean_gradients(self.model)
            values = {"loss": sum(values.values()), **values}
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), optim.clip_norm or math.inf, foreach=True
        )
        if not torch.isfinite(norm):
            raise self._not_finite("gradient", values, parts)
        self.optimizer.step()
        if self.average is not None:
            update_average(self.average, self.model, optim.ema, self.progress.step)
        return self.world.mean(values)

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of some pictures, which are finite."""
        images, targets, _ = batch
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = self.parallel(
                images.to(self.device, non_blocking=True), to_device(targets, self.device)
            )
        total = torch.stack(list(losses.values())).sum().item()
        if not math.isfinite(total):
            values = {"loss": total, **{name: value.item() for name, value in losses.items()}}
            raise self._not_finite("loss", values, [batch])
        return losses

    def _finish_epoch(self, stop: list[int]) -> bool:
        """Validate, step the plateau schedule, write the history, the checkpoints, the pictures.

        False when it was stopped while validating.
        """
        progress, optim = self.progress, self.config.optim
        epoch = progress.epoch + 1
        started = time.monotonic()
        try:
            validation = validate(
                self.best_weights,
                self.data.valid_batches,
                self.device,
                self.world,
                ap=optim.ap_every > 0 and (epoch % optim.ap_every == 0 or epoch == optim.epochs),
                stop=stop,
                progress=self.world.main and sys.stderr.isatty(),
            )
        except UserError as error:
            raise UserError(self._remedy(str(error))) from error
        if validation is None:
            return False
        lr = self.lr
        if self.steps_done >= warmup_steps(optim, self.steps):
            lower_learning_rate(self.scheduler, validation.losses["loss"])
        seconds = max(progress.seconds, 1e-9)
        line: dict[str, Any] = {
            "epoch": epoch,
            "step": progress.step,
            "lr": lr,
            "train": {k: v / max(1, progress.batch) for k, v in progress.sums.items()},
            "valid": validation.losses,
            "ap50": validation.ap50,
            "seconds": round(progress.seconds, 2),
            "valid_seconds": round(time.monotonic() - started, 2),
            "images_per_second": round(progress.images_per_second(optim.images_a_step), 2),
            "data_wait": round(progress.waited / seconds, 4),
            "memory_mb": memory_mb(),
        }
        line["best"] = is_best(line, progress.history, self.best_by)
        self.progress = Progress(epoch=epoch, step=progress.step, history=[*progress.history, line])
        if line["best"]:
            self._save_best()
            self.world.spread(self.folder / "best.pt")
        self._save_last()
        self.world.spread(self.folder / "last.pt")
        if not self.world.main:
            return True
        with saving(self.folder / "history.jsonl") as path:
            write_history(path, self.progress.history)
        self.display.show_epoch(self.progress.history, self.best_weights)
        log.info(
            "epoch %d/%d: training loss %.4f, %s%s, lr %.1e, %.1f images/s",
            epoch, optim.epochs, line["train"]["loss"], describe(line),
            " (best)" if line["best"] else "", lr, line["images_per_second"],
        )  # fmt: skip
        return True

    @property
    def lr(self) -> float:
        """The learning rate of the heads."""
        return self.optimizer.param_groups[0]["lr"]

    @property
    def best_by(self) -> Literal["ap", "loss"]:
        """What makes an epoch the best; a run from before AP was measured goes on by the loss."""
        known = all("ap50" in line for line in self.progress.history)
        return self.config.optim.best if known else "loss"

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.optim.epochs * len(self.data.batches)

    @property
    def steps_done(self) -> int:
        """How many of them are done; not ``progress.step`` if the number of pictures changed."""
        return self.progress.epoch * len(self.data.batches) + self.progress.batch

    @property
    def best_weights(self) -> FaceRCNN:
        """The network that is validated and kept: the running average, or the plain weights."""
        return self.model if self.average is None else self.average

    # ---- saving -----------------------------------------------------------------------------

    def _payload(self) -> dict[str, Any]:
        return weights_payload(
            self.config, self.best_weights, self.progress, self.data, self.pictures, self.world.size
        )

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
        if not self.world.main:
            return
        save_checkpoint(self.folder / "best.pt", self._payload())
        if self.config.model_file is not None:
            save_checkpoint(self.config.model_file, self._payload())

    # ---- what goes wrong --------------------------------------------------------------------

    def _unreadable(self, mine: str | None) -> UserError:
        """Save, and name the picture that this or another process could not read."""
        reason = next(text for text in self.world.gather(mine) if text)
        message = self._remedy(reason)
        try:
            self._save_last()
        except UserError as error:
            message = f"{reason}\n{error}"
        return UserError(self.world.share(lambda: message))

    def _remedy(self, reason: str) -> str:
        return (
            f"{reason}\nThe run was saved. Repair the file or remove it with its annotation "
            f"(`faces prepare check` finds all such files), then go on with `faces train --resume "
            f"{self.folder}`"
        )

    def _not_finite(self, what: str, losses: dict[str, float], parts: list[Batch]) -> LossNotFinite:
        """Write the batch to bad_batch.pt."""
        images = torch.cat([images for images, _, _ in parts])
        targets = [target for _, some, _ in parts for target in some]
        names = [self.data.train.name(i) for _, _, ids in parts for i in ids]
        path = self.folder / "bad_batch.pt"
        with atomic_write(path) as file:
            torch.save(
                {"images": images, "targets": targets, "names": names, "losses": losses}, file
            )
        return LossNotFinite(
            f"the {what} is not finite at epoch {self.progress.epoch + 1}, step "
            f"{self.progress.step}: {losses}; images: {', '.join(names)}. The batch is in {path}, "
            f"the last good checkpoint stays in {self.folder}. Look at these images' annotations "
            "(`faces prepare check`), lower learning_rate or set clip_norm"
        )

    def _bar(self, total: int, done: int, name: str, unit: str, **style: Any) -> tqdm:
        """A progress bar on the main process."""
        return tqdm(
            total=total, initial=done, desc=name, unit=unit,
            disable=None if self.world.main else True, **{"position": 0, **style},
        )  # fmt: skip


def _next(batches: Iterator[Batch], parts: int) -> tuple[list[Batch], str | None]:
    """The batches of the next step, none after the last; or why a picture cannot be read."""
    try:
        return list(itertools.islice(batches, parts)), None
    except UserError as error:  # a worker's has its traceback before it
        return [], str(error).rpartition(f"{UserError.__name__}: ")[2].strip()
