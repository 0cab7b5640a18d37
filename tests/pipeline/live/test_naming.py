"""Which faces are looked at, and one steady name from what was seen."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from detector.data.portraits import PORTRAIT_FACES, portraits
from pipeline.live.naming import KEEP, Namer, NamingOptions
from pipeline.live.tasks import face_quality, sharpness
from pipeline.types import Sighting
from recognizer.gallery import Gallery
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.types import Match, unit

ADA, BOB, NOBODY = np.eye(3, dtype=np.float32)


def towards(vector: np.ndarray, cosine: float) -> np.ndarray:
    """A unit vector with this cosine to ``vector``, and 0 to the other people."""
    return unit(cosine * vector + np.sqrt(1 - cosine**2) * NOBODY)


def people(*names: str, version: int = 1, threshold: float = 0.6) -> Snapshot:
    vectors = {"Ada": ADA, "Bob": BOB}
    gallery = Gallery("c", names, np.array([vectors[n] for n in names], np.float32).reshape(-1, 3))
    return Snapshot(gallery, None, Thresholds(0.7, threshold), version)


BOTH = people("Ada", "Bob")


def seen(track: int | None = 1, quality: float = 0.5, crossing: bool = False) -> Sighting:
    return Sighting((0, 0, 50, 50), 0.9, track, 100.0, quality, crossing)


def name(namer: Namer, snapshot: Snapshot = BOTH, track: int = 1) -> str | None:
    return namer.names([track], snapshot)[track][0].name


# -- the vote


def test_before_the_first_look_nothing_is_known():
    assert Namer().names([1], BOTH) == {1: (Match(None), None)}


def test_one_look_is_enough_for_a_name():
    namer = Namer()
    namer.learn(1, towards(ADA, 0.9), 0.5, 0.0)
    match, agreement = namer.names([1], BOTH)[1]
    assert (match.name, match.source, match.nearest) == ("Ada", "gallery", "Ada")
    assert match.similarity == pytest.approx(0.9, abs=1e-4)
    assert agreement == 1.0


def test_a_blurred_face_does_not_change_the_name():
    namer = Namer()
    for i in range(4):
        namer.learn(1, towards(ADA, 0.8), 0.8, i / 10)
    for i in range(3):  # blurred: Bob, unknown
        namer.learn(1, towards(BOB, 0.65), 0.1, 0.5 + i / 10)
        assert name(namer) == "Ada"
    namer.learn(1, NOBODY, 0.1, 0.9)
    match, agreement = namer.names([1], BOTH)[1]
    assert match.name == "Ada"
    assert 0.5 < agreement < 1


def test_names_do_not_flicker_between_equals():
    namer = Namer()
    names = []
    for i in range(12):
        namer.learn(1, towards((ADA, BOB)[i % 2], 0.8), 0.5 + 0.05 * (i % 3), i / 10)
        names.append(name(namer))
    assert set(names) == {"Ada"}


def test_a_stranger_becomes_known_when_they_come_nearer():
    namer = Namer()
    for i in range(3):
        namer.learn(1, towards(ADA, 0.4), 0.2, i / 4)
    assert name(namer) is None
    for i in range(3):
        namer.learn(1, towards(ADA, 0.85), 0.8, 1 + i / 4)
    assert name(namer) == "Ada"


def test_a_new_snapshot_names_what_was_seen_before_without_another_look():
    namer = Namer()
    for i in range(3):
        namer.learn(1, towards(BOB, 0.9), 0.5, i / 4)
    assert name(namer, people("Ada")) is None
    assert name(namer, people("Ada", "Bob", version=2)) == "Bob"
    assert name(namer, people("Ada", version=3)) is None, "and forgets who was removed"


def test_only_what_is_new_is_asked():
    class Counting:
        version = 1
        asked = 0

        def identify(self, embeddings):
            self.asked += len(embeddings)
            return BOTH.identify(embeddings)

    counting, namer = Counting(), Namer()
    namer.learn(1, ADA, 0.5, 0.0)
    namer.learn(2, BOB, 0.5, 0.0)
    for _ in range(5):
        namer.names([1, 2], counting)
    assert counting.asked == 2


def test_the_head_counts_by_its_confidence():
    class Head:
        version = 1

        def identify(self, embeddings):
            sure = {0: Match("Ada", 0.1, 0.95, "head"), 1: Match("Bob", 0.9, None, "gallery")}
            return [sure[int(np.argmax(vector))] for vector in embeddings]

    namer = Namer()
    namer.learn(1, ADA, 0.5, 0.0)
    namer.learn(1, BOB, 0.5, 0.0)
    match, _ = namer.names([1], Head())[1]
    assert (match.name, match.source) == ("Ada", "head")
    assert match.confidence == pytest.approx(0.95)


def test_little_is_kept_and_the_best_of_it():
    namer = Namer()
    for i in range(50):
        namer.learn(1, towards(ADA, 0.9) if i == 20 else NOBODY, 0.9 if i == 20 else 0.1, i / 10)
    kept = namer.embeddings(1)
    assert kept.shape == (KEEP, 3)
    assert (kept @ ADA).max() == pytest.approx(0.9, abs=1e-4)
    namer.keep([])
    assert namer.embeddings(1).shape == (0, 0)


# -- crossing people


def test_after_a_crossing_what_was_seen_before_counts_no_more():
    namer = Namer()
    for i in range(5):
        namer.learn(1, towards(ADA, 0.95), 0.9, i / 4)
    assert name(namer) == "Ada"
    assert namer.choose([seen(crossing=True)], 2.0) == [], "both faces would be on the crop"
    assert name(namer) == "Ada"
    assert namer.choose([seen()], 2.3) == [0], "and then it is looked at again, soon"
    namer.learn(1, towards(BOB, 0.8), 0.4, 2.3)
    assert name(namer) == "Bob"


# -- what is looked at


def test_a_new_face_is_looked_at_and_then_left_in_peace():
    namer = Namer(NamingOptions(soonest=0.25))
    assert namer.choose([seen()], 0.0) == [0]
    namer.learn(1, ADA, 0.5, 0.0)
    assert namer.choose([seen()], 0.1) == []


def test_a_better_view_is_looked_at_sooner():
    namer = Namer(NamingOptions(soonest=0.2, refresh=100, better=1.3))
    for i in range(4):
        namer.learn(1, ADA, 0.5, i / 4)
    namer.names([1], BOTH)
    assert namer.choose([seen(quality=0.6)], 2.0) == []
    assert namer.choose([seen(quality=0.7)], 2.0) == [0]
    assert namer.choose([seen(quality=0.7)], 0.9) == [], "but not at once"


def looks(vectors: list[np.ndarray], seconds: float) -> list[float]:
    """When a face that looks the same all the time is looked at, at 30 frames a second."""
    namer, times = Namer(), []
    for i in range(round(seconds * 30)):
        namer.names([1], BOTH)
        if namer.choose([seen()], i / 30):
            namer.learn(1, vectors[len(times) % len(vectors)], 0.5, i / 30)
            times.append(i / 30)
    return times


def test_a_sure_name_is_looked_at_rarely():
    times = looks([ADA], 30)
    assert times[:3] == pytest.approx([0, 0.27, 0.53], abs=0.05)
    assert np.diff(times[3:]) == pytest.approx(3.0, abs=0.05)


def test_an_unsure_name_is_looked_at_often_and_then_less_and_less():
    times = looks([towards(ADA, 0.7), towards(BOB, 0.7)], 30)
    pauses = np.diff(times)
    assert pauses[0] == pytest.approx(0.27, abs=0.05)
    assert (np.diff(pauses) > -0.05).all()
    assert pauses[-1] == pytest.approx(4.0, abs=0.05)


def test_watched_tracks_are_looked_at_always_but_not_while_crossing():
    namer = Namer()
    for i in range(5):
        namer.learn(1, ADA, 0.5, i / 30)
    assert namer.choose([seen()], 0.2, watched={1}) == [0]
    assert namer.choose([seen(crossing=True)], 0.2, watched={1}) == []


def test_a_crowd_is_looked_at_in_parts_new_faces_first():
    namer = Namer(NamingOptions(batch=4))
    for track in range(10):
        namer.learn(track, ADA, 0.5, 0.0)
    sightings = [seen(track) for track in range(12)] + [seen(None)]
    chosen = namer.choose(sightings, 9.0)
    assert len(chosen) == 4
    assert set(chosen[:2]) == {10, 11}


# -- how good a face is to see


def test_blur_and_distance_make_a_face_worse():
    photo, box = portraits()["eileen_collins"], PORTRAIT_FACES["eileen_collins"]
    values = [sharpness(photo, box)]
    for radius in (1, 2, 4):
        blurred = Image.fromarray(photo).filter(ImageFilter.GaussianBlur(radius))
        values.append(sharpness(np.asarray(blurred), box))
    assert values == sorted(values, reverse=True)
    assert values[0] > 5 * values[2]
    far = np.asarray(Image.fromarray(photo).resize((128, 128)))
    small = tuple(v / 4 for v in box)
    assert sharpness(far, small) < values[0] / 2
    qualities = [face_quality(box, 0.9, value) for value in values]
    assert qualities == sorted(qualities, reverse=True)
    assert face_quality(small, 0.9, sharpness(far, small)) < qualities[0]
    assert all(0 <= quality <= 1 for quality in qualities)


@pytest.mark.parametrize("box", [(-10, -10, 1, 1), (5, 5, 5, 5), (90, 90, 200, 91)])
def test_a_box_without_pixels_is_not_sharp(box):
    assert sharpness(np.zeros((100, 100, 3), np.uint8), box) == 0


# -- another face on a track


def learned(namer: Namer, *vectors: np.ndarray, quality: float = 0.5, start: float = 0.0) -> list:
    found = []
    for i, vector in enumerate(vectors):
        found.append(namer.learn(1, vector, quality, start + i / 10, BOTH).other)
        namer.names([1], BOTH)
    return found


@pytest.mark.parametrize("other", [BOB, NOBODY], ids=["known", "stranger"])
def test_a_track_in_doubt_has_no_name_until_it_was_looked_at(other):
    namer = Namer()
    learned(namer, *[towards(ADA, 0.95)] * 8)
    namer.doubt(1, 0.8)
    assert namer.names([1], BOTH)[1] == (Match(None), None)
    assert namer.choose([seen(crossing=True)], 0.81) == [0], "at once, also while crossing"
    assert learned(namer, other, start=0.81) == [True]
    assert name(namer) == ("Bob" if other is BOB else None)
    assert len(namer.embeddings(1)) == 1, "what was seen before counts no more"


def test_a_look_at_an_earlier_picture_does_not_end_a_doubt():
    """On a slow machine such looks come in after the doubt."""
    namer = Namer()
    learned(namer, *[towards(ADA, 0.95)] * 3)
    namer.doubt(1, 0.8)
    assert namer.choose([seen()], 0.7) == [], "it would not tell"
    assert learned(namer, towards(ADA, 0.9), start=0.7) == [False]
    assert namer.names([1], BOTH)[1] == (Match(None), None)
    assert learned(namer, BOB, start=0.9) == [True]
    assert name(namer) == "Bob"


def test_a_track_in_doubt_that_shows_the_same_face_goes_on():
    namer = Namer()
    learned(namer, *[towards(ADA, 0.95)] * 5)
    namer.doubt(1, 0.5)
    assert learned(namer, towards(ADA, 0.9), start=0.6) == [False]
    assert name(namer) == "Ada"
    assert len(namer.embeddings(1)) == 6


def test_a_face_that_looks_different_at_once_is_looked_at():
    one, two = np.random.default_rng(0).integers(0, 255, (2, 24, 24), np.uint8)
    namer = Namer()
    for i in range(5):
        assert (namer.choose([seen()], i / 30, views=[one]) == [0]) == (i == 0)
        if i == 0:
            learned(namer, ADA)
    assert namer.choose([seen()], 0.2, views=[two]) == [0]
    assert name(namer) == "Ada", "it may be a hand: the name stays for this moment"
    assert learned(namer, BOB, start=0.2) == [True]
    assert name(namer) == "Bob"


def test_a_cross_fade_to_somebody_alike_is_looked_at():
    """Bob, as alike to Ada as one pair of portraits in twenty: no step of the fade is large."""
    one, other = np.random.default_rng(0).normal(0, 40, (2, 24, 24))

    def view(share: float) -> np.ndarray:
        mixed = 127 + (1 - 0.25 * share) * one + 0.66 * share * other
        return mixed.clip(0, 255).astype(np.uint8)

    namer = Namer()
    assert namer.choose([seen()], 0.0, views=[view(0)]) == [0]
    learned(namer, *[towards(ADA, 0.95)] * 3)
    fade = [namer.choose([seen()], 0.3 + i / 25, views=[view(min(i / 12, 1))]) for i in range(20)]
    assert fade[0] == []
    assert [0] in fade


def test_without_any_sign_two_good_looks_show_another_face_and_a_bad_one_none():
    namer = Namer()
    learned(namer, *[towards(ADA, 0.95)] * 8)
    assert learned(namer, BOB, quality=0.1, start=1.0) == [False]
    assert learned(namer, towards(ADA, 0.9), start=1.1) == [False]
    assert learned(namer, BOB, BOB, start=1.2) == [False, True]
    assert name(namer) == "Bob"
    assert namer.embeddings(1) == pytest.approx(np.stack([BOB, BOB]))


def test_a_contradiction_is_never_sure_and_looked_at_soon():
    namer = Namer(NamingOptions(soonest=0.25, refresh=100))
    learned(namer, *[ADA] * 5)
    assert namer._memories[1].sure
    learned(namer, BOB, quality=0.3, start=1.0)
    assert not namer._memories[1].sure
    assert namer.choose([seen()], 1.6) == [0]


def test_a_file_looks_at_all_who_are_new_at_once():
    namer = Namer(NamingOptions(batch=4))
    sightings = [seen(track) for track in range(10)]
    assert len(namer.choose(sightings, 0.0)) == 4
    assert len(namer.choose(sightings, 0.0, whole=True)) == 10


def test_a_number_can_change():
    namer = Namer()
    learned(namer, ADA)
    namer.move(1, 7)
    assert name(namer, track=7) == "Ada"
    assert name(namer, track=1) is None
