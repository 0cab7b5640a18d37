"""A challenge together with what else its pictures say: whose face it is, how alive it looks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.liveness.challenge import Challenge
from pipeline.liveness.policy import State

LAST = 15
"""Pictures whose passive scores count together."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The one face that is tested, in one picture."""

    # five landmarks (5, 2) in pixels; None when they are not trusted
    points: NDArray[np.float32] | None
    box: NDArray[np.float32]  # x1 y1 x2 y2 in pixels
    # unit vector (D,); None where nobody makes vectors
    embedding: NDArray[np.float32] | None = None
    liveness: float | None = None  # passive score, 0..1; None where nobody looks


class Attempt:
    """One attempt of one person; nothing of the face outlives it but the vector of who passed."""

    def __init__(self, challenge: Challenge) -> None:
        self.challenge = challenge
        self.liveness: float | None = None
        """Median of the last passive scores."""
        self._scores: deque[float] = deque(maxlen=LAST)
        self._vector: NDArray[np.float32] | None = None

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self.challenge.status != "waiting"

    @property
    def state(self) -> State:
        """What to show."""
        return self.challenge.state

    def look(self, time: float, sample: Sample | None, image_size: tuple[int, int]) -> State:
        """One more picture, of (height, width); None where it shows no face.

        ``time`` as for `Challenge.update`.
        """
        challenge = self.challenge
        if challenge.status != "waiting":
            return challenge.state
        if sample is None:
            return challenge.update(time, None, None, image_size)
        if sample.liveness is not None:
            self._scores.append(sample.liveness)
            self.liveness = float(np.median(self._scores))
        state = challenge.update(time, sample.points, sample.box, image_size, sample.embedding)
        if challenge.status == "waiting" and challenge.embedding is not None:
            vector = np.asarray(challenge.embedding, np.float32)
            self._vector = vector / np.linalg.norm(vector)
        if challenge.status in ("failed", "expired"):
            self._vector = None
        return state

    def give_up(self) -> State:
        """End it: nobody goes on with it."""
        self._vector = None
        return self.challenge.give_up()

    def take_vector(self) -> NDArray[np.float32] | None:
        """The mean unit vector (D,) of who has passed, from the pictures that looked straight.

        It is given once and then forgotten. None before the end, for those who have failed, and
        without vectors.
        """
        if self.challenge.status != "passed":
            return None
        vector, self._vector = self._vector, None
        return vector
