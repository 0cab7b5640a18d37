"""Examples of one person, and never of anybody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from detector.types import Detections
from faces.boxes import iou
from faces.images.read import read_image
from pipeline.live.loop import Loop
from pipeline.teaching.gathering import Example, Gatherer, TeachOptions
from pipeline.types import Look, Picture, Sighting
from recognizer.blank import Blank
from recognizer.gallery import Gallery
from recognizer.snapshot import Snapshot
from recognizer.types import Embedder, unit
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, know, scene

DIMENSION = 64
BAR = 0.6
NOBODY = Gallery.empty("c", DIMENSION)
NOISE = np.random.default_rng(0).integers(60, 200, (200, 400, 3), np.uint8)
BOXES = ((20.0, 20.0, 100.0, 100.0), (220.0, 20.0, 300.0, 100.0))


def person(seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=DIMENSION))


def face(who: np.ndarray, rng: np.random.Generator, spread: float = 0.06) -> np.ndarray:
    """One more vector of somebody: cosine of about 0.9 with the person."""
    return unit(who + rng.normal(0, spread, DIMENSION))


def sighting(
    track: int | None, vector: np.ndarray | None, place: int = 0, crossing: bool = False
) -> Sighting:
    return Sighting(BOXES[place], 0.9, track, 300.0, 0.8, crossing, None, vector)


def look(index: int, *sightings: Sighting, image: np.ndarray = NOISE) -> Look:
    return Look(Picture(index, index / 8, image, 0.0), sightings)


ADA, BOB = person(1), person(2)


def gatherer(options: TeachOptions = TeachOptions(), seed: int = 0) -> Gatherer:  # noqa: B008
    first = Example(face(ADA, np.random.default_rng((seed, 9))))
    return Gatherer("Ada", 1, first, BAR, 0.0, options)


def cosines(of: Gatherer) -> np.ndarray:
    return np.array([example.embedding @ ADA for example in of.examples])


# -- the good case


def test_it_takes_one_example_from_each_good_look_until_there_are_enough():
    rng = np.random.default_rng(0)
    ada = gatherer(TeachOptions(wanted=20))
    for i in range(1, 30):
        ada.take(look(i, sighting(1, face(ADA, rng))), NOBODY)
    assert ada.full
    assert ada.done
    assert len(ada.examples) == 20
    assert cosines(ada).min() > 0.8


def test_a_kept_picture_keeps_the_points_of_its_face():
    five = np.array([[45, 48], [75, 48], [60, 62], [48, 78], [72, 78]], np.float32)
    ada = gatherer(TeachOptions(pictures="all"))
    seen = replace(sighting(1, face(ADA, np.random.default_rng(0))), landmarks=five)
    ada.take(look(1, seen), NOBODY)
    picture = ada.examples[1].picture
    assert picture is not None
    assert picture.landmarks is not None
    in_face = five - np.array(BOXES[0][:2], np.float32)
    np.testing.assert_allclose(picture.landmarks - picture.box[:2], in_face)


def test_a_known_person_learns_more():
    """Her own prototype is no rival."""
    rng = np.random.default_rng(0)
    known = Gallery("c", ("Ada", "Bob"), np.stack([ADA, BOB]))
    ada = gatherer()
    for i in range(1, 11):
        ada.take(look(i, sighting(1, face(ADA, rng))), known)
    assert len(ada.examples) == 11


def test_looks_from_before_the_click_are_left_aside():
    ada = Gatherer("Ada", 1, Example(ADA), BAR, 2.0)
    ada.take(look(9, sighting(1, face(ADA, np.random.default_rng(0)))), NOBODY)
    assert len(ada.examples) == 1


def test_it_ends_by_time_and_says_so():
    rng = np.random.default_rng(0)
    ada = gatherer(TeachOptions(seconds=2.0))
    for i in range(1, 10):
        ada.take(look(i, sighting(1, face(ADA, rng))), NOBODY)
    ada.at(1.9)
    assert not ada.done
    ada.at(2.0)
    assert ada.done
    assert ada.message == "2 s are over: 10 of 50 examples"
    ada.take(look(25, sighting(1, face(ADA, rng))), NOBODY)
    assert len(ada.examples) == 10


def test_a_video_that_begins_anew_does_not_stop_the_clock():
    ada = gatherer(TeachOptions(seconds=2.0))
    ada.at(1.5)
    ada.at(0.0)
    assert not ada.done
    ada.at(0.4)
    assert not ada.done
    ada.at(0.6)
    assert ada.done


# -- what is no good example


def test_somebody_who_sits_still_gives_a_few_examples_only():
    ada = gatherer(TeachOptions(repeats=5))
    for i in range(1, 200):
        ada.take(look(i, sighting(1, ada.examples[0].embedding)), NOBODY)
    assert len(ada.examples) == 6
    assert ada.message == "turn your head a little"


def test_a_face_that_looks_away_is_no_example():
    away = person(7)
    ada = gatherer(TeachOptions(blank=Blank(away, 0.3)))
    rng = np.random.default_rng(5)
    turned = unit(face(ADA, rng) + 0.45 * away)  # still hers, and hardly to be seen
    ada.take(look(1, sighting(1, turned)), NOBODY)
    assert ada.message == "look at the camera"
    assert len(ada.examples) == 1
    ada.take(look(2, sighting(1, face(ADA, rng))), NOBODY)
    assert len(ada.examples) == 2


@pytest.mark.parametrize(
    ("image", "box", "message"),
    [
        (NOISE // 20, BOXES[0], "the light is bad"),
        (NOISE, (20.0, 20.0, 50.0, 50.0), "come nearer"),
        (NOISE, (0.0, 0.0, 80.0, 80.0), "come into the picture"),
    ],
)
def test_bad_faces_are_not_taken_and_it_is_said_what_to_do(image, box, message):
    ada = gatherer()
    one = replace(sighting(1, face(ADA, np.random.default_rng(0))), box=box)
    for i in range(1, 20):
        ada.take(look(i, one, image=image), NOBODY)
    assert len(ada.examples) == 1
    assert ada.message == message


def test_the_bar_is_stricter_than_for_a_name():
    """A face that would get the name is not alike enough to teach it."""
    rng = np.random.default_rng(3)
    across = unit(BOB - (BOB @ ADA) * ADA)
    ada = Gatherer("Ada", 1, Example(ADA), BAR, 0.0)
    for i, cosine in enumerate(rng.uniform(BAR + 0.01, BAR + 0.07, 30), 1):
        vector = unit(cosine * ADA + np.sqrt(1 - cosine**2) * across)
        ada.take(look(i, sighting(1, vector)), NOBODY)
    assert len(ada.examples) == 1
    assert ada.certain, "it may well be her"


def test_a_face_nearer_to_somebody_known_is_not_taken():
    half = unit(ADA + 0.9 * BOB)
    known = Gallery("c", ("Bob",), unit(half + 0.2 * BOB)[None])
    ada = Gatherer("Ada", 1, Example(half), BAR, 0.0)
    for i in range(1, 20):
        ada.take(look(i, sighting(1, face(half, np.random.default_rng(i), 0.03))), known)
    assert len(ada.examples) == 1


def test_small_steps_do_not_lead_to_somebody_else():
    """Every vector is near to the one before it, and the last ones are Bob's."""
    ada = Gatherer("Ada", 1, Example(ADA), BAR, 0.0, TeachOptions(wanted=500))
    for i, share in enumerate(np.linspace(0, 1, 200), 1):
        vector = unit((1 - share) * ADA + share * BOB)
        ada.take(look(i, sighting(1, vector)), NOBODY)
    assert len(ada.examples) > 10
    assert min(e.embedding @ ADA for e in ada.examples) > 0.5
    assert max(e.embedding @ BOB for e in ada.examples) < 0.85


