"""What `recognizer.training.fit_network` trains with: options, and faces with names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.errors import require


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is trained."""

    depth: Literal["last-block", "full"] = "full"
    """What may change: the last stage and what follows it, or everything."""
    learning_rate: float = 5e-4
    """Adam's; half of it in the second phase."""
    epochs: int = 30
    """At most, of each phase."""
    patience: int = 5
    """Epochs without a better held-out loss after which a phase ends."""
    batch_size: int = 64
    """LabeledCrops in a step."""
    held_out: float = 0.2
    """Share of the photos of everybody with five or more that training never sees."""
    phases: int = 1
    """1: strong augmentation throughout; 2: first plain, then strong."""
    masks: bool = True
    """Whether strong augmentation draws masks."""
    keep: float = 1.0
    """Weight of staying near the vectors given before; 0 for a network that has none."""
    seed: int = 0
    """Of the classes' first weights, the order and the augmentation."""

    def __post_init__(self) -> None:
        require(
            (
                (self.learning_rate > 0, "learning_rate must be above 0"),
                (self.epochs >= 1 and self.patience >= 1, "epochs and patience must be at least 1"),
                (self.batch_size >= 2, "batch_size must be at least 2 to train a network"),
                (0 <= self.held_out < 1, "held_out must be from 0 to below 1"),
                (self.phases in (1, 2), "phases must be 1 or 2"),
            )
        )


@dataclass(frozen=True, eq=False)
class LabeledCrops:
    """Crops made by one recipe, and whose they are."""

    crops: NDArray[np.uint8]  # RGB uint8 (N, S, S, 3)
    names: tuple[str | None, ...]  # one for each; None for strangers

    @property
    def classes(self) -> tuple[str | None, ...]:
        """Everybody once, sorted; None, where there is one, last."""
        people = sorted({name for name in self.names if name is not None})
        return (*people, None) if None in self.names else tuple(people)
