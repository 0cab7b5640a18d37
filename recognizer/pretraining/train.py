"""Training of `MiniResNet` by a teacher: it learns to give the vectors that a larger network gives.

"Knowledge distillation: A good teacher is patient and consistent" (Beyer et al., CVPR 2022): both
see the same crop, however spoilt, and the variants never end.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from faces.history import write_history
from faces.networks.averaging import update_average
from faces.run import stop_signals
from recognizer.crop import CropRecipe
from recognizer.data.lfw import Lfw
from recognizer.embedders.checkpoint import load_checkpoint, save_checkpoint
from recognizer.embedders.mini import MiniConfig, MiniResNet
from recognizer.error_rates import Scores, best_threshold, roc
from recognizer.pretraining.config import PretrainConfig
from recognizer.pretraining.muon import Muon
from recognizer.pretraining.pool import Made, Pool

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HeldOutPairs:
    """Verification of pairs: the threshold is chosen on ``tuning`` and applied to ``held_out``.

    The faces are aligned crops uint8 (N, S, S, 3) of each set's images.
    """

    tuning: Lfw
    tuning_faces: NDArray[np.uint8]
    held_out: Lfw
    held_out_faces: NDArray[np.uint8]

    def __post_init__(self) -> None:
        both = set(self.tuning.people) & set(self.held_out.people)
        if both:
            raise ValueError(f"people in both parts: {sorted(both)[:5]}")

    def __call__(self, embed: Any) -> dict[str, float]:
        """Accuracy on both, and the threshold, for a function from faces to unit vectors."""
        tuning = self.tuning.cosines(embed(self.tuning_faces))
        held_out = self.held_out.cosines(embed(self.held_out_faces))
        scores = Scores.of_pairs(tuning, self.tuning.same)
        threshold, _ = best_threshold(scores, roc(scores))
        return {
            "tuning": float(((tuning > threshold) == self.tuning.same).mean()),
            "held_out": float(((held_out > threshold) == self.held_out.same).mean()),
            "threshold": threshold,
        }


def embed_with(network: MiniResNet, faces: NDArray[np.uint8], batch: int = 64) -> NDArray:
    """Unit vectors float32 (N, D) of crops uint8 (N, S, S, 3), in half precision."""
    network.eval()
    parts = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(faces), batch):
            parts.append(network(torch.from_numpy(faces[start : start + batch])).float().numpy())
    return np.concatenate(parts)


class Trainer:
    """A run in a folder: last.pt and history.jsonl."""

    def __init__(
        self, config: PretrainConfig, shape: MiniConfig, recipe: CropRecipe, run: Path
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.recipe, self.run = config, recipe, run
        self.network = MiniResNet(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MiniResNet(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average.load_state_dict(self.network.state_dict())
        inner = [p for name, p in self.network.stages.named_parameters() if p.ndim == 4]
        chosen = {id(p) for p in inner}
        rest = [p for p in self.network.parameters() if id(p) not in chosen]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(inner, config.lr),
            torch.optim.AdamW(rest, config.lr_rest, weight_decay=config.weight_decay),
        ]
        self.step = 0
        self.history: list[dict[str, Any]] = []

    def resume(self) -> None:
        """Go on from the folder's last.pt."""
        payload = load_checkpoint(self.run / "last.pt")
        training = payload["training"]
        self.average.load_state_dict(payload["weights"])
        self.network.load_state_dict(training["weights"])
        for optimizer, state in zip(self.optimizers, training["optimisers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.history = training["step"], payload["history"]

    def save(self) -> None:
        """Write last.pt and history.jsonl."""
        save_checkpoint(
            self.run / "last.pt",
            self.network.config,
            self.recipe,
            self.average.state_dict(),
            settings=dataclasses.asdict(self.config),
            history=self.history,
            training={
                "step": self.step,
                "weights": self.network.state_dict(),
                "optimisers": [optimizer.state_dict() for optimizer in self.optimizers],
            },
        )
        write_history(self.run / "history.jsonl", self.history)

    def train_step(self, faces: Tensor, vectors: Tensor) -> float:
        """One step; returns the loss, 1 - cosine with the teacher's vectors."""
        rate = self.config.rate(self.step)
        highest = (self.config.lr, self.config.lr_rest)
        for optimizer, lr in zip(self.optimizers, highest, strict=True):
            optimizer.param_groups[0]["lr"] = lr * rate
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            given = self.network(faces)
        loss = 1 - F.cosine_similarity(given.float(), vectors).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of step {self.step} is {loss.item()}")
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        update_average(self.average, self.network, self.config.average, self.step)
        return loss.item()

    def fit(
        self, variants: Callable[[int], Made], pairs: HeldOutPairs | None
    ) -> Iterator[dict[str, Any]]:
        """Train to the last step (or until Ctrl-C); yields a line after each evaluation.

        ``variants`` gives fresh ones for a number that counts from `first_variants` on.
        """
        start, losses = time.monotonic(), []
        pool, number = Pool(self.config), self.first_variants
        with (
            stop_signals() as stopped,
            tqdm(total=self.config.steps, initial=self.step, unit="step", disable=None) as bar,
        ):
            while self.step < self.config.steps and not stopped:
                pool.add(variants(number))
                number += 1
                if not pool.full:
                    continue
                losses.append(self.train_step(*pool.batch(self.step)))
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.3f}")
                last = self.step == self.config.steps or bool(stopped)
                if last or self.step % self.config.evaluate_every == 0:
                    line = {
                        "step": self.step,
                        "loss": float(np.mean(losses)),
                        "lr": self.config.rate(self.step - 1),
                        "seconds": round(time.monotonic() - start, 1),
                    }
                    if pairs is not None:
                        line |= pairs(lambda faces: embed_with(self.average, faces))
                    self.history.append(line)
                    self.save()
                    losses = []
                    yield line

    @property
    def first_variants(self) -> int:
        """Number of the first variants: those of an earlier part of the run do not come again."""
        return 2 * self.step
