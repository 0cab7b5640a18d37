"""People and attacks that take the challenge, by the thousand: its rates, and their reasons.

Everybody here reads the instruction and does his best. What is made are the five points that a
landmark network would give, with errors of the size that were measured, and no pixels: this tests
the geometry and the rules. It says nothing about how a landmark network takes a screen or a mask.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.liveness.challenge import PATIENCE, Challenge
from pipeline.liveness.policy import TURNS, Policy
from pipeline.liveness.scene import (
    HEIGHT,
    NECK,
    WIDTH,
    Errors,
    Pose,
    bent,
    flat,
    folded,
    person,
    project,
)

FURTHEST = math.radians(45)
TOWARD = {"left": (1, 0), "right": (-1, 0), "up": (0, -1), "down": (0, 1)}  # yaw, pitch
Points = NDArray[np.float64]
Sway = Callable[[float], Pose]
"""Seconds -> what is added to the pose (``distance`` included)."""


@dataclass
class Actor:
    """A shape that is moved as the challenge asks."""

    source: np.random.Generator
    shape: Callable[[float], Points]  # time -> points (5, 3), cm
    pivot: Points  # what it turns about, cm
    turn: float  # radians that it is turned when asked; 0 for none
    haste: float  # radians a second
    reaction: float  # seconds
    hears: Callable[[str], str] = lambda told: told  # what it makes of an instruction
    sway: Sway = lambda time: Pose(distance=0)  # what else it does all the time
    start: Pose = field(default_factory=Pose)  # pose at the beginning

    def __post_init__(self) -> None:
        self._pose, self._home = self.start, self.start.distance
        self._told = self._asked = self._now = "look"
        self._heard, self._stray, self._goes = 0.0, np.zeros(2), False

    def act(self, time: float, step: float, told: str) -> Points:
        """Points (5, 2) in pixels, ``step`` seconds after the last ones."""
        return project(self.shape(time), self.move(time, step, told), self.pivot)

    def move(self, time: float, step: float, told: str) -> Pose:
        """The pose ``step`` seconds after the last one, when ``told`` is asked for."""
        if told != self._told:
            if told == self._asked:  # once more, because it was too fast
                self.haste *= 0.6
            if told != "back":
                self._asked = told
            self._told, self._heard, self._now = told, time, self.hears(told)
            self._stray = self.source.normal(0, 0.06, 2)  # nobody turns about one axis only
            self._goes = told in ("nearer", "farther")
        goal = (0.0, 0.0)
        if self._told != "look" and time - self._heard >= self.reaction:
            if self._now in TOWARD and self.turn:
                if time - self._heard > PATIENCE + self.reaction:  # "A little further."
                    self.turn = max(self.turn, min(FURTHEST, self.turn + self.haste * step / 3))
                yaw, pitch = TOWARD[self._now]
                goal = (
                    yaw * self.turn + self._stray[0],
                    pitch * self.turn * 0.85 + self._stray[1],
                )
            if self._goes:  # once for each instruction
                self._home *= 0.68 if told == "nearer" else 1.45
                self._goes = False
        most, walk, now = self.haste * step, 30 * step, self._pose
        self._pose = replace(
            now,
            yaw=now.yaw + np.clip(goal[0] - now.yaw, -most, most),
            pitch=now.pitch + np.clip(goal[1] - now.pitch, -most, most),
            distance=now.distance + np.clip(self._home - now.distance, -walk, walk),
        )
        more = self.sway(time)
        return Pose(
            self._pose.yaw + more.yaw,
            self._pose.pitch + more.pitch,
            self._pose.roll + more.roll,
            self._pose.x + more.x,
            self._pose.y + more.y,
            max(20.0, self._pose.distance + more.distance),
        )


def swaying(source: np.random.Generator, angle: float, place: float) -> Sway:
    """Slow, smooth, random movement: radians about each axis and cm to each side, at most."""
    sizes = source.uniform(0.3, 1, 6) * [angle, angle, angle, place, place, place]
    speed = source.uniform(0.5, 3, 6)
    phase = source.uniform(0, 2 * np.pi, 6)

    def sway(time: float) -> Pose:
        # From rest, so that the reference can be taken.
        return Pose(*(sizes * np.sin(speed * time + phase) * min(1.0, max(0.0, time - 2))))

    return sway


def live(source: np.random.Generator) -> Actor:
    """A person who does what is asked."""
    face, smile = person(source), source.normal(0, 0.15, 4)

    def shape(time: float) -> Points:
        moved = face.copy()
        wave = math.sin(0.8 * time + smile[0] * 10)
        moved[3:, 1] += smile[1] * wave  # the mouth is never still
        moved[3, 0] -= smile[2] * wave
        moved[4, 0] += smile[2] * wave
        return moved

    return Actor(
        source,
        shape,
        NECK,
        turn=math.radians(source.uniform(22, 40)),
        haste=math.radians(source.uniform(40, 130)),
        reaction=source.uniform(0.3, 1.0),
        sway=swaying(source, 0.03, 0.5),
        start=Pose(distance=source.uniform(45, 70)),
    )


def photo(
    source: np.random.Generator,
    shape: Callable[[float], Points] | None = None,
    turn: tuple[float, float] = (0, 0),
    sway: tuple[float, float] = (0.03, 0.5),
) -> Actor:
    """A photo in two hands, turned by ``turn`` degrees when a turn is asked for."""
    points = flat(person(source))
    return Actor(
        source,
        shape or (lambda time: points),
        np.zeros(3),
        turn=math.radians(source.uniform(*turn)),
        haste=math.radians(source.uniform(40, 130)),
        reaction=source.uniform(0.3, 1.0),
        sway=swaying(source, *sway),
        start=Pose(distance=source.uniform(40, 65)),
    )


def bending(source: np.random.Generator, radius: tuple[float, float]) -> Callable[[float], Points]:
    """A photo that is bent more and less, up to a radius in cm; about either axis."""
    face, least = person(source), source.uniform(*radius)
    upright, speed = source.random() < 0.5, source.uniform(0.5, 3)
    return lambda time: bent(face, least / max(0.02, abs(math.sin(speed * time))), upright)


def _bent(source: np.random.Generator, radius: tuple[float, float]) -> Actor:
    return photo(source, bending(source, radius), (20, 55))


def _folded(source: np.random.Generator, angle: tuple[float, float]) -> Actor:
    shape = folded(person(source), math.radians(source.uniform(*angle)))
    return photo(source, lambda time: shape, (20, 55))


def _in_plane(source: np.random.Generator) -> Actor:
    """Turned in its plane when a turn is asked for."""
    actor = photo(source)
    size, speed = source.uniform(0.2, 1.0), source.uniform(1, 4)
    actor.sway = lambda time: Pose(roll=size * math.sin(speed * max(0.0, time - 2)), distance=0.0)
    return actor


def _recording(source: np.random.Generator) -> Actor:
    """A live person on a screen that turns when a turn is asked for, but blindly."""
    actor = live(source)
    actor.hears = lambda told: str(source.choice(TURNS)) if told in TOWARD else told
    return actor


class _Swap(Actor):
    """Photos of a head that looks straight and to all sides, changed when a turn is asked for."""

    def act(self, time: float, step: float, told: str) -> Points:
        turn, self.turn, self.haste = self.turn, 0.0, 9.0
        straight = super().act(time, step, told)
        self.turn = turn
        if told not in TOWARD or time - self._heard < self.reaction:
            return straight
        yaw, pitch = TOWARD[told]
        pose = replace(self._pose, yaw=yaw * turn, pitch=pitch * turn * 0.85)
        other = project(self.shape(time), pose, self.pivot)
        return other + straight.mean(axis=0) - other.mean(axis=0)  # held to the same place


def _photos(source: np.random.Generator) -> Actor:
    face = person(source)
    return _Swap(
        source,
        lambda time: face,
        NECK,
        turn=math.radians(source.uniform(20, 40)),
        haste=9.0,
        reaction=source.uniform(0.3, 1.0),
        start=Pose(distance=source.uniform(45, 65)),
    )


@dataclass(frozen=True)
class Kind:
    """A kind of presentation."""

    name: str  # as in tables
    make: Callable[[np.random.Generator], Actor]  # a new one
    # whether it should fail; None for an attack that this challenge cannot stop
    attack: bool | None = True


KINDS = (
    Kind("person who follows", live, attack=False),
    Kind("photo, held still", lambda s: photo(s, sway=(0.0, 0.0))),
    Kind("photo, moved about", lambda s: photo(s, sway=(0.15, 6.0))),
    Kind("photo, tilted as asked", lambda s: photo(s, turn=(20, 60))),
    Kind("photo, tilted and moved", lambda s: photo(s, turn=(20, 60), sway=(0.3, 6.0))),
    Kind("photo, turned in its plane", _in_plane),
    Kind("photo, bent slightly (radius 15 to 40 cm)", lambda s: _bent(s, (15, 40))),
    Kind("photo, bent strongly (radius 5 to 15 cm)", lambda s: _bent(s, (5, 15))),
    Kind("photo, folded along the nose by up to 15 degrees", lambda s: _folded(s, (5, 15))),
    Kind("photos of turned heads, exchanged", _photos),
    Kind("recording that turns at random", _recording),
    Kind("photo, folded along the nose by 20 to 40 degrees", lambda s: _folded(s, (20, 40)), None),
)


def simulate(kind: Kind, seed: int, policy: Policy | None = None) -> Challenge:
    """One attempt, to its end. The same seed gives the same attempt."""
    source = np.random.default_rng(seed)
    actor = kind.make(source)
    errors = Errors(source, quick=source.uniform(0.008, 0.025), slow=source.uniform(0.01, 0.025))
    challenge = Challenge.new(random.Random(seed), policy)
    rate, time = source.uniform(8, 30), 0.0
    while challenge.status == "waiting":
        step = max(0.01, source.normal(1 / rate, 0.15 / rate))
        time += step
        points = errors.add(actor.act(time, step, challenge.asks), step)
        seen = source.random() > 0.02  # a detector misses some
        challenge.update(time, points if seen else None, None, (HEIGHT, WIDTH))
    return challenge
