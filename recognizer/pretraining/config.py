"""The settings of `faces pretrain-embedder`. Nothing heavy is imported: its help is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from faces.errors import require

NetworkName = Literal["mini", "small", "inception"]


@dataclass(frozen=True)
class PretrainConfig:
    """How to train."""

    steps: int = 6000
    """Steps of the optimizers. The learning rate falls to 0 in the last of them, as a cosine."""
    batch_size: int = 128
    """Crops in a step."""
    named: float = 0.2
    """Part of a batch (0..1) drawn from the faces with names, for the margin loss; without names
    there is none."""
    margin_weight: float = 0.01
    """Weight of the margin loss on names, beside the distance to the teacher's vectors; 0: none."""
    margin: float = 0.3
    """By how much a face's cosine with its own person must exceed that with any other."""
    merged: float = 0.15
    """Part of the other crops (0..1) that are two faces merged; the teacher is asked about each."""
    lr: float = 0.04
    """Of Muon, for the convolutions of our own network: how far a step turns them."""
    lr_rest: float = 2e-3
    """Of AdamW, for everything else. With --init both are a tenth."""
    weight_decay: float = 0.02
    """Of AdamW."""
    warmup: int = 100
    """Steps in which the learning rate rises from 0."""
    workers: int = 1
    """Processes that cut faces first and vary them later, beside the one that trains; 0: none."""
    average: float = 0.999
    """Decay of the running average of the weights, which is what is evaluated and kept."""
    evaluate_every: int = 500
    """Steps of an epoch: an evaluation, a line of history, last.pt."""
    save_minutes: float = 10.0
    """Write last.pt at least this often within an epoch."""
    hold_out: float = 0.05
    """Part (0..1) of the people with names, and of the faces without, kept for validation."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """What the network computes in while it learns; `auto`: bfloat16 on a processor that is
    faster with it, which is measured."""
    seed: int = 0
    """Of the first weights, the variants and their order."""

    def __post_init__(self) -> None:
        parts = ("named", "merged", "average", "hold_out")
        require(
            [
                (self.steps > 0, "--steps must be at least 1"),
                (self.batch_size > 1, "--batch-size must be at least 2"),
                (self.evaluate_every > 0, "--evaluate-every must be at least 1"),
                (self.warmup >= 0 and self.workers >= 0, "--warmup and --workers are not negative"),
                (
                    all(0 <= getattr(self, name) <= 1 for name in parts) and self.average < 1,
                    "--named, --merged, --average and --hold-out are parts of 1",
                ),
                (self.margin_weight >= 0 <= self.margin < 1, "--margin is from 0 to 1"),
                (self.lr > 0 < self.lr_rest, "--lr and --lr-rest must be above 0"),
            ]
        )

    def rate(self, step: int) -> float:
        """The learning rate at a step, as a part of the highest."""
        rising = min(1.0, (step + 1) / (self.warmup + 1))
        return rising * 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1.0)))
