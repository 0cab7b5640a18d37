"""Teaching the network itself: its last block, all of it, or a new one from nothing.

Softmax over the people of a folder (and strangers, when there are any), cross-entropy, Adam. What
comes out is a new embedder with a fingerprint of its own: every gallery must be embedded again.

A few people say little about faces in general. While it learns them, a trained network is therefore
also asked to go on giving nearly the vectors it gave before ("Learning without Forgetting", Li and
Hoiem, ECCV 2016), or it would soon tell these people apart by anything, and strangers from nobody.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from faces.errors import UserError
from faces.history import plot_histories, save_figure, write_history
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import load_checkpoint, save_checkpoint
from recognizer.embedders.mini import MiniConfig, MiniResNet
from recognizer.training.augment import PLAIN, STRONG, Augmentation, augment_all
from recognizer.training.fit import SCALE, Line, Stopped, hold_out
from recognizer.training.fit_network_config import LabeledCrops, NetworkOptions
from recognizer.training.head_samples import without_masks

log = logging.getLogger(__name__)

EMBEDDER = "embedder.pt"
LAST = "last.pt"
DRAW_SECONDS = 10  # between two drawings of the losses, which can take longer than a small epoch


def fit_network(
    network: MiniResNet,
    recipe: CropRecipe,
    faces: LabeledCrops,
    run: Path,
    options: NetworkOptions | None = None,
    *,
    trained: bool = True,
    resume: bool = False,
    progress: Callable[[Line], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Path:
    """Train ``network`` and write it to ``run``/embedder.pt, whose path is returned.

    Args:
        network: changed in place.
        recipe: by which the crops were made; goes into the file.
        faces: of two people at least, two photos each or more.
        run: gets last.pt after every epoch, history.jsonl, loss.png and in the end embedder.pt.
        trained: False for a network from nothing, which then has nothing to keep.
        resume: go on from ``run``/last.pt, which was made with the same faces and options.
        progress: called with a line of history after each epoch.
        stop: asked after each step; True raises `Stopped`, the last whole epoch is in last.pt.

    Raises UserError for too few people or photos, and when what is to be resumed is another run.
    """
    people = [name for name in faces.classes if name is not None]
    counts = {name: faces.names.count(name) for name in people}
    if len(people) < 2 or min(counts.values()) < 2:
        few = [name for name, count in counts.items() if count < 2]
        raise UserError(
            "a network takes two people with two photos each at the least"
            + (f"; {few[0]} has one" if few else f", got {len(people)}")
        )
    trainer = _Trainer(network, recipe, faces, run, options or NetworkOptions(), trained)
    if resume:
        trainer.resume()
    trainer.train(progress, stop)
    trainer.draw()
    save_checkpoint(
        run / EMBEDDER, network.config, recipe, trainer.best, history=trainer.history,
        provenance=trainer.provenance,
    )  # fmt: skip
    return run / EMBEDDER


def new_network(size: int = 112, dimension: int = 128, seed: int = 0) -> MiniResNet:
    """A MiniResNet that has learned nothing; the same seed gives the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MiniResNet(MiniConfig(size=size, dimension=dimension))


