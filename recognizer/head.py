"""The classifier head: softmax over the people it was trained on, and over "unknown"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.types import frozen


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer over unit vectors.

    Raises ValueError when the shapes do not go together or a class is there twice.
    """

    fingerprint: str  # of the embedder whose vectors it was trained on
    names: tuple[str | None, ...]  # the classes; None is the class "unknown"
    weight: NDArray[np.float32]  # float32 (C, D)
    bias: NDArray[np.float32]  # float32 (C,)

    def __post_init__(self) -> None:
        weight, bias = frozen(self.weight, np.float32), frozen(self.bias, np.float32)
        if weight.ndim != 2 or len(weight) != len(self.names) or bias.shape != (len(weight),):
            raise ValueError(
                f"{len(self.names)} classes do not go with weights {weight.shape} and biases "
                f"{bias.shape}"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"a class is there twice: {self.names}")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "names", tuple(self.names))

    def probabilities(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors (N, D) -> probabilities float32 (N, C)."""
        logits = embeddings @ self.weight.T + self.bias
        logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)