# -- other people


def test_after_a_crossing_it_waits_until_it_is_certain():
    rng = np.random.default_rng(0)
    ada = gatherer(TeachOptions(certain=3))
    bob = sighting(2, face(BOB, rng), 1)
    ada.take(look(1, sighting(1, face(ADA, rng)), bob), NOBODY)
    assert len(ada.examples) == 2
    crossing = [sighting(1, face(ADA, rng), 0, True), sighting(2, None, 1, True)]
    ada.take(look(2, *crossing), NOBODY)
    assert (ada.track, ada.certain, ada.message) == (None, False, "two faces meet")
    for i in (3, 4, 5):
        ada.take(look(i, sighting(1, face(ADA, rng)), bob), NOBODY)
        assert len(ada.examples) == 2, "these looks only confirm"
    assert ada.track == 1
    ada.take(look(6, sighting(1, face(ADA, rng)), bob), NOBODY)
    assert len(ada.examples) == 3


def test_it_follows_the_person_to_another_track():
    rng = np.random.default_rng(0)
    ada = gatherer()
    ada.take(look(1, sighting(1, None, 0, True), sighting(2, None, 1, True)), NOBODY)
    for i in range(2, 9):
        swapped = sighting(1, face(BOB, rng)), sighting(2, face(ADA, rng), 1)
        ada.take(look(i, *swapped), NOBODY)
    assert ada.track == 2
    assert cosines(ada).min() > 0.8
    assert len(ada.examples) == 5