class _Trainer:
    """The state of a run, as it is in last.pt."""

    def __init__(
        self,
        network: MiniResNet,
        recipe: CropRecipe,
        faces: LabeledCrops,
        run: Path,
        options: NetworkOptions,
        trained: bool,
    ) -> None:
        self.network, self.recipe, self.run, self.options = network, recipe, run, options
        self.crops, self.classes = faces.crops, faces.classes
        row = {name: i for i, name in enumerate(self.classes)}
        labels = [row[name] for name in faces.names]
        self.labels = torch.tensor(labels)
        identity = hashlib.sha256(repr(labels).encode())
        identity.update(np.ascontiguousarray(self.crops).data)
        self.identity = identity.hexdigest()
        marks = tuple("" if name is None else f"={name}" for name in faces.names)
        self.out = hold_out(marks, np.arange(len(marks)), options.held_out, options.seed)
        self.teacher = None
        if trained and options.keep > 0:
            self.teacher = copy.deepcopy(network).eval().requires_grad_(False)
        self.trained = trained
        self._choose_parameters()
        generator = torch.Generator().manual_seed(options.seed)
        first = torch.randn(len(self.classes), network.config.dimension, generator=generator)
        self.centers = nn.Parameter(self._means() if trained else F.normalize(first))
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam([*parameters, self.centers], options.learning_rate)
        self.history: list[Line] = []
        self.drawn = time.monotonic()
        self.phase, self.waited, self.best_loss = 1, 0, float("inf")
        self.best = _copied(network)
        if trained and self.out.any():  # what is no better than before is not taken
            self.best_loss = self._evaluate()["loss"]
        self.provenance = {
            "depth": options.depth if trained else "from scratch",
            "people": len(self.classes) - (None in self.classes),
            "photos": len(self.crops),
        }

    def _choose_parameters(self) -> None:
        """Freeze the early stages for ``last-block``."""
        self.network.requires_grad_(True)
        if self.trained and self.options.depth == "last-block":
            self.network.stem.requires_grad_(False)
            for stage in list(self.network.stages.children())[:-1]:
                stage.requires_grad_(False)

    @torch.no_grad()
    def _means(self) -> Tensor:
        """The mean vector of each class, where a trained network's classes begin."""
        vectors = self._embed(self.crops)
        sums = torch.zeros(len(self.classes), vectors.shape[1])
        used = torch.from_numpy(~self.out)
        sums.index_add_(0, self.labels[used], vectors[used])
        return F.normalize(sums)

    @torch.no_grad()
    def _embed(self, crops: NDArray[np.uint8]) -> Tensor:
        self.network.eval()
        parts = [
            self.network(torch.from_numpy(crops[i : i + 64])) for i in range(0, len(crops), 64)
        ]
        return torch.cat(parts)

    def _logits(self, vectors: Tensor) -> Tensor:
        return float(SCALE) * vectors @ F.normalize(self.centers).T

    def train(
        self, progress: Callable[[Line], None] | None, stop: Callable[[], bool] | None
    ) -> None:
        options = self.options
        while self.phase <= options.phases:
            ours = [line for line in self.history if line["phase"] == self.phase]
            if len(ours) >= options.epochs or self.waited >= options.patience:
                self.phase, self.waited = self.phase + 1, 0
                continue
            line = self._epoch(stop)
            # Measured without augmentation, so phases compare; the newer where nobody is held out.
            if not self.out.any() or line["valid"]["loss"] < self.best_loss:
                self.best_loss, self.waited = line["valid"]["loss"], 0
                self.best = _copied(self.network)
            else:
                self.waited += 1
            self.history.append(line)
            self._save()
            if progress is not None:
                progress(line)

    def _epoch(self, stop: Callable[[], bool] | None) -> Line:
        options, number = self.options, len(self.history) + 1
        rate = options.learning_rate / self.phase
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        strong = STRONG if options.masks else without_masks(STRONG)
        how = PLAIN if options.phases == 2 and self.phase == 1 else strong
        rng = np.random.default_rng((options.seed, number))
        rows = rng.permutation(np.flatnonzero(~self.out))
        # A trained network keeps its batch statistics: those of a few people are worse.
        self.network.train(not self.trained)
        losses: list[dict[str, float]] = []
        batches = max(1, round(len(rows) / options.batch_size))
        for step, batch in enumerate(np.array_split(rows, batches)):
            losses.append(self._step(batch, how, number * 100_003 + step))
            if stop is not None and stop():
                raise Stopped
        train = {key: float(np.mean([part[key] for part in losses])) for key in losses[0]}
        line = {"epoch": number, "phase": self.phase, "lr": rate, "train": train}
        return {**line, "valid": self._evaluate()}

    def _step(self, rows: NDArray[np.int64], how: Augmentation, seed: int) -> dict[str, float]:
        crops = torch.from_numpy(augment_all(self.crops[rows], how, seed))
        vectors = self.network(crops)
        loss = F.cross_entropy(self._logits(vectors), self.labels[torch.from_numpy(rows)])
        parts = {"loss": loss.item()}
        if self.teacher is not None:
            with torch.no_grad():
                before = self.teacher(crops)
            drift = 1 - (vectors * before).sum(dim=1).mean()
            loss = loss + self.options.keep * float(SCALE) * drift
            parts["drift"] = drift.item()
        if not torch.isfinite(loss):
            raise UserError("the loss is not finite: lower learning_rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return parts

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """On the held-out photos; on those of training, plain, when there are none."""
        rows = np.flatnonzero(self.out if self.out.any() else ~self.out)
        logits, labels = self._logits(self._embed(self.crops[rows])), self.labels[rows]
        wrong = (logits.argmax(dim=1) != labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels).item(), "error": wrong.item()}

    # ---- files -----------------------------------------------------------------------------------

    def _save(self) -> None:
        save_checkpoint(
            self.run / LAST, self.network.config, self.recipe, self.best, history=self.history,
            provenance=self.provenance,
            training={
                "options": asdict(self.options),
                "faces": len(self.crops),
                "classes": len(self.classes),
                "identity": self.identity,
                "network": _copied(self.network),
                "centres": self.centers.detach().clone(),
                "optimiser": self.optimizer.state_dict(),
                "phase": self.phase,
                "waited": self.waited,
                "best_loss": self.best_loss,
                "teacher": None if self.teacher is None else _copied(self.teacher),
            },
        )  # fmt: skip
        write_history(self.run / "history.jsonl", self.history)
        if time.monotonic() - self.drawn > DRAW_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Write loss.png."""
        save_figure(plot_histories({self.run.name: self.history}), self.run / "loss.png")
        self.drawn = time.monotonic()

    def resume(self) -> None:
        """Take everything from last.pt."""
        payload = load_checkpoint(self.run / LAST)
        state: dict[str, Any] = payload.get("training") or {}
        if (state.get("faces"), state.get("classes")) != (len(self.crops), len(self.classes)):
            raise UserError(
                f"{self.run / LAST} is of a run with {state.get('classes')} classes and "
                f"{state.get('faces')} photos, there are {len(self.classes)} and {len(self.crops)} "
                "now: start a new run in another folder"
            )
        if state.get("identity", self.identity) != self.identity:  # runs of 0.2.0 have none
            raise UserError(
                f"{self.run / LAST} learns from other photos, or people in another order, than "
                "there are now: somebody was renamed, or a photo replaced; start a new run in "
                "another folder"
            )
        if state["options"] != asdict(self.options):
            old, new = state["options"], asdict(self.options)
            name = next(key for key in new if new[key] != old.get(key))
            raise UserError(
                f"{name} was {old.get(name)} and is {new[name]}: a resumed run cannot change it; "
                "leave it out or start a new run"
            )
        self.network.load_state_dict(state["network"])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
        with torch.no_grad():
            self.centers.copy_(state["centres"])
        self.optimizer.load_state_dict(state["optimiser"])
        self.phase, self.waited, self.best_loss = (
            state["phase"], state["waited"], state["best_loss"]
        )  # fmt: skip
        self.history, self.best = payload["history"], payload["weights"]


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
