"""Training of an embedder: it learns to give the vectors of a teacher, and to tell names apart.

"Knowledge distillation: A good teacher is patient and consistent" (Beyer et al., CVPR 2022): the
variants never end. But the goal is what the teacher says of the face before it was spoilt, so the
student learns more than the teacher knows.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from faces.errors import UserError
from faces.history import plot_histories, save_figure, write_history
from faces.networks.torch import cpu_gains_by_bf16, update_average
from faces.run import stop_signals
from recognizer.crop import CropRecipe
from recognizer.embedders.checkpoint import load_checkpoint, save_checkpoint, save_tensors
from recognizer.embedders.mini import MiniResNet
from recognizer.pretraining.batches import UNNAMED, Batch, Material
from recognizer.pretraining.config import PretrainConfig
from recognizer.pretraining.judge import Embed
from recognizer.pretraining.muon import Muon

log = logging.getLogger(__name__)

Line = dict[str, Any]

FREE = ("steps", "workers", "save_minutes", "precision")
"""Settings that a resumed run may change."""


class Trainer:
    """A run in a folder: last.pt, history.jsonl, loss.png."""

    def __init__(
        self,
        network: nn.Module,
        recipe: CropRecipe,
        material: Material,
        config: PretrainConfig,
        run: Path,
        *,
        knowing: bool = False,
        own_teacher: bool = False,
    ) -> None:
        """A run that has not begun.

        Args:
            knowing: the network has learned already, and learns on at a tenth of the rates.
            own_teacher: it keeps what it knows while it learns the names of a few people, whose
                batch statistics would be worse than its own.
        """
        self.config, self.recipe, self.run, self.material = config, recipe, run, material
        self.bf16 = config.precision == "bf16" or (
            config.precision == "auto" and cpu_gains_by_bf16()
        )
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.knowing, self.own_teacher = knowing, own_teacher
        self.margin = self._margin()
        self.optimizers = self._optimizers()
        self.highest = [o.param_groups[0]["lr"] * (0.1 if knowing else 1) for o in self.optimizers]
        self.step = 0
        self.stopped_by: int | None = None  # the signal that ended `fit` before the last step
        self.sums: dict[str, float] = {}  # of the losses since the last line of history
        self.history: list[Line] = []

    def _margin(self) -> MarginLoss | None:
        material, config = self.material, self.config
        if material.people < 2 or not (config.margin_weight and config.named):
            return None
        vectors = material.faces.vectors
        loss = MarginLoss(material.people, vectors.shape[1], config.margin)
        rows = material.used[material.person[material.used] != UNNAMED]
        person = torch.from_numpy(material.person[rows])
        loss.begin_at(torch.from_numpy(vectors[rows]), person)
        return loss

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon for the convolutions of our own network, AdamW for everything else."""
        config, found = self.config, list[torch.optim.Optimizer]()
        inner: list[nn.Parameter] = []
        if isinstance(self.network, MiniResNet):
            inner = [p for p in self.network.stages.parameters() if p.ndim == 4]
            found.append(Muon(inner, config.lr))
        chosen = {id(p) for p in inner}
        rest = [p for p in self.network.parameters() if id(p) not in chosen]
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": config.weight_decay}]
        if self.margin is not None:
            groups.append({"params": list(self.margin.parameters()), "weight_decay": 0.0})
        return [*found, torch.optim.AdamW(groups, config.lr_rest)]

    # ---- a step ----------------------------------------------------------------------------------

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step; returns the parts of the loss."""
        for optimizer, lr in zip(self.optimizers, self.highest, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * self.config.rate(self.step)
        self.network.train(not self.own_teacher)
        loss, parts = self._loss(batch)
        if not torch.isfinite(loss):
            raise UserError(f"the loss of step {self.step} is {loss.item()}: lower --lr, --lr-rest")
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        update_average(self.average, self.network, self.config.average, self.step)
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        return parts

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        vectors, person = torch.from_numpy(batch.vectors), torch.from_numpy(batch.person)
        network, crops = self.network, torch.from_numpy(batch.crops)
        with self._autocast():
            given = network.features(crops) if isinstance(network, MiniResNet) else network(crops)
        given = given.float()
        unit = F.normalize(given, dim=1)
        distance = 1 - (unit * vectors).sum(dim=1).mean()
        # With its length: of a face that tells little the best guess is a short vector.
        loss = distance + 0.5 * (given - vectors).square().sum(dim=1).mean()
        parts = {"loss": loss.item(), "distance": distance.item()}
        named = person != UNNAMED
        if self.margin is not None and named.any():
            apart = self.margin(unit[named], person[named])
            loss = loss + self.config.margin_weight * apart
            parts |= {"loss": loss.item(), "margin": apart.item()}
        return loss, parts

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)

    def embed(self, crops: NDArray[np.uint8], at_once: int = 64) -> NDArray[np.float32]:
        """Unit vectors float32 (N, D) of crops uint8 (N, S, S, 3), by the running average."""
        parts = []
        with torch.inference_mode(), self._autocast():
            for start in range(0, len(crops), at_once):
                faces = torch.from_numpy(np.ascontiguousarray(crops[start : start + at_once]))
                parts.append(F.normalize(self.average(faces).float(), dim=1).numpy())
        return np.concatenate(parts)

    # ---- the run ---------------------------------------------------------------------------------

    def fit(
        self, batches: Callable[[int], Batch], judge: Callable[[Embed], Line]
    ) -> Iterator[Line]:
        """Train to the last step, or until Ctrl-C or SIGTERM; yields the line of each epoch.

        Args:
            batches: the batch of a step; steps come in order.
            judge: what a line says of how good it is.
        """
        start, saved, began = time.monotonic(), time.monotonic(), self.step
        config = self.config
        with (
            stop_signals() as stopped,
            tqdm(total=config.steps, initial=self.step, unit="step", disable=None) as bar,
        ):
            while self.step < config.steps and not stopped:
                bar.set_postfix(loss=f"{self.train_step(batches(self.step))['loss']:.3f}")
                bar.update()
                if self.step == config.steps or self.step % config.evaluate_every == 0:
                    seconds = time.monotonic() - start
                    speed = (self.step - began) * config.batch_size / seconds
                    line = self._line(judge, round(seconds, 1), round(speed, 1))
                    start, began, saved = time.monotonic(), self.step, time.monotonic()
                    yield line
                elif time.monotonic() - saved > 60 * config.save_minutes:
                    self.save()
                    saved = time.monotonic()
        if stopped:
            self.save()
            if self.step < config.steps:
                self.stopped_by = stopped[0]

    def _line(self, judge: Callable[[Embed], Line], seconds: float, speed: float) -> Line:
        count = self.step - (self.history[-1]["step"] if self.history else 0)
        line = {
            "epoch": len(self.history) + 1,
            "step": self.step,
            "lr": self.config.rate(self.step - 1) * self.highest[0],
            "train": {name: value / count for name, value in self.sums.items()},
            **judge(self.embed),
            "seconds": seconds,
            "images_per_second": speed,
        }
        self.history.append(line)
        self.sums = {}
        self.save()
        save_figure(plot_histories({self.run.name: self.history}), self.run / "loss.png")
        return line

    # ---- files -----------------------------------------------------------------------------------

    def save(self) -> None:
        """Write last.pt and history.jsonl."""
        save_checkpoint(
            self.run / "last.pt",
            self.network.config if isinstance(self.network, MiniResNet) else None,
            self.recipe,
            self.average.state_dict(),
            settings=dataclasses.asdict(self.config),
            history=self.history,
            training={
                "step": self.step,
                "sums": self.sums,
                "material": self.material.identity,
                "knowing": self.knowing,
                "weights": self.network.state_dict(),
                "margin": self.margin.state_dict() if self.margin is not None else {},
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            },
        )
        write_history(self.run / "history.jsonl", self.history)
        if not isinstance(self.network, MiniResNet):
            # As `recognizer.embedders.inception.open_inception` reads it.
            save_tensors(self.run / "inception.pt", self.average.net.state_dict())  # type: ignore[operator, union-attr]

    def resume(self) -> None:
        """Go on from the folder's last.pt, exactly as if nothing had happened.

        Raises UserError when it is of other faces or settings.
        """
        path = self.run / "last.pt"
        payload = load_checkpoint(path)
        training = payload.get("training") or {}
        if "sums" not in training:
            raise UserError(
                f"{path} is of an earlier release, whose runs cannot go on: start again"
            )
        self._check_same(path, payload["settings"], training)
        self.average.load_state_dict(payload["weights"])
        self.network.load_state_dict(training["weights"])
        if self.margin is not None:
            self.margin.load_state_dict(training["margin"])
        for optimizer, state in zip(self.optimizers, training["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.sums, self.history = (
            training["step"], training["sums"], payload["history"]
        )  # fmt: skip

    def _check_same(self, path: Path, settings: Line, training: Line) -> None:
        new = dataclasses.asdict(self.config)
        for name, value in settings.items():
            if name not in FREE and new.get(name) != value:
                raise UserError(
                    f"--{name.replace('_', '-')} was {value} and is {new.get(name)}: a resumed run "
                    "cannot change it; give the old one or start a new run"
                )
        if training["material"] != self.material.identity:
            raise UserError(
                f"{path} learns from other faces than there are now: give the same photos, or "
                "start a new run in another folder"
            )


SCALE = 32.0
CENTERS = 2


class MarginLoss(nn.Module):
    """Unit vectors (N, D) and the numbers of their people (N,) -> the mean loss, a scalar."""

    def __init__(self, people: int, dimension: int, margin: float) -> None:
        super().__init__()
        self.margin = margin
        self.centers = nn.Parameter(F.normalize(torch.randn(people, CENTERS, dimension), dim=-1))

    @torch.no_grad()
    def begin_at(self, vectors: Tensor, person: Tensor) -> None:
        """Put the first centers at the means of vectors (N, D), the second ones near them."""
        sums = torch.zeros_like(self.centers[:, 0]).index_add_(0, person, vectors)
        means = F.normalize(sums, dim=-1)
        apart = 0.5 * self.centers[:, 1]
        self.centers[:, 0] = means
        self.centers[:, 1] = F.normalize(means + apart, dim=-1)

    def forward(self, vectors: Tensor, person: Tensor) -> Tensor:
        centers = F.normalize(self.centers, dim=-1)
        cosines = (vectors @ centers.flatten(0, 1).T).view(len(vectors), -1, CENTERS).amax(dim=2)
        own = F.one_hot(person, cosines.shape[1])
        return F.cross_entropy(SCALE * (cosines - self.margin * own), person)
