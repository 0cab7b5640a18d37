"""The whole way from pixels: photos of real faces, filmed as heads and as sheets, through O-Net."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from faces.images.read import read_image
from pipeline.liveness.challenge import Challenge
from pipeline.liveness.geometry import view
from pipeline.liveness.scene import FACE, HEIGHT, NECK, WIDTH, Pose, bent, flat, project
from pipeline.liveness.simulation import live, photo
from recognizer.landmarks import LandmarkNet
from tests.pipeline.liveness.pixels import faces, find_points, over_head, rolled, surface

RATE = 10  # pictures a second
FACES = faces()
TURNS = {
    "left": Pose(yaw=math.radians(30)),
    "right": Pose(yaw=-math.radians(30)),
    "up": Pose(pitch=-math.radians(25)),
    "down": Pose(pitch=math.radians(20)),
}


@pytest.fixture(scope="module")
def net():
    return LandmarkNet(threads=1)


def make(name, kind, net):
    """Dots in space, the five points on them, and what they turn about."""
    path, box = FACES[name]
    image = read_image(path)
    points = net(image, box[None])[0][0]
    shapes = {
        "head": (over_head, FACE, NECK),
        "photo": (lambda places: places, flat(FACE), np.zeros(3)),
        "bent photo": (rolled(20.0), bent(FACE, 20.0), np.zeros(3)),
    }
    lay, places, pivot = shapes[kind]
    return surface(image, points, lay, 9.0), places, pivot


def look(net, thing, pose):
    dots, places, pivot = thing
    return find_points(net, dots.film(pose, pivot), project(places, pose, pivot))


@pytest.mark.slow
@pytest.mark.parametrize("name", FACES)
def test_parallax_of_heads_and_photos_as_a_real_network_sees_them(net, name):
    for kind in ("head", "photo", "bent photo"):
        thing = make(name, kind, net)
        reference = look(net, thing, Pose()).astype(float)
        for turn, pose in TURNS.items():
            seen = view(reference, look(net, thing, pose).astype(float))
            along = {"left": seen.x, "right": -seen.x, "up": -seen.y, "down": seen.y}[turn]
            what = f"{name} {kind} {turn}: {along:.2f}, depth {seen.depth:.2f}"
            if kind == "head":
                assert along > 0.09, what
                assert seen.depth > 0.2, what
            elif kind == "photo":
                assert seen.parallax < 0.07, what
                assert seen.depth < 0.15, what
            else:
                assert along < 0.12, what


def attempt(net, thing, actor, seed):
    """The challenge to its end, seen through the network."""
    actor.shape, actor.pivot = lambda time: thing[1], thing[2]
    challenge, time = Challenge.new(random.Random(seed)), 0.0
    while challenge.status == "waiting":
        time += 1 / RATE
        pose = actor.move(time, 1 / RATE, challenge.asks)
        challenge.update(time, look(net, thing, pose), None, (HEIGHT, WIDTH))
    return challenge


@pytest.mark.slow
@pytest.mark.parametrize("name", FACES)
def test_a_turning_head_passes(net, name):
    actor = live(np.random.default_rng(2))
    actor.turn = math.radians(32)
    # Collins smiles, which hides her nose's way down from O-Net (docs/liveness.md).
    challenge = attempt(net, make(name, "head", net), actor, seed=2)
    assert (challenge.status, challenge.reason) == ("passed", None)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), list(zip(FACES, ("photo", "bent photo"), strict=True)))
def test_a_photo_that_is_tilted_as_asked_and_moved_about_fails(net, name, kind):
    actor = photo(np.random.default_rng(2), turn=(30, 45), sway=(0.1, 3))
    challenge = attempt(net, make(name, kind, net), actor, seed=2)
    assert challenge.status == "failed"
    assert challenge.done <= 1  # the step nearer or farther can be done with a photo
