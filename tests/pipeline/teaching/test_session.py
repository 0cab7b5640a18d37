"""Teaching, correcting and forgetting while a loop runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.teaching.corrections import AlreadyKnown
from recognizer.gallery import Gallery, Head
from recognizer.store.people import Store
from tests.pipeline.live_fakes import know
from tests.pipeline.teaching.world import ADA, BOB, Gate, World, fit_here, until

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


def test_esc_when_nothing_can_be_undone_any_more(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    world.store.forget_acts()  # `faces people undo --clear`
    world.live.cancel()
    assert world.live.teaching.phase == "cancelled"
    assert world.stored() == {}


def test_a_teaching_follows_whom_another_program_renames_and_ends_with_whom_it_forgets(world):
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    with Store.open_existing(world.store.path) as other:
        other.rename("Ada", "Augusta")
        world.live.swap(world.store.snapshot())  # as `GalleryWatch` does
        assert world.live.teaching.name == "Augusta"
        world.step(frames=2)
        other.remove("Augusta")
        world.live.swap(world.store.snapshot())
    assert world.live.teaching.phase == "cancelled"
    assert world.names(world.step()) == {None}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("gathered", [4, 8])
def test_a_normal_end_keeps_what_was_gathered(tmp_path, gathered, caplog):
    """While it gathers, and while the head learns."""
    caplog.set_level("INFO")
    world = World(tmp_path / "people.db", Gate())
    world.step(frames=3)
    world.live.teach(world.track(ADA), "Ada")
    while world.live.teaching.gathered < gathered:
        world.step()
    world.live.close()
    assert world.stored() == {"Ada": gathered}
    assert world.store.snapshot().head is None
    assert f"kept {gathered - 1} examples of Ada; the head learns them" in caplog.text
    world.store.undo()
    assert world.stored() == {}
    world.store.close()


def test_the_end_keeps_nothing_of_whom_another_program_forgot_and_nothing_that_does_harm(
    tmp_path, monkeypatch, caplog
):
    for problem, left in ((None, {}), ("Ada is named less often", {"Ada": 1})):
        world = World(tmp_path / f"{len(left)}.db", Gate())
        world.step(frames=3)
        world.live.teach(world.track(ADA), "Ada")
        world.step(frames=6)
        if problem:
            monkeypatch.setattr(
                "pipeline.teaching.background_fit.problems", lambda *_, p=problem: [p]
            )
        else:
            with Store.open_existing(world.store.path) as other:
                other.remove("Ada")
        world.live.close()
        assert world.stored() == left
        world.store.close()
    assert "what was taught last is not kept: Ada is named less often" in caplog.text


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
    monkeypatch.setattr("recognizer.rule.HEAD_SHARE", -9.0)

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


@pytest.mark.slow
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
    with pytest.raises(UserError, match=r"nobody can be called '[uU]nknown'"):
        world.live.teach(world.track(ADA), "Unknown")
    assert world.stored() == {}


def test_a_face_at_the_edge_cannot_be_learned_from(world):
    world.step({"Ada": (0, 30)}, 3)
    with pytest.raises(UserError, match="cannot be learned from: edge"):
        world.live.teach(world.track((0, 30)), "Ada")
    assert world.stored() == {}
