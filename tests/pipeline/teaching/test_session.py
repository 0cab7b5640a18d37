"""Teaching, correcting and forgetting while a loop runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.live.cameras import Cameras, Watched
from pipeline.live.loop import Loop, LoopOptions
from pipeline.sinks.name_prompt import Prompt
from pipeline.teaching.corrections import AlreadyKnown
from pipeline.teaching.gathering import TeachOptions
from pipeline.teaching.session import LiveTeaching
from pipeline.types import Picture, Tick
from recognizer.gallery import Gallery
from recognizer.head import Head
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store
from recognizer.training.fit import fit_head
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, know, scene

ADA, BOB = (20, 30), (120, 60)
BOTH = {"Ada": ADA, "Bob": BOB}


def fit_here(gallery: Gallery, start: Head | None, stop: Callable[[], bool], *_: object) -> Head:
    """With strangers of this made world."""
    names = [f"stranger {i}" for i in range(60)]
    strangers = know(CountingEmbedder(), *names).gallery.embeddings
    return fit_head(gallery, strangers, start=start, stop=stop)


class World:
    """A loop over made pictures, and a store in a folder."""

    def __init__(
        self, path: Path, fit: Callable[..., Head] = fit_here, bar: float = 0.85
    ) -> None:  # fmt: skip
        self.embedder = CountingEmbedder()
        self.store = Store.open(path, self.embedder.fingerprint, 64, Thresholds(0.7, bar))
        nobody = Snapshot(Gallery.empty(self.embedder.fingerprint, 64))
        self.loop = Loop(FakeDetector(), self.embedder, nobody)
        self.live = LiveTeaching(
            self.loop, self.store, self.embedder, TeachOptions(wanted=8, repeats=50), fit
        )
        self.rng = np.random.default_rng(0)
        self.count = 0

    def step(self, places: dict[str, tuple[int, int]] = BOTH, frames: int = 1) -> Tick:
        """Some frames, each a little different."""
        for _ in range(frames):
            image = scene(places)
            light = np.kron(self.rng.integers(-25, 26, (60, 80, 3)), np.ones((4, 4, 1), int))
            bright = np.clip(image.astype(int) + light, 101, 255)
            image = np.where(image > 100, bright, image).astype(np.uint8)
            # Ten a second: the face is looked at again on every frame of a teaching.
            tick = self.loop.step(Picture(self.count, self.count / 8, image, 0.0))
            self.count += 1
            self.live.show(tick)
        return tick

    def track(self, place: tuple[int, int]) -> int:
        face = self.live.face_at(place[0] + 10, place[1] + 10)
        assert face is not None
        assert face.track is not None
        return face.track

    def names(self, tick: Tick) -> set[str | None]:
        return {face.match.name for face in tick.faces.faces}

    def teach(self, place: tuple[int, int], name: str) -> None:
        """All of it, until the new head is in use."""
        self.live.teach(self.track(place), name)
        self.gather()
        self.wait("swapped")

    def gather(self) -> None:
        for _ in range(100):
            self.step()
            if self.live.teaching.phase != "gathering":
                return
        raise AssertionError(self.live.teaching)

    def wait(self, phase: str) -> None:
        end = time.monotonic() + 60
        while self.live.teaching.phase != phase or self.live.head().phase == "training":
            assert time.monotonic() < end, (self.live.teaching, self.live.head())
            time.sleep(0.01)

    def stored(self) -> dict[str, int]:
        return {person.name: person.samples for person in self.store.people()}

    def close(self) -> None:
        self.live.close()
        self.store.close()


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path / "people.db")
    yield made
    made.close()


class Gate:
    """A fit that waits until it may go on, and counts."""

    def __init__(self) -> None:
        self.open, self.begun = threading.Event(), 0
        self.people: list[tuple[str, ...]] = []

    def __call__(
        self, gallery: Gallery, start: Head | None, stop: Callable[[], bool], *_: object
    ) -> Head:
        self.begun += 1
        self.people.append(gallery.people)
        while not self.open.wait(0.01):
            if stop():
                return fit_here(gallery, start, stop)  # raises Stopped
        return fit_here(gallery, start, stop)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- teaching


def test_the_very_next_frame_knows_the_name_and_disk_too(world):
    world.step(frames=3)
    teaching = world.live.teach(world.track(ADA), "Ada")
    assert (teaching.gathered, teaching.wanted, teaching.phase) == (1, 8, "gathering")
    assert world.names(world.step()) == {"Ada", None}
    assert world.stored() == {"Ada": 1}


def test_from_a_click_to_a_new_head(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    assert world.loop.recognizer.head is None
    world.step()
    assert any("of 8" in note.text and note.progress for note in world.loop.notes)
    world.gather()
    world.wait("swapped")
    assert world.stored() == {"Ada": 8}
    assert world.loop.recognizer.head.names == ("Ada", None)
    assert world.loop.recognizer.version == world.store.version()
    assert world.live.head().phase == "swapped"
    assert world.live.thumbnail("Ada").startswith(b"\x89PNG")
    assert world.names(world.step()) == {"Ada", None}
    truth = know(world.embedder, "Ada").gallery.embeddings[0]
    assert min(s.embedding @ truth for s in world.store.samples("Ada")) > 0.85


def test_esc_leaves_no_trace(world):
    world.step(frames=3)
    before = Path(world.store.path).read_bytes().count(b"Ada Lovelace")
    world.live.teach(world.track(ADA), "Ada Lovelace")
    world.step(frames=3)
    world.live.cancel()
    assert world.stored() == {}
    assert world.live.teaching.phase == "cancelled"
    assert world.names(world.step(frames=2)) == {None}
    for path in world.store.path.parent.glob("people.db*"):
        assert path.read_bytes().count(b"Ada Lovelace") == before == 0
    world.live.cancel()  # nothing to do any more


def test_esc_while_it_learns_leaves_what_was_known(tmp_path):
    gate = Gate()
    world = World(tmp_path / "people.db", gate)
    gate.open.set()
    world.step(frames=3)
    world.teach(ADA, "Ada")
    gate.open.clear()
    world.live.teach(world.track(BOB), "Bob")
    world.gather()
    until(lambda: gate.people[-1] == ("Ada", "Bob"))
    world.live.cancel()
    gate.open.set()
    until(lambda: world.live.head().phase == "swapped")
    assert world.stored() == {"Ada": 8}
    assert world.names(world.step()) == {"Ada", None}
    world.close()


def test_somebody_known_is_pointed_out_before_there_is_a_duplicate(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    world.step(frames=2)
    with pytest.raises(AlreadyKnown, match=r"this looks like Ada \(") as caught:
        world.live.teach(world.track(ADA), "Augusta")
    assert caught.value.name == "Ada"
    assert caught.value.similarity > 0.85
    with pytest.raises(AlreadyKnown, match="somebody called Ada already, who looks different"):
        world.live.teach(world.track(BOB), "Ada")
    assert world.stored() == {"Ada": 1}
    world.live.teach(world.track(ADA), "Augusta", sure=True)
    assert "Augusta" in world.stored()


def test_a_new_teaching_while_it_learns_loses_nothing(tmp_path):
    gate = Gate()
    world = World(tmp_path / "people.db", gate)
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    world.gather()
    until(lambda: gate.begun == 1)
    world.live.teach(world.track(BOB), "Bob")
    world.gather()
    until(lambda: gate.people[-1] == ("Ada", "Bob"))
    gate.open.set()
    world.wait("swapped")
    assert world.stored() == {"Ada": 8, "Bob": 8}
    assert world.loop.recognizer.head.names == ("Ada", "Bob", None)
    world.close()


def test_a_failed_fit_keeps_the_old_state_and_is_tried_again_with_the_next(tmp_path):
    broken = [True]

    def fit(gallery: Gallery, start: Head | None, stop: Callable[[], bool], *_: object) -> Head:
        if broken[0]:
            raise RuntimeError("no memory")
        return fit_here(gallery, start, stop)

    world = World(tmp_path / "people.db", fit)
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    before = world.loop.recognizer
    world.gather()
    world.wait("failed")
    assert world.loop.recognizer is before
    assert (world.live.head().phase, world.live.head().message) == ("failed", "no memory")
    assert world.live.teaching.message == "no memory"
    assert world.stored() == {"Ada": 1}
    broken[0] = False
    world.teach(BOB, "Bob")
    assert world.stored() == {"Ada": 8, "Bob": 8}
    world.close()


def test_a_head_that_makes_somebody_worse_is_not_used(tmp_path, monkeypatch):
    # Else the rule asks the gallery, too, and such a head does no harm.
    monkeypatch.setattr("recognizer.rule.OWN", -9.0)

    def stupid(gallery: Gallery, start: Head | None, stop: Callable[[], bool], *_: object) -> Head:
        weight = np.zeros((len(gallery.people), 64), np.float32)
        bias = np.zeros(len(weight), np.float32)
        bias[-1] = 50  # everybody is the last one
        return Head(gallery.fingerprint, gallery.people, weight, bias)

    world = World(tmp_path / "people.db", stupid)
    world.store.add("Ada", know(world.embedder, "Ada").gallery.embeddings)
    world.live.swap(world.store.snapshot())
    world.step(frames=3)
    world.live.teach(world.track(BOB), "Bob")
    world.gather()
    world.wait("failed")
    assert "Ada: 0 of 1 photos recognized, 1 before" in world.live.head().message
    assert world.stored() == {"Ada": 1, "Bob": 1}
    assert world.loop.recognizer.head is None
    assert world.names(world.step()) == {"Ada", "Bob"}
    world.close()


# -- wrong names, and people who go


def test_a_wrong_name_is_corrected_and_the_crops_move(world):
    world.step(frames=3)
    world.teach(ADA, "Bob")
    world.step()
    world.live.correct(world.track(ADA), "Ada")
    assert world.names(world.step()) == {"Ada", None}
    assert world.stored() == {"Ada": 8}
    world.wait("swapped")
    assert world.loop.recognizer.head.names == ("Ada", None)


def test_a_wrong_name_is_corrected_while_it_gathers(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Bob")
    world.step(frames=3)
    world.live.correct(world.track(ADA), "Ada")
    assert world.live.teaching.name == "Ada"
    world.gather()
    world.wait("swapped")
    assert world.stored() == {"Ada": 8}


def test_a_wrong_name_is_corrected_although_the_face_has_left_since_the_click(world):
    world.step(frames=3)
    world.teach(ADA, "Bob")
    world.step()
    track = world.track(ADA)
    chosen = world.live.choose(track)
    world.step({"Bob": BOB}, 60)  # while the name is typed
    with pytest.raises(UserError):
        world.live.correct(track, "Ada")
    world.live.correct(track, "Ada", chosen=chosen)
    assert world.stored() == {"Ada": 8}
    assert world.names(world.step(BOTH, 3)) == {"Ada", None}


def test_a_wrong_name_is_corrected_on_a_track_that_was_never_taught(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Bob")
    world.step(frames=5)
    world.step({"Bob": BOB}, 60)  # she leaves, and is somebody new to the tracker
    gathered = world.live.teaching.gathered
    assert gathered > 1
    tick = world.step()
    assert world.live.teaching.track is None, "it is not certain yet whom to follow"
    assert world.names(tick) == {"Bob", None}
    world.live.correct(world.track(ADA), "Ada")
    world.wait("swapped")
    assert world.live.teaching.name == "Ada"
    assert world.stored() == {"Ada": gathered}


def test_a_person_with_one_crop_only_is_renamed_by_a_correction(world):
    world.store.add("Grace", know(world.embedder, "Ada").gallery.embeddings, source="photo")
    world.live.swap(world.store.snapshot())
    world.step(frames=3)
    world.live.correct(world.track(ADA), "Ada")
    assert world.stored() == {"Ada": 1}


def test_single_crops_of_another_person_move_and_hers_stay(world):
    both = know(world.embedder, "Ada", "Bob").gallery
    ada, bob = both.embeddings[:1], both.embeddings[1:]
    world.store.add("Ada", np.concatenate([bob, ada]), source="photo")
    world.store.save_thresholds(Thresholds(0.7, 0.7))
    world.live.swap(world.store.snapshot())
    world.step(frames=3)
    assert world.live.face_at(BOB[0] + 10, BOB[1] + 10).match.name == "Ada"
    world.live.correct(world.track(BOB), "Bob")
    assert world.stored() == {"Ada": 1, "Bob": 1}
    assert world.names(world.step(frames=2)) == {"Ada", "Bob"}


def test_a_face_without_a_name_cannot_be_corrected(world):
    world.step(frames=3)
    with pytest.raises(UserError, match="no name yet"):
        world.live.correct(world.track(ADA), "Ada")


def test_somebody_forgotten_is_gone_at_once(world):
    world.step(frames=3)
    world.teach(ADA, "Ada Lovelace")
    world.live.forget("Ada Lovelace")
    assert world.loop.recognizer.gallery.people == ()
    assert world.loop.recognizer.head is None
    assert world.names(world.step(frames=2)) == {None}
    for path in world.store.path.parent.glob("people.db*"):
        assert b"Ada Lovelace" not in path.read_bytes()
    with pytest.raises(UserError, match="nobody called"):
        world.live.forget("Ada Lovelace")


@pytest.mark.parametrize("moment", ["gathering", "training"])
def test_somebody_forgotten_in_the_middle_does_not_come_back(tmp_path, moment):
    gate = Gate()
    world = World(tmp_path / "people.db", gate)
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    if moment == "training":
        world.gather()
        until(lambda: gate.begun == 1)
    world.live.forget("Ada")
    gate.open.set()
    world.step(frames=10)
    until(lambda: world.live.head().phase != "training")
    assert world.stored() == {}
    assert world.live.teaching is None
    world.close()


def test_renaming_and_merging_reach_what_is_being_gathered(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Adda")
    world.live.rename("Adda", "Ada")
    assert world.names(world.step()) == {"Ada", None}
    world.gather()
    world.wait("swapped")
    assert world.stored() == {"Ada": 8}
    world.teach(BOB, "Bob")
    world.live.merge("Bob", "Ada")
    assert world.stored() == {"Ada": 16}


# -- refusals


def test_what_cannot_be_taught_is_said(world):
    world.step(frames=3)
    with pytest.raises(UserError, match="not in the picture any more"):
        world.live.teach(99, "Ada")
    with pytest.raises(UserError, match="nobody can be called 'unknown'"):
        world.live.teach(world.track(ADA), "Unknown")
    assert world.stored() == {}


def test_a_face_at_the_edge_cannot_be_learned_from(world):
    world.step({"Ada": (0, 30)}, 3)
    with pytest.raises(UserError, match="cannot be learned from: edge"):
        world.live.teach(world.track((0, 30)), "Ada")
    assert world.stored() == {}


# -- typing


def press(prompt: Prompt, text: str) -> None:
    for key in text:
        assert prompt.key(ord(key))


def test_click_type_enter(world):
    prompt = Prompt(world.live)
    tick = world.step(frames=3)
    assert not prompt.key(ord("q")), "nothing is being typed: the window ends"
    prompt.click(tick, world.live.face_at(30, 40))
    press(prompt, "Gerda\b\b\b\b\bqAda\b")
    assert prompt.typed == "qAd"
    world.step()
    assert "> qAd_" in [note.text for note in world.loop.notes]
    press(prompt, "\r")
    assert world.names(world.step()) == {"qAd", None}
    assert world.live.prompt == ()
    assert prompt.key(27), "Esc ends the teaching, not the window"
    assert world.stored() == {}
    assert not prompt.key(27)


def test_esc_ends_the_typing_without_a_trace(world):
    prompt = Prompt(world.live)
    prompt.click(world.step(frames=3), world.live.face_at(30, 40))
    press(prompt, "Ada\x1b")
    assert prompt.typed is None
    assert world.stored() == {}
    assert world.live.teaching is None


def test_the_face_that_was_clicked_is_taught_even_if_another_stands_there_now(world):
    prompt = Prompt(world.live)
    prompt.click(world.step(frames=3), world.live.face_at(30, 40))
    for x in range(20, 121, 20):
        world.step({"Bob": (x, 30)}, 2)
    press(prompt, "Ada\r")
    truth = know(world.embedder, "Ada").gallery.embeddings[0]
    [sample] = world.store.samples("Ada")
    assert sample.embedding @ truth > 0.85


def test_typing_points_out_duplicates_and_corrects(world):
    prompt = Prompt(world.live)
    world.step(frames=3)
    world.live.teach(world.track(BOB), "Bob")
    tick = world.step(frames=2)
    prompt.click(tick, world.live.face_at(30, 40))
    press(prompt, "Bob\r")
    assert "Enter again" in world.live.prompt[-1].text
    assert world.stored() == {"Bob": 1}
    press(prompt, "\x1b")
    prompt.click(tick, world.live.face_at(BOB[0] + 10, BOB[1] + 10))
    press(prompt, "Robert\r")
    assert list(world.stored()) == ["Robert"]


# -- "this is not Ada", and undo


def called(world: World, places: dict[str, tuple[int, int]] = BOTH) -> dict[str, str | None]:
    """Who each face of the next frame is called."""
    tick = world.step(places)
    return {
        name: next(f.match.name for f in tick.faces.faces if f is world.live.face_at(x + 9, y + 9))
        for name, (x, y) in places.items()
    }


@pytest.fixture
def lax(tmp_path) -> Iterator[World]:
    """A world that takes Bob for Ada."""
    made = World(tmp_path / "people.db", bar=0.05)
    made.step(frames=3)
    made.live.teach(made.track(ADA), "Ada", sure=True)
    made.gather()
    made.wait("swapped")
    if made.store.snapshot().head is not None:
        made.store.save_head(None)  # nearness alone decides
        made.live.swap(made.store.snapshot())
    assert called(made) == {"Ada": "Ada", "Bob": "Ada"}
    yield made
    made.close()


def test_a_wrong_name_is_gone_with_the_next_frame_and_after_a_restart(lax, tmp_path):
    samples = lax.stored()["Ada"]
    lax.live.deny(lax.track(BOB))
    assert called(lax) == {"Ada": "Ada", "Bob": None}
    assert lax.stored() == {"Ada": samples}, "nothing was taken from her"
    for step in range(30):  # he walks and the light changes
        places = {"Ada": ADA, "Bob": (BOB[0] + step, BOB[1] + step)}
        assert called(lax, places)["Bob"] is None
    lax.close()
    again = World(tmp_path / "people.db", bar=0.05)
    again.live.swap(again.store.snapshot())
    again.step(frames=3)
    for _ in range(20):
        assert called(again) == {"Ada": "Ada", "Bob": None}
    again.close()


def test_a_name_that_was_denied_can_be_undone_and_overruled(lax):
    lax.live.deny(lax.track(BOB))
    assert called(lax)["Bob"] is None
    [act, *_] = lax.store.acts()
    assert act.what == "this is not Ada"
    lax.live.undo(act.id)
    assert called(lax)["Bob"] == "Ada"
    lax.live.deny(lax.track(BOB))
    lax.step()
    lax.live.teach(lax.track(BOB), "Ada", sure=True)  # it was her all the time
    assert called(lax) == {"Ada": "Ada", "Bob": "Ada"}
    assert len(lax.store.snapshot().denied) == 0


def test_not_ada_while_she_is_taught_from_this_face_leaves_nothing_of_it(world):
    world.step(frames=3)
    world.live.teach(world.track(BOB), "Ada")
    world.step(frames=2)
    world.live.deny(world.track(BOB))
    assert world.stored() == {}
    assert called(world) == {"Ada": None, "Bob": None}


def test_samples_of_the_wrong_face_go_with_it_and_come_back_with_undo(world):
    world.step(frames=3)
    world.teach(ADA, "Ada")
    world.live.teach(world.track(BOB), "Ada", sure=True)  # a mistake: he is learned as her
    world.gather()
    world.wait("swapped")
    before = world.stored()
    assert called(world) == {"Ada": "Ada", "Bob": "Ada"}
    world.live.deny(world.track(BOB))
    world.wait("swapped")
    assert called(world) == {"Ada": "Ada", "Bob": None}
    assert world.stored()["Ada"] < before["Ada"]
    world.live.undo()
    assert world.stored() == before


def test_a_face_without_a_name_is_nobody_to_deny(world):
    world.step(frames=3)
    with pytest.raises(UserError, match="no name"):
        world.live.deny(world.track(ADA))
    with pytest.raises(UserError, match="nothing to undo"):
        world.live.undo()


def test_undoing_a_teaching_ends_it_and_takes_all_of_it(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    world.step(frames=3)
    world.live.undo()
    assert world.live.teaching.phase == "cancelled"
    assert world.names(world.step()) == {None}
    world.teach(ADA, "Ada")  # to the end
    assert world.stored()["Ada"] == 8
    world.live.undo()
    assert world.stored() == {}
    assert world.names(world.step()) == {None}


def test_a_cancelled_teaching_cannot_be_undone_once_more(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    world.live.cancel()
    assert world.store.acts() == []
    assert world.stored() == {}


def test_a_head_learns_that_a_denied_face_is_a_stranger(tmp_path):
    taught: list[int] = []

    def fit(
        gallery: Gallery, start: Head | None, stop: Callable[[], bool], strangers: np.ndarray
    ) -> Head:
        taught.append(len(strangers))
        return fit_here(gallery, start, stop)

    world = World(tmp_path / "people.db", fit, bar=0.05)
    world.step(frames=3)
    world.teach(ADA, "Ada")
    world.live.deny(world.track(BOB))
    until(lambda: taught[-1] > 0)
    world.close()


def test_backspace_in_the_window_says_that_a_name_is_wrong_and_u_undoes_it(lax):
    prompt = Prompt(lax.live)

    def click(x: int, y: int) -> None:
        tick = lax.step()
        prompt.click(tick, lax.live.face_at(x + 9, y + 9))

    click(*BOB)
    assert any("Backspace: not Ada" in note.text for note in lax.live.prompt)
    assert prompt.key(8)
    assert called(lax) == {"Ada": "Ada", "Bob": None}
    assert prompt.typed is None
    assert prompt.key(ord("u"))
    assert any("undone: this is not Ada" in note.text for note in lax.live.prompt)
    assert called(lax)["Bob"] == "Ada"
    click(*BOB)
    for letter in "Bo":
        prompt.key(ord(letter))
    prompt.key(8)  # it takes a letter away as long as there is one
    assert prompt.typed == "B"


# -- several cameras


class TwoCameras:
    """Two loops with one teaching, fed in turns."""

    def __init__(self, path: Path) -> None:
        self.embedder = CountingEmbedder()
        self.store = Store.open(path, self.embedder.fingerprint, 64, Thresholds(0.7, 0.85))
        nobody, numbers = Snapshot(Gallery.empty(self.embedder.fingerprint, 64)), count(1)
        watched = [
            Watched(
                name, None,  # type: ignore[arg-type]  # fed by hand
                Loop(FakeDetector(), self.embedder, nobody, LoopOptions(camera=name),
                     numbers=numbers),
            )
            for name in ("door", "garden")
        ]  # fmt: skip
        self.cameras = Cameras(watched, threading.Event())
        self.live = LiveTeaching(
            self.cameras, self.store, self.embedder, TeachOptions(wanted=4, repeats=50), fit_here
        )
        self.frame, self.rng = 0, np.random.default_rng(0)

    def step(self, frames: int = 1) -> dict[str, Tick]:
        """Bob is at the door and in the garden Ada, at the same place."""
        ticks = {}
        for _ in range(frames):
            for camera, who in zip(self.cameras.cameras, ("Bob", "Ada"), strict=True):
                image = scene({who: ADA})
                light = np.kron(self.rng.integers(-25, 26, (60, 80, 3)), np.ones((4, 4, 1), int))
                bright = np.clip(image.astype(int) + light, 101, 255)
                image = np.where(image > 100, bright, image).astype(np.uint8)
                tick = camera.loop.step(Picture(self.frame, self.frame / 8, image, 0.0))
                ticks[camera.name] = tick
                self.live.show(tick)
            self.frame += 1
        return ticks


def test_a_face_of_any_camera_is_taught_and_known_on_all(tmp_path):
    world = TwoCameras(tmp_path / "people.db")
    with world.store, world.live:
        ticks = world.step(3)
        [bob], [ada] = (ticks[name].faces.faces for name in ("door", "garden"))
        assert (bob.track, ada.track) == (1, 2)
        chosen = world.live.choose(ada.track)
        assert chosen.camera == "garden"
        world.live.teach(ada.track, "Ada", chosen=chosen)
        ticks = world.step()
        assert [tick.faces.faces[0].name for tick in ticks.values()] == [None, "Ada"]
        for _ in range(8):
            world.step()
        teaching = world.live.teaching
        assert (teaching.gathered, teaching.phase) != (1, "gathering"), "the door does not disturb"
        assert len(world.store.samples("Ada")) >= 1
        notes = world.cameras.notes
        assert notes
        assert {note.track for note in notes} == {ada.track}
        with pytest.raises(UserError, match="not in the picture any more"):
            world.live.choose(99)


def test_forgetting_drops_the_face_on_every_camera(tmp_path):
    world = TwoCameras(tmp_path / "people.db")
    with world.store, world.live:
        ticks = world.step(3)
        world.live.teach(ticks["garden"].faces.faces[0].track, "Ada")
        world.step(2)
        world.live.forget("Ada")
        ticks = world.step(2)
        assert [tick.faces.faces[0].name for tick in ticks.values()] == [None, None]