def test_it_waits_for_a_person_who_leaves_and_comes_back():
    rng = np.random.default_rng(0)
    ada = gatherer()
    for i in range(1, 5):
        ada.take(look(i, sighting(2, face(BOB, rng), 1)), NOBODY)
    assert ada.message == "not in sight"
    for i in range(5, 12):
        ada.take(look(i, sighting(7, face(ADA, rng)), sighting(2, None, 1)), NOBODY)
    assert ada.track == 7
    assert len(ada.examples) == 5


def test_nobody_is_in_two_places():
    """Two who look alike: the one beside her is somebody else, so such faces are not taken."""
    rng = np.random.default_rng(0)
    twin = unit(ADA + 0.35 * BOB)
    ada = gatherer()
    for i in range(1, 30):
        both = sighting(1, face(ADA, rng)), sighting(2, face(twin, rng), 1)
        ada.take(look(i, *both), NOBODY)
    count = len(ada.examples)
    for i in range(30, 60):  # the track goes over to the twin unseen
        ada.take(look(i, sighting(1, face(twin, rng))), NOBODY)
    assert len(ada.examples) == count


@pytest.mark.parametrize("seed", range(40))
def test_a_tracker_that_swaps_people_unseen_contaminates_nothing(seed):
    """No crossing is marked, and every few looks the tracks are exchanged, lost or new."""
    rng = np.random.default_rng(seed)
    ada = gatherer(TeachOptions(wanted=200, repeats=200), seed)
    tracks, number = [1, 2], 3
    for i in range(1, 200):
        event = rng.random()
        if event < 0.1:
            tracks.reverse()
        elif event < 0.15:
            tracks[rng.integers(2)], number = number, number + 1
        seen = [
            sighting(tracks[0], face(ADA, rng) if rng.random() < 0.7 else None),
            sighting(tracks[1], face(BOB, rng) if rng.random() < 0.7 else None, 1),
        ]
        ada.take(look(i, *(s for s in seen if rng.random() < 0.9)), NOBODY)
    assert cosines(ada).min() > 0.75
    assert len(ada.examples) > 5, "it must have got on"


# -- films: detector, tracker, embedder and all


