"""What a camera sees and nobody can name is kept for some days, and only where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from detector.types import Detections
from faces.errors import UserError
from pipeline.live.loop import Loop
from pipeline.review.groups import denying, naming, review
from pipeline.review.memory import BEST, Memory
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.types import Picture, Tick
from recognizer import sample_rule
from recognizer.blank import Blank
from recognizer.quality import Gates
from recognizer.rule import Thresholds
from recognizer.store import unknown
from recognizer.store.address import Place
from recognizer.store.people import Store
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, know, scene

WEEK = timedelta(days=7)
ADA, BOB = (20, 30), (200, 100)
GATES = Gates(max_similarity=0.995)  # the made world is dull


class World:
    """A loop over made pictures that remembers what it cannot name."""

    def __init__(self, path: Place, kept: timedelta | None = WEEK, *known: str) -> None:
        self.detector = FakeDetector()
        self.embedder = CountingEmbedder()
        self.store = Store.open(path, self.embedder.fingerprint, 64, Thresholds(0.7, 0.8))
        for name in known:
            self.store.add(name, know(self.embedder, name).gallery.embeddings)
        self.kept = kept
        self.count = 0
        self.rng = np.random.default_rng(0)

    def watch(self, *frames: dict[str, tuple[int, int]]) -> Tick:
        """One run of the camera, to its end."""
        loop = Loop(self.detector, self.embedder, self.store.snapshot())
        with Memory(self.store, self.kept, "door", GATES) as memory:
            for places in frames:
                image = scene(places)
                light = np.kron(self.rng.integers(-25, 26, (60, 80, 3)), np.ones((4, 4, 1), int))
                bright = np.clip(image.astype(int) + light, 101, 255)
                image = np.where(image > 100, bright, image).astype(np.uint8)
                tick = loop.step(Picture(self.count, self.count / 8, image, 0.0))
                self.count += 1
                memory.show(tick)
        return tick

    @property
    def faces(self) -> list[unknown.UnknownFace]:
        return unknown.unknown_faces(self.store)


@pytest.fixture
def world(new_place) -> Iterator[World]:
    made = World(new_place("people.db"), WEEK, "Ada")
    yield made
    made.store.close()


def test_only_the_unknown_are_kept_and_few_looks_of_each(world):
    world.watch(*[{"Ada": ADA, "Bob": BOB}] * 40)
    assert 1 <= len(world.faces) <= BEST
    bob = know(world.embedder, "Bob").gallery.embeddings[0]
    for face in world.faces:
        assert float(face.embedding @ bob) > 0.8
        assert face.source == "door"
        assert face.picture.image.shape[2] == 3
    assert len({face.look for face in world.faces}) == 1
    assert world.store.people()[0].seen is not None  # of Ada it is noted when she was here
    assert world.store.version() == 1, "nobody who watches the file has to load it again"


def test_the_points_of_a_face_are_kept_with_it(world):
    five = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.8], [0.65, 0.8]])

    class FindsPoints(FakeDetector):
        def detect(self, image: np.ndarray) -> Detections:
            found = super().detect(image)
            sides = found.xyxy[:, None, 2:] - found.xyxy[:, None, :2]
            points = (found.xyxy[:, None, :2] + five * sides).astype(np.float32)
            return Detections(found.xyxy, found.score, found.image_size, points)

    world.detector = FindsPoints()
    world.watch(*[{"Bob": BOB}] * 40)
    assert world.faces
    for face in world.faces:
        x1, y1, x2, y2 = face.picture.box
        assert face.picture.landmarks is not None
        inside = (face.picture.landmarks - (x1, y1)) / (x2 - x1, y2 - y1)
        np.testing.assert_allclose(inside, five, atol=0.02)


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path):
    world = World(tmp_path / "people.db", None, "Ada")
    world.watch(*[{"Ada": ADA, "Bob": BOB}] * 20)
    assert world.faces == []
    world.store.close()


@pytest.mark.slow
def test_faces_are_grouped_over_several_passes_and_named_together(world):
    for _ in range(3):
        world.watch(*[{"Bob": BOB, "Cleo": ADA}] * 12, *[{}] * 30)
    groups = review(world.store)
    assert len(groups) == 2
    assert sum(len(group.faces) for group in groups) == len(world.faces)
    best = [face.quality for face in groups[0].faces]
    assert best == sorted(best, reverse=True)
    ids = [face.id for face in groups[0].faces]
    world.store.apply(naming(world.store, ids, "Robert", GATES))
    [person] = [one for one in world.store.people() if one.name == "Robert"]
    assert 1 <= person.samples <= len(ids)
    assert len(review(world.store)) == 1
    assert world.store.undo().what.endswith("named Robert")
    assert len(review(world.store)) == 2


def test_a_group_of_which_nothing_is_seen_names_nobody_in_silence(world, monkeypatch):
    world.watch(*[{"Cleo": BOB}] * 12)
    ids = [face.id for face in world.faces]
    monkeypatch.setattr(
        sample_rule, "find_blank", lambda *args: Blank(np.zeros(world.store.dimension), -1.0)
    )
    with pytest.raises(UserError, match="none of these faces can be learned from: blank"):
        naming(world.store, ids, "Robert", GATES)
    assert "Robert" not in world.store.snapshot().gallery.people


def test_a_group_that_looks_like_somebody_else_is_asked_about(world):
    world.store.rename("Ada", "Bob")  # the file knows this face as Bob
    world.watch(*[{"Cleo": BOB}] * 12)
    ids = [face.id for face in world.faces]
    with pytest.raises(AlreadyKnown, match="who looks different") as caught:
        naming(world.store, ids, "Bob", GATES)
    assert caught.value.name == "Bob"
    world.store.apply(naming(world.store, ids, "Bob", GATES, sure=True))
    assert {one.name for one in world.store.people()} == {"Bob"}


def test_what_is_ignored_does_not_come_back(world):
    world.watch(*[{"Bob": BOB}] * 12)
    unknown.judge(world.store, [face.id for face in world.faces], "ignored", "ignored")
    assert world.faces == []
    world.watch(*[{"Bob": BOB, "Cleo": ADA}] * 12)
    assert len(review(world.store)) == 1
    cleo = know(world.embedder, "Cleo").gallery.embeddings[0]
    assert float(world.faces[0].embedding @ cleo) > 0.8


def test_what_another_program_says_is_to_be_ignored_holds_at_once_and_so_does_its_undo(world):
    world.watch(*[{"Bob": BOB}] * 12)
    faces = world.faces
    with (
        Memory(world.store, WEEK, "garden", GATES) as memory,
        Store.open_existing(world.store.path) as other,
    ):
        assert not memory._is_judged(faces[0].embedding)
        unknown.judge(other, [face.id for face in faces], "ignored", "ignored")
        assert memory._is_judged(faces[0].embedding)
        other.undo()
        assert not memory._is_judged(faces[0].embedding)


def test_what_cannot_be_noted_is_said_once(world, monkeypatch, caplog):
    memory = Memory(world.store, WEEK, "door", GATES)
    memory.close()
    monkeypatch.setattr(world.store, "note_seen", refuse)
    for _ in range(3):
        memory._known = {"Ada": "2026-11-30"}
        memory._write()
    assert caplog.text.count("could not be noted: the disk is full") == 1
    monkeypatch.undo()
    memory._write()
    monkeypatch.setattr(world.store, "note_seen", refuse)
    memory._known = {"Ada": "2026-11-30"}
    memory._write()
    assert caplog.text.count("could not be noted: the disk is full") == 2


def refuse(seen):
    raise UserError("the disk is full")


def test_a_denied_guess_is_no_guess_any_more(world):
    world.watch(*[{"Bob": BOB}] * 12)
    faces = world.faces
    with world.store.noting() as db:
        db.execute("UPDATE unknown SET guess = (SELECT id FROM person)")
    assert review(world.store)[0].guess == "Ada"
    world.store.apply(denying(world.store, [face.id for face in faces], "Ada"))
    assert review(world.store)[0].guess is None
    assert len(world.store.snapshot().denied) == len(faces)
