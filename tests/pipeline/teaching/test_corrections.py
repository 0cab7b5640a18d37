"""A wrong name is put right, and the crops go where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.rule import Thresholds
from tests.pipeline.live_fakes import know
from tests.pipeline.teaching.world import ADA, BOB, BOTH

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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert world.face_at(BOB[0] + 10, BOB[1] + 10).match.name == "Ada"
    world.live.correct(world.track(BOB), "Bob")
    assert world.stored() == {"Ada": 1, "Bob": 1}
    assert world.names(world.step(frames=2)) == {"Ada", "Bob"}


def test_a_face_without_a_name_cannot_be_corrected(world):
    world.step(frames=3)
    with pytest.raises(UserError, match="no name yet"):
        world.live.correct(world.track(ADA), "Ada")