def crossing_places(rng: np.random.Generator, frames: int) -> list[dict[str, tuple[int, int]]]:
    """Two faces that pass each other, stop, turn back, hide one another; who is in front varies."""
    lanes = rng.integers(40, 60) + np.array([0, rng.integers(0, 45)])
    x = np.array([20.0, 230.0])
    speed = np.array([1.0, -1.0]) * rng.uniform(40, 200, 2) / 30
    in_front = bool(rng.integers(2))
    places = []
    for _ in range(frames):
        x += speed
        for k in range(2):
            if not 5 < x[k] < 260 or rng.random() < 0.01:
                speed[k] = -speed[k]
                x[k] = float(np.clip(x[k], 6, 259))
        order = ["Ada", "Bob"] if in_front else ["Bob", "Ada"]
        at = {"Ada": (round(x[0]), int(lanes[0])), "Bob": (round(x[1]), int(lanes[1]))}
        places.append({name: at[name] for name in order})
    return places


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The light and the faces change a little from frame to frame."""
    light = rng.integers(-25, 26, (image.shape[0] // 4, image.shape[1] // 4, 3))
    change = np.kron(light, np.ones((4, 4, 1), int))
    bright = np.clip(image.astype(int) + change, 101, 255)
    return np.where(image > 100, bright, image).astype(np.uint8)


def gather_film(loop: Loop, frames: list[np.ndarray], ada: Gatherer, start: int = 0) -> None:
    for i, image in enumerate(frames, start):
        tick = loop.step(Picture(i, i / 30, image, 0.0))
        for each in tick.looks:
            ada.take(each, loop.recognizer.gallery)
        followed = [ada.track] if ada.track is not None else [f.track for f in tick.faces.faces]
        for track in followed:
            loop.watch(track, 1.0)


def film_crossing(seed: int) -> int:
    """One film; the number of examples. Asserts that none is Bob's or half Bob's."""
    rng = np.random.default_rng(seed)
    embedder = CountingEmbedder()
    loop = Loop(FakeDetector(), embedder, Snapshot(Gallery.empty(embedder.fingerprint, 64)))
    places = crossing_places(rng, 240)
    frames = [noisy(scene(place), rng) for place in places]
    gather_film(loop, frames[:1], dummy := gatherer())
    assert len(dummy.examples) == 1
    truth = {name: know(embedder, name).gallery.embeddings[0] for name in ("Ada", "Bob")}
    box = loop._last.faces.faces
    own = next(f for f in box if abs(f.box[0] - places[0]["Ada"][0]) < 5)
    crop = embedder.crop(frames[0], np.array([own.box], np.float32))
    first = Example(embedder.embed(crop)[0])
    ada = Gatherer("Ada", own.track, first, 0.85, 0.0, TeachOptions(repeats=50, wanted=200))
    gather_film(loop, frames[1:], ada, 1)
    mine = np.array([e.embedding @ truth["Ada"] for e in ada.examples])
    bobs = np.array([e.embedding @ truth["Bob"] for e in ada.examples])
    assert mine.min() > 0.85, (seed, mine)
    assert (mine > bobs + 0.2).all(), seed
    return len(ada.examples)


@pytest.mark.slow(10)
def test_faces_that_cross_swap_and_hide_one_another_are_never_mixed():
    counts = [film_crossing(seed) for seed in range(100, 108)]
    assert np.mean(counts) > 12


# -- real faces, the real network


class Placed:
    """Finds the faces where the film has put them; not one that another hides."""

    def __init__(self) -> None:
        self.boxes: list[tuple[float, ...]] = []

    def detect(self, image: np.ndarray) -> Detections:
        return Detections.from_raw(self.boxes, [0.95] * len(self.boxes), image.shape[:2])

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self.detect(image) for image in images]


def middle(photo: np.ndarray) -> np.ndarray:
    """The 100 x 100 pixels where LFW's face is."""
    top, left = (side // 2 - 50 for side in photo.shape[:2])
    return photo[top : top + 100, left : left + 100]


@cache
def often(folder: Path) -> list[Path]:
    """The people of LFW with four photos or more."""
    return [p for p in sorted(folder.iterdir()) if len(list(p.glob("*.jpg"))) >= 4]


def real_crossing(seed: int, folder: Path, embedder: Embedder, bar: float) -> tuple[int, int]:
    """Two people of LFW pass each other; every frame shows another photo of them now and then.

    Gives the number of examples, and how many of them are of the other one. The one in front is
    wholly to be seen, so an example of the first in front of the second is right.
    """
    rng = np.random.default_rng(seed)
    rich = often(folder)
    people = [rich[i] for i in rng.choice(len(rich), 2, replace=False)]
    photos = [[middle(read_image(path)) for path in sorted(p.iterdir())] for p in people]
    detector = Placed()
    loop = Loop(
        detector, embedder, Snapshot(Gallery.empty(embedder.fingerprint, embedder.dimension))
    )
    x, speed = np.array([30.0, 420.0]), np.array([1.0, -1.0]) * rng.uniform(90, 250, 2) / 15
    y, front, shown = rng.integers(100, 140, 2), int(rng.integers(2)), [0, 0]
    ada, wrong = None, set()
    for i in range(150):
        x += speed
        for k in range(2):
            if not 20 < x[k] < 500 or rng.random() < 0.01:
                speed[k] = -speed[k]
                x[k] = float(np.clip(x[k], 21, 499))
            if rng.random() < 0.1:
                shown[k] = int(rng.integers(len(photos[k])))
        image = np.full((360, 640, 3), 90, np.uint8)
        for k in (1 - front, front):
            left, top = int(x[k]), int(y[k])
            image[top : top + 100, left : left + 100] = photos[k][shown[k]]
        boxes = [
            (float(int(x[k]) + 15), y[k] + 10.0, int(x[k]) + 85.0, y[k] + 90.0) for k in (0, 1)
        ]
        hidden = iou(boxes[:1], boxes[1:2])[0, 0] > 0.4
        detector.boxes = [boxes[front]] if hidden else boxes
        tick = loop.step(Picture(i, i / 15, image, 0.0))
        for each in tick.looks:
            mine = [s for s in each.sightings if s.box == pytest.approx(boxes[0], abs=0.6)]
            if ada is None:
                [own] = mine
                ada = Gatherer("Ada", own.track, Example(own.embedding), bar, 0.0)
                continue
            before = len(ada.examples)
            ada.take(each, loop.recognizer.gallery)
            if len(ada.examples) > before:
                new = ada.examples[-1].embedding
                if not any(s.embedding is new for s in mine):
                    wrong.add(i)
        followed = [f.track for f in tick.faces.faces] if ada.track is None else [ada.track]
        for track in followed:
            loop.watch(track, 1.0)
    return len(ada.examples), len(wrong)


@pytest.fixture(scope="module")
def mini() -> Embedder:
    from recognizer.embedders.load import load_embedder
    from recognizer.shipped import FOLDER

    if not (FOLDER / "mini.onnx").is_file():
        pytest.skip("the trained embedder is not in this installation")
    return load_embedder("mini", threads=1)


@pytest.mark.data
@pytest.mark.slow(15)
@pytest.mark.parametrize("bar", [0.45, 0.7])
def test_real_people_who_cross_are_never_mixed(shared_data, mini, bar):
    folder = shared_data / "lfw" / "images"
    results = [real_crossing(seed, folder, mini, bar) for seed in range(4)]
    assert sum(wrong for _, wrong in results) == 0, results
    assert np.mean([count for count, _ in results]) > 4, results
