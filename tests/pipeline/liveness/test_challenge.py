"""The challenge with a person who can be told exactly what to do, and with its refusals."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import numpy as np
import pytest

from pipeline.liveness.challenge import Challenge
from pipeline.liveness.policy import HINTS, INSTRUCTIONS, REASONS, TURNS, Policy
from pipeline.liveness.scene import FACE, HEIGHT, NECK, WIDTH, Pose, flat, project

POSES = {
    "left": Pose(yaw=0.5),
    "right": Pose(yaw=-0.5),
    "up": Pose(pitch=-0.5),
    "down": Pose(pitch=0.5),
    "nearer": Pose(distance=36),
    "farther": Pose(distance=80),
    "straight": Pose(),
}
SIZE = (HEIGHT, WIDTH)


class Film:
    """A head in front of the challenge, 20 pictures a second."""

    def __init__(self, *steps, shape=FACE, policy=None, pivot=NECK, rate=20.0, vector=None):
        policy = policy or Policy()
        self.challenge = Challenge(steps or ("left", "up", "nearer", "right"), policy)
        self.shape, self.pivot, self.vector = shape, pivot, vector
        self.pose, self.time, self.step = Pose(), 100.0, 1 / rate

    def show(self, pose):
        self.pose, self.time = pose, self.time + self.step
        points = project(self.shape, pose, self.pivot)
        return self.challenge.update(self.time, points, None, SIZE, self.vector)

    def hold(self, seconds=0.5, pose=None):
        for _ in range(round(seconds / self.step)):
            state = self.show(pose or self.pose)
        return state

    def go(self, to, seconds=0.5):
        start, goal = dataclasses.astuple(self.pose), dataclasses.astuple(to)
        for share in np.linspace(0, 1, round(seconds / self.step))[1:]:
            state = self.show(
                Pose(*(a + share * (b - a) for a, b in zip(start, goal, strict=True)))
            )
        return state

    def look(self):
        """Until the first step is asked."""
        self.hold(0.6)
        assert self.challenge.phase == "move"
        return self.hold(0.4)

    def answer(self, step):
        self.go(POSES[step])
        state = self.hold(0.4)
        self.go(dataclasses.replace(POSES["straight"], distance=self.pose.distance))
        return self.hold(0.6) if state.status == "waiting" else state


def test_who_follows_passes():
    film = Film("left", "up", "nearer", "right", "down", "farther")
    assert film.challenge.instruction == INSTRUCTIONS["look"]
    state = film.look()
    assert (state.status, state.step, state.steps) == ("waiting", 0, 6)
    for number, step in enumerate(film.challenge.steps):
        assert film.challenge.instruction == INSTRUCTIONS[step]
        state = film.answer(step)
        assert state.step == number + 1
    assert (state.status, state.reason) == ("passed", None)
    assert state.instruction == INSTRUCTIONS["done"]
    assert film.show(POSES["up"]) == state  # nothing changes after the end


def test_progress_tells_how_far_it_is():
    film = Film("left", "up", "right")
    film.look()
    seen = [film.go(Pose(yaw=0.05 * i), 0.1).progress for i in range(1, 6)]
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1]


@pytest.mark.parametrize(("size", "hint"), [(0.15, HINTS["further"]), (-0.15, None)])
def test_who_does_not_go_far_enough_is_told(size, hint):
    film = Film("left", "up", "right")
    film.look()
    film.go(Pose(yaw=size))
    assert film.hold(0.5).hint is None
    assert film.hold(3).hint == hint


@pytest.mark.parametrize("done", [d for d in TURNS if d != "left"])
def test_another_turn_than_the_one_asked_for_fails(done):
    film = Film("left", "up", "right")
    film.look()
    film.go(POSES[done])
    assert film.hold(0.4).reason == "wrong-movement"
    assert film.challenge.status == "failed"


def test_going_away_instead_of_coming_nearer_fails():
    film = Film("nearer", "left", "up", "right")
    film.look()
    film.go(POSES["farther"], 1)
    assert film.hold(0.4).reason == "wrong-movement"


def test_in_a_mirror_left_is_right():
    film = Film("left", "up", "right", policy=Policy(mirrored=True))
    film.look()
    film.go(POSES["right"])
    assert film.hold(0.4).step == 1


@pytest.mark.parametrize("size", [0.3, 0.6, 0.9])
def test_a_tilted_photo_fails(size):
    film = Film("left", "up", "right", shape=flat(FACE), pivot=np.zeros(3))
    film.look()
    film.go(Pose(yaw=size))
    state = film.hold(9)
    assert (state.status, state.reason) == ("failed", "flat" if size > 0.65 else "not-done")


def test_a_relief_is_too_shallow():
    relief = FACE * [1, 1, 0] + [0, 0, 1] * (FACE - 4.0) * 0.45
    film = Film("left", "right", "left", shape=relief)
    film.look()
    for _ in range(3):
        film.answer(film.challenge.steps[film.challenge.done])
    assert film.challenge.reason == "shallow"


def test_doing_nothing_fails_in_time():
    film = Film("left", "up", "right")
    film.look()
    state = film.hold(Policy().step_seconds + 0.5)
    assert (state.status, state.reason) == ("failed", "not-done")
    assert film.time - 100 < Policy().step_seconds + 2


def test_nobody_there_expires():
    film = Film()
    for second in range(70):
        state = film.challenge.update(second, None)
    assert (state.status, state.reason, state.hint) == ("expired", "time-is-up", None)


def test_a_cut_to_a_turned_head_fails():
    film = Film("left", "up", "right")
    film.look()
    assert film.show(Pose(yaw=0.7)).reason == "jump"


def test_a_small_cut_is_not_counted():
    """Too small for a jump, but no way there was seen: back, and once more slowly."""
    film = Film("left", "up", "right", rate=8)
    film.look()
    film.show(Pose(yaw=0.36))
    state = film.hold(1)
    assert state.step == 0
    assert state.hint is not None
    assert state.instruction == INSTRUCTIONS["back"]
    film.go(Pose(), 0.5)
    assert film.answer("left").step == 1


@pytest.mark.parametrize("other", [Pose(x=8), Pose(y=-7), Pose(distance=38), Pose(distance=80)])
def test_a_cut_to_another_place_or_size_fails(other):
    film = Film("left", "up", "right")
    film.look()
    assert film.show(other).reason == "jump"


def test_a_gap_fails_but_a_missed_picture_does_not():
    film = Film("left", "up", "right")
    film.look()
    film.challenge.update(film.time + 0.1, None)
    film.time += 0.15
    assert film.show(Pose()).status == "waiting"
    film.time += Policy().max_gap + 0.1
    assert film.show(Pose()).reason == "lost"


def test_an_answer_before_anyone_can_have_heard_fails():
    film = Film("left", "up", "right", rate=60)
    film.hold(0.45)
    film.go(Pose(yaw=0.02), 0.05)
    while film.challenge.phase == "look":
        film.show(Pose(yaw=0.02))
    film.go(POSES["left"], 0.25)
    assert film.hold(0.4).reason == "before-asked"


def test_the_next_step_is_asked_only_from_a_straight_face():
    film = Film("left", "left", "left")
    film.look()
    film.go(POSES["left"])
    assert film.hold(2).step == 1
    assert film.challenge.instruction == INSTRUCTIONS["back"]


@pytest.mark.parametrize(
    ("points", "hint"),
    [
        (project(FACE, Pose(yaw=0.6), NECK), "straight"),
        (project(FACE, Pose(roll=0.6), NECK), "upright"),
        (project(FACE, Pose(distance=400), NECK), "nearer"),
        (project(FACE, Pose(x=-30), NECK), "whole"),
        (None, "No face"),
    ],
)
def test_hints(points, hint):
    challenge = Challenge.new(random.Random(0))
    for i in range(40):
        state = challenge.update(i / 20, points, None, SIZE)
    assert state.status == "waiting"
    assert challenge.phase == "look"
    assert hint in (state.hint or "")


def test_a_face_that_fills_the_picture_shall_move_back():
    state = Challenge.new().update(0, project(FACE, Pose(), NECK), [300, 10, 900, 700], SIZE)
    assert "back" in (state.hint or "")


def test_a_restless_face_gives_no_reference():
    film = Film()
    for i in range(60):
        film.show(Pose(yaw=0.3 * math.sin(i)))
    assert film.challenge.phase == "look"


def vector(*values):
    return np.array(values, np.float32) / np.linalg.norm(values)


def test_another_person_fails():
    film = Film("left", "up", "right", vector=vector(1, 0, 0))
    film.look()
    film.vector = vector(0.8, 0.6, 0)
    assert film.hold(0.5).status == "waiting"
    film.vector = vector(0.1, 1, 0)
    assert film.hold(0.5).reason == "another-person"


def test_embeddings_cannot_be_left_out_later():
    film = Film("left", "up", "right", vector=vector(1, 0, 0))
    film.look()
    film.vector = None
    assert film.hold(0.5).reason == "another-person"


def test_old_pictures_are_left_out_and_bad_times_refused():
    film = Film()
    state = film.hold(0.3)
    assert film.challenge.update(film.time - 1, None) == state
    with pytest.raises(ValueError, match="finite"):
        film.challenge.update(math.nan, None)


def test_it_goes_on_from_json_after_every_picture():
    whole, parts = Film("left", "nearer", "up", "right"), Film("left", "nearer", "up", "right")
    for film in (whole, parts):
        film.vector = vector(1, 2, 3)
        original = film.show

        def show(pose, film=film, original=original):
            if film is parts:
                stored = json.dumps(film.challenge.to_json(), allow_nan=False)
                film.challenge = Challenge.from_json(json.loads(stored))
            return original(pose)

        film.show = show
        film.look()
        for step in film.challenge.steps:
            film.answer(step)
    assert whole.challenge == parts.challenge
    assert whole.challenge.status == "passed"
    assert whole.challenge.embedding is None  # nothing of the person stays


def test_what_is_shown_keeps_the_sequence_secret():
    challenge = Challenge.new(random.Random(3))
    shown = json.dumps(challenge.state.to_json())
    assert "steps" not in json.loads(shown) or isinstance(json.loads(shown)["steps"], int)
    assert not [step for step in challenge.steps if f'"{step}"' in shown]


@pytest.mark.parametrize(
    "change", [{"steps": []}, {"steps": ["jump"]}, {"policy": {"turns": 1}}, {"extra": 1}]
)
def test_foreign_json_is_refused(change):
    value = {**json.loads(json.dumps(Challenge.new().to_json())), **change}
    with pytest.raises((ValueError, TypeError)):
        Challenge.from_json(value)


def test_sequences_are_random_and_all_come():
    policy = Policy()
    drawn = [Challenge.new().steps for _ in range(400)]
    assert len(set(drawn)) > 200
    turns = [tuple(s for s in steps if s in TURNS) for steps in drawn]
    assert {len(t) for t in turns} == {policy.turns}
    for place in range(policy.turns):
        counts = [sum(t[place] == turn for t in turns) for turn in TURNS]
        assert min(counts) > 50  # of 100 expected
    assert {steps.index("nearer") for steps in drawn if "nearer" in steps} == {0, 1, 2, 3}


def test_a_recording_has_less_than_one_chance_in_twenty():
    assert Policy().chance == 1 / 48
    assert 1 - (1 - Policy().chance) ** 2 < 0.05  # two attempts
    drawn = {tuple(s for s in Challenge.new().steps if s in TURNS) for _ in range(1500)}
    assert len(drawn) == 48  # all of them, and no other
    with pytest.raises(ValueError, match="turns leave a recording a chance"):
        Policy(turns=2)


@pytest.mark.parametrize(
    "values",
    [
        {"neutral": 0.2},
        {"flat_parallax": 0.2},
        {"nearer": 0.9},
        {"hold_samples": 0},
        {"step_seconds": 100},
    ],
)
def test_senseless_policies_are_refused(values):
    with pytest.raises(ValueError, match="must be"):
        Policy(**values)


def test_every_reason_has_a_sentence():
    film = Film("left", "up", "right")
    film.look()
    state = film.hold(9)
    assert state.to_json()["message"] == REASONS["not-done"]
