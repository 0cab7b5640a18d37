"""The active line of defense: random movements are asked for, and watched in five points.

Pure logic: no camera, no clock, no thread. The caller gives times and points and shows what the
state says; `Challenge.to_json` keeps it between two calls of a service.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.liveness.geometry import (
    View,
    balance,
    center_and_size,
    distance_of,
    is_face,
    is_flat,
    on_the_way,
    toward,
    turn_of,
    view,
)
from pipeline.liveness.policy import (
    DISTANCES,
    HINTS,
    INSTRUCTIONS,
    TURNS,
    Policy,
    State,
    Status,
    Step,
)

Phase = Literal["look", "move", "back", "over"]

REFERENCE_SAMPLES = 5
REFERENCE_SECONDS = 0.5
STILL = 0.06  # of its size: how far the points may lie from their mean in the reference
FRONTAL = 0.35  # `geometry.balance` up to which a face looks straight
# What may change from one sample to the next: a fixed part for the noise of the landmarks, and a
# part a second for a person who hurries. A pause gives no more room than its first MOST_PAUSE
# seconds, or another face could be put into it.
MOST_PAUSE = 0.15
SHIFT, SHIFT_SPEED = 0.15, 6.0  # of the middle, in sizes
GROWTH, GROWTH_SPEED = 0.15, 1.5  # of the logarithm of the size
SWING, SWING_SPEED = 0.13, 1.2  # of the parallax
PATIENCE = 2.5  # seconds after which somebody who does not go far enough is told so
MOST_DEPTH = 0.6  # more is an error of a small tilt, and may not make up for a flat turn
MOST_OTHERS = 3  # embeddings of another person in a row


@dataclass
class Challenge:
    """One attempt of one person. Make it with `Challenge.new`.

    Its fields are plain values, so that it can be stored; ``steps`` must not be shown in advance.
    """

    steps: tuple[Step, ...]
    policy: Policy = field(default_factory=Policy)
    status: Status = "waiting"
    reason: str | None = None
    hint: str | None = None
    phase: Phase = "look"
    done: int = 0
    progress: float = 0.0
    started: float | None = None  # time of the first sample
    asked: float | None = None  # when the present instruction came
    seen: float | None = None  # time of the last usable sample
    latest: float | None = None  # time of the last sample
    reference: list[list[float]] | None = None  # points, pixels
    first: list[list[list[float]]] = field(default_factory=list)  # samples for the reference
    first_time: float = 0.0
    last: list[float] | None = None  # middle x, y, size of the last usable sample
    swing: list[float] | None = None  # its parallax
    base: float = 1.0  # scale when the present step was asked
    hasty: bool = False  # came to a position too fast, and has not been back since
    holding: str | None = None  # position that is being held
    held: int = 0  # samples
    held_depth: float = 0.0  # sum over them
    held_since: float = 0.0
    depths: list[float] = field(default_factory=list)  # of the nose, in each turn that was done
    embedding: list[float] | None = None  # sum over the samples of the reference
    others: int = 0  # embeddings of another person, in a row

    @classmethod
    def new(cls, source: random.Random | None = None, policy: Policy | None = None) -> Challenge:
        """A fresh one with a random sequence.

        Args:
            source: of the randomness; the operating system's (`secrets.SystemRandom`) if not
                given. A seeded one is for tests: whoever knows the seed knows the answers.
        """
        policy = policy or Policy()
        return cls(policy.draw(source or random.SystemRandom()), policy)

    @property
    def asks(self) -> str:
        """Key of `policy.INSTRUCTIONS` for what the person is asked to do now."""
        if self.phase == "move":
            return "back" if self.hasty else self.steps[self.done]
        return "done" if self.status == "passed" else self.phase

    @property
    def instruction(self) -> str:
        """The same as a sentence."""
        return INSTRUCTIONS[self.asks]

    @property
    def state(self) -> State:
        """As it is now."""
        return State(
            self.status,
            self.instruction,
            None if self.hint is None else HINTS[self.hint],
            self.reason,
            self.done,
            len(self.steps),
            self.progress,
        )

    def update(
        self,
        time: float,
        landmarks: ArrayLike | None,
        box: ArrayLike | None = None,
        image_size: tuple[int, int] | None = None,
        embedding: NDArray[np.float32] | None = None,
    ) -> State:
        """Look at one more picture.

        Args:
            time: seconds on a clock that only goes forward, the caller's own and not the client's.
            landmarks: points (5, 2) of the one face that is tested: eye, eye, nose, corner,
                corner, left in the picture first, pixels; None when there is no face or its points
                are not trusted.
            box: of the face, x1 y1 x2 y2 in pixels.
            image_size: (height, width) of the picture.
            embedding: unit vector (D,) of the face; give it with every picture or with none.

        A picture that is not newer than the last one is left out. After the end nothing changes.
        Raises ValueError for a time that is not finite.
        """
        if not math.isfinite(time):
            raise ValueError(f"the time must be finite, got {time}")
        if self.status != "waiting" or (self.latest is not None and time <= self.latest):
            return self.state
        self.latest = time
        if self.started is None:
            self.started = time
        if time - self.started > self.policy.total_seconds:
            return self._end("expired", "time-is-up")
        points = None if landmarks is None else np.asarray(landmarks, np.float64)
        self.hint = self._unusable(points, box, image_size)
        if points is None or self.hint is not None:
            return self._without_face(time)
        pause = 0.0 if self.seen is None else time - self.seen
        self.seen = time
        lost = pause > self.policy.max_gap
        follows = self._continues(pause, points)
        if self.phase == "look":
            if lost or not follows:
                self._forget_reference()
            return self._look(time, points, embedding)
        if lost or not follows:
            return self._end("failed", "lost" if lost else "jump")
        return self._watch(time, pause, points, embedding)

    def give_up(self) -> State:
        """End it because nobody goes on; what has ended already stays as it is."""
        return self._end("expired", "time-is-up") if self.status == "waiting" else self.state

    # -- what every sample goes through

    def _unusable(
        self,
        points: NDArray[np.float64] | None,
        box: ArrayLike | None,
        image_size: tuple[int, int] | None,
    ) -> str | None:
        """Key of the hint that says why a sample is of no use; None for a good one."""
        if points is None or not is_face(points):
            return "no-face"
        eyes = points[1] - points[0]
        if abs(math.atan2(eyes[1], eyes[0])) > self.policy.roll:
            return "crooked"
        if image_size is not None:
            height, width = image_size
            if (points < 0).any() or (points > (width, height)).any():
                return "cut-off"
        if self.phase == "look":
            if np.hypot(*eyes) < self.policy.min_eyes:
                return "too-small"
            if box is not None and image_size is not None:
                y1, y2 = np.asarray(box, np.float64)[[1, 3]]
                if y2 - y1 > self.policy.largest * image_size[0]:
                    return "too-large"
            if abs(balance(points)) > FRONTAL:
                return "not-straight"
        return None

    def _without_face(self, time: float) -> State:
        self._hold(None, time)
        if self.phase == "look":
            self._forget_reference()
        elif self.seen is not None and time - self.seen > self.policy.max_gap:
            return self._end("failed", "lost")
        return self.state

    def _continues(self, pause: float, points: NDArray[np.float64]) -> bool:
        """Whether this sample can follow the last one: no cut, no other face."""
        middle, size = center_and_size(points)
        last, self.last = self.last, [*middle.tolist(), size]
        if last is None:
            return True
        room = min(pause, MOST_PAUSE)
        shift = math.dist(last[:2], middle) / min(size, last[2])
        growth = abs(math.log(size / last[2]))
        return shift < SHIFT + SHIFT_SPEED * room and growth < GROWTH + GROWTH_SPEED * room

    def _same_person(self, embedding: NDArray[np.float32] | None) -> bool:
        """Compare with the first embeddings; three of another person in a row count."""
        if self.embedding is None:
            return True
        known = np.asarray(self.embedding)
        if embedding is not None and len(embedding) == len(known):
            cosine = float(embedding @ known / np.linalg.norm(known))
            self.others = 0 if cosine >= self.policy.similarity else self.others + 1
        else:  # a challenge that began with embeddings goes on with them
            self.others += 1
        return self.others < MOST_OTHERS

    # -- the phases

    def _look(
        self, time: float, points: NDArray[np.float64], embedding: NDArray[np.float32] | None
    ) -> State:
        """Collect the reference: a frontal face that holds still."""
        if not self.first:
            self.first_time = time
        self.first.append(points.tolist())
        if embedding is not None:
            before = 0.0 if self.embedding is None else np.asarray(self.embedding)
            self.embedding = (before + np.asarray(embedding, np.float64)).tolist()
        samples = np.asarray(self.first)
        shape = samples - samples.mean(axis=1, keepdims=True)  # it may drift, but not change
        if np.abs(shape - shape.mean(axis=0)).max() > STILL * center_and_size(points)[1]:
            self._forget_reference()
            self.hint = "hold-still"
            return self.state
        passed = time - self.first_time
        self.progress = min(1.0, passed / REFERENCE_SECONDS)
        if passed >= REFERENCE_SECONDS and len(samples) >= REFERENCE_SAMPLES:
            self.reference = (shape.mean(axis=0) + samples[-1].mean(axis=0)).tolist()
            self.first = []
            self._ask(time, scale=1.0)
        return self.state

    def _watch(
        self,
        time: float,
        pause: float,
        points: NDArray[np.float64],
        embedding: NDArray[np.float32] | None,
    ) -> State:
        """Compare with the reference: the movement that was asked for, or back from it."""
        seen = view(np.asarray(self.reference), points)
        if seen is None:
            return self._without_face(time)
        before, self.swing = self.swing, [seen.x, seen.y]
        room = SWING + SWING_SPEED * min(pause, MOST_PAUSE)
        if before is not None and math.dist(before, self.swing) > room:
            return self._end("failed", "jump")
        straight = seen.parallax < self.policy.neutral and seen.tilt < self.policy.flat_tilt
        if straight and not self._same_person(embedding):
            return self._end("failed", "another-person")
        if straight:
            self.hasty = False
        position = "straight" if self.phase == "back" and straight else self._position(seen)
        if self.phase == "move" and position == self.steps[self.done] and position in TURNS:
            # Only the right turn gets a second chance; a recording would live on it.
            if position != self.holding and not on_the_way(position, before, self.policy):
                self.hasty = True
            if self.hasty:
                self.hint, position = "slower", None
        self._hold(position, time, min(seen.depth, MOST_DEPTH))
        if (
            position is not None
            and self.held >= self.policy.hold_samples
            and time - self.held_since >= self.policy.hold_seconds
        ):
            self._decide(position, time, seen)
        if self.status == "waiting":
            self.progress = self._progress(seen)
            if self.hint is None and self.asked is not None and time - self.asked > PATIENCE:
                self.hint = "further" if self.progress > 0 and position is None else None
            if self.asked is not None and time - self.asked > self.policy.step_seconds:
                return self._end("failed", "not-done")
        return self.state

    def _position(self, seen: View) -> str | None:
        """Where the face is, as far as it matters now; None in between."""
        if is_flat(seen, self.policy):
            return "flat"
        if self.phase == "move" and self.steps[self.done] in DISTANCES:
            return distance_of(seen.scale / self.base, self.policy)
        return turn_of(seen, self.policy)

    def _decide(self, position: str, time: float, seen: View) -> None:
        """A position has been held: go on, or end."""
        if position == "flat":
            self._end("failed", "flat")
        elif self.phase == "back":
            if position == "straight":
                self._ask(time, seen.scale)
        elif self.asked is not None and self.held_since - self.asked < self.policy.reaction:
            self._end("failed", "before-asked")
        elif position != self.steps[self.done]:
            self._end("failed", "wrong-movement")
        else:
            self.done += 1
            if position in TURNS:
                self.depths.append(self.held_depth / self.held)
            if self.done == len(self.steps):
                deep = sum(self.depths) / len(self.depths) >= self.policy.mean_depth
                self._end(*(("passed", None) if deep else ("failed", "shallow")))
            else:
                self.phase, self.asked = "back", time
                self._hold(None, time)

    def _ask(self, time: float, scale: float) -> None:
        """The next step begins."""
        self.phase, self.asked, self.base, self.progress = "move", time, scale, 0.0
        self._hold(None, time)

    def _hold(self, position: str | None, time: float, depth: float = 0.0) -> None:
        """Count how long a position is held, and how deep the face is meanwhile."""
        if position != self.holding:
            self.holding, self.held, self.held_since, self.held_depth = position, 0, time, 0.0
        self.held += 1
        self.held_depth += depth

    def _progress(self, seen: View) -> float:
        """How much of the present movement is done, 0..1."""
        if self.phase != "move":
            return 0.0
        step, demand = self.steps[self.done], self.policy
        if step in DISTANCES:
            goal = demand.nearer if step == "nearer" else demand.farther
            part = math.log(seen.scale / self.base) / math.log(goal)
        else:
            part = toward(step, seen.x, seen.y, demand)[0] / demand.parallax
        return min(1.0, max(0.0, part))

    def _forget_reference(self) -> None:
        self.first, self.embedding, self.progress = [], None, 0.0

    def _end(self, status: Status, reason: str | None) -> State:
        self.status, self.reason, self.phase, self.hint = status, reason, "over", None
        self.first, self.embedding = [], None  # nothing of the person is kept
        return self.state

    # -- between two calls of a service

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`: everything, the sequence included, so not for the client."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Challenge:
        """The inverse of `to_json`. Raises ValueError or TypeError for anything else."""
        known = {f.name for f in dataclasses.fields(cls)}
        if set(value) != known:
            raise ValueError(f"not a challenge: {sorted(set(value) ^ known)} differ")
        steps = tuple(value["steps"])
        if not steps or not set(steps) <= {*TURNS, *DISTANCES}:
            raise ValueError(f"not the steps of a challenge: {steps}")
        return cls(**{**value, "steps": steps, "policy": Policy(**value["policy"])})
