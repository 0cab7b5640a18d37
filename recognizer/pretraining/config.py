"""The settings of `faces pretrain-embedder`. Nothing heavy is imported: its help is quick."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainConfig:
    """How to train."""

    steps: int = 6000
    """Steps of the optimizers. The learning rate falls to 0 in the last of them."""
    batch_size: int = 64
    """Crops in a step."""
    merged: float = 0.4
    """Part of the variants that are two faces merged into one (0..1)."""
    fresh: int = 32
    """New variants made and shown to the teacher in a step; the others come from the pool."""
    pool: int = 4096
    """Variants kept, with the teacher's vectors."""
    lr: float = 0.04
    """Of Muon, for the convolutions: how far a step turns them."""
    lr_rest: float = 2e-3
    """Of AdamW, for everything else."""
    weight_decay: float = 0.02
    """Of AdamW."""
    warmup: int = 100
    """Steps in which the learning rate rises from 0."""
    cooldown: float = 0.66
    """Part of the steps, at the end, in which it falls to 0."""
    workers: int = 1
    """Processes that make variants and ask the teacher beside the one that trains; 0: none."""
    average: float = 0.998
    """Decay of the running average of the weights, which is what is evaluated and kept."""
    evaluate_every: int = 250
    """Steps between two evaluations, each with a checkpoint."""
    seed: int = 0
    """Of the first weights, the variants and their order."""

    def __post_init__(self) -> None:
        if not (self.steps > 0 and self.fresh > 0 and 1 < self.batch_size <= self.pool):
            raise ValueError("steps and fresh must be positive, batch_size from 2 to pool")
        if not (0 <= self.cooldown <= 1 and 0 <= self.average < 1 and 0 <= self.merged <= 1):
            raise ValueError("cooldown, average and merged are parts of 1")
        if self.warmup < 0:
            raise ValueError("warmup is not negative")

    def rate(self, step: int) -> float:
        """The learning rate at a step, as a part of the highest."""
        falling = max(1.0, self.cooldown * self.steps)
        return max(0.0, min(1.0, (step + 1) / (self.warmup + 1), (self.steps - step) / falling))
