"""What an active challenge demands, what it says to the person, and why it can fail."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any, Literal, get_args

Turn = Literal["left", "right", "up", "down"]
Distance = Literal["nearer", "farther"]
Step = Turn | Distance
Status = Literal["waiting", "passed", "failed", "expired"]

TURNS: tuple[Turn, ...] = get_args(Turn)
DISTANCES: tuple[Distance, ...] = get_args(Distance)

MOST_BY_CHANCE = 0.05
"""A recording that plays whatever is asked may not pass more often."""

INSTRUCTIONS: dict[str, str] = {
    "look": "Look straight at the camera and hold still.",
    "left": "Turn your head slowly to your left.",
    "right": "Turn your head slowly to your right.",
    "up": "Lift your chin: look up.",
    "down": "Lower your chin: look down.",
    "nearer": "Come nearer to the camera.",
    "farther": "Move away from the camera.",
    "back": "Look straight at the camera again.",
    "over": "The challenge is over.",
    "done": "Thank you, that is all.",
}

REASONS: dict[str, str] = {
    "not-done": "The movement was not seen in time.",
    "flat": "The face moved like a flat picture.",
    "shallow": "The face has too little depth.",
    "wrong-movement": "Another movement than the one that was asked for.",
    "before-asked": "The movement came before anyone could have answered.",
    "lost": "The face was out of sight for too long.",
    "jump": "The face jumped: a cut, or another face.",
    "another-person": "It is not the same person any more.",
    "time-is-up": "The challenge was not finished in time.",
}

HINTS: dict[str, str] = {
    "no-face": "No face can be seen.",
    "cut-off": "Show your whole face.",
    "too-small": "Come a little nearer.",
    "too-large": "Move back a little.",
    "crooked": "Hold your head upright.",
    "not-straight": "Look straight into the camera.",
    "hold-still": "Hold still.",
    "further": "A little further.",
    "slower": "Not so fast: go back and turn slowly.",
}


@dataclass(frozen=True)
class Policy:
    """The demands. The defaults are those that docs/liveness.md reports rates for.

    Raises ValueError for a sequence that a recording would pass too often, and for limits that
    make no sense.
    """

    turns: int = 3  # head turns in the sequence: left, right, up or down, about both axes
    # steps nearer or farther among them. They keep a screen on a stand out, but a hand can move a
    # photo as well, so they do not count in `chance`.
    distances: int = 1
    # how far the nose must move against the plane of eyes and mouth, in distances between the eyes.
    # A head turned by 20 degrees gives about 0.17, the landmarks of a flat photo up to 0.06 (0.1
    # tilted about two axes at once).
    parallax: float = 0.12
    # depth, mean_depth: how far the nose must stand out in each turn, and on average over the
    # turns, see `geometry.View.depth`. Faces: 0.25 to 0.5 as O-Net sees them; a flat photo up to
    # 0.09; one rolled to a radius of 15 cm up to 0.25 in one direction and 0.15 in the other.
    depth: float = 0.2
    mean_depth: float = 0.27
    neutral: float = 0.07  # parallax up to which a face looks straight, as in the reference
    # nearer, farther: change of size that counts
    nearer: float = 1.25
    farther: float = 0.8
    # flat_tilt, flat_parallax: a face whose plane is tilted by more radians than the first, and
    # whose nose has moved by less than the second, is flat
    flat_tilt: float = 0.65
    flat_parallax: float = 0.07
    # radians of tilt of the head to the shoulder above which landmarks are not trusted
    roll: float = 0.4
    # hold_samples, hold_seconds: how long a position must be held
    hold_samples: int = 3
    hold_seconds: float = 0.2
    reaction: float = 0.2  # seconds in which nobody can have answered an instruction
    # step_seconds, total_seconds: limits for each step and for everything
    step_seconds: float = 8.0
    total_seconds: float = 60.0
    max_gap: float = 0.6  # seconds without a usable face after which it counts as lost
    min_eyes: float = 24.0  # pixels between the eyes at least
    largest: float = 0.75  # share of the picture's height that the face may fill when it starts
    similarity: float = 0.4  # least cosine with the first embeddings, where embeddings are given
    mirrored: bool = False  # the pictures are a mirror image, as some cameras deliver them

    def __post_init__(self) -> None:
        if self.chance > MOST_BY_CHANCE:
            raise ValueError(
                f"{self.turns} turns leave a recording a chance of {self.chance:.1%}, more than "
                f"{MOST_BY_CHANCE:.0%}: ask for at least 3"
            )
        if self.distances < 0 or self.hold_samples < 1:
            raise ValueError("distances must be at least 0 and hold_samples at least 1")
        if not (0 < self.neutral < self.parallax and self.flat_parallax < self.parallax):
            raise ValueError("neutral and flat_parallax must be less than parallax")
        if not (self.farther < 1 < self.nearer):
            raise ValueError("farther must be below 1 and nearer above")
        if not 0 < self.step_seconds <= self.total_seconds:
            raise ValueError("step_seconds must be positive and at most total_seconds")

    @property
    def chance(self) -> float:
        """That a recording of a live person, played whatever is asked, makes the right turns."""
        one_axis = 2 * 2**self.turns  # only left and right, or only up and down: never asked
        return 1 / max(1, len(TURNS) ** self.turns - one_axis)

    def draw(self, source: random.Random) -> tuple[Step, ...]:
        """A random sequence with turns about both axes.

        A photo bent about one axis has some depth in turns about that axis, and none in the other.
        """
        while True:
            steps: list[Step] = [source.choice(TURNS) for _ in range(self.turns)]
            if 0 < sum(step in ("up", "down") for step in steps) < self.turns:
                break
        for _ in range(self.distances):
            steps.insert(source.randrange(len(steps) + 1), source.choice(DISTANCES))
        return tuple(steps)


@dataclass(frozen=True)
class State:
    """What to show and to tell."""

    status: Status  # `waiting` goes on; the others are final
    instruction: str  # for the person
    hint: str | None  # what keeps the instruction from being followed, if anything
    reason: str | None  # key of `policy.REASONS` when failed or expired
    step: int  # how many steps are done, of ``steps``
    steps: int
    progress: float  # 0..1 of the present step

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`, with the reason's sentence as ``message``."""
        values = dataclasses.asdict(self)
        values["message"] = None if self.reason is None else REASONS[self.reason]
        return values
