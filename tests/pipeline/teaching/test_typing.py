"""Clicking a face and typing its name in the window."""

from __future__ import annotations

from pipeline.sinks.name_prompt import Prompt
from tests.pipeline.live_fakes import know
from tests.pipeline.teaching.world import BOB

# -- typing


def press(prompt: Prompt, text: str) -> None:
    for key in text:
        assert prompt.key(ord(key))


def test_click_type_enter(world):
    prompt = Prompt(world.live)
    tick = world.step(frames=3)
    assert not prompt.key(ord("q")), "nothing is being typed: the window ends"
    prompt.click(tick, world.face_at(30, 40))
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
    prompt.click(world.step(frames=3), world.face_at(30, 40))
    press(prompt, "Ada\x1b")
    assert prompt.typed is None
    assert world.stored() == {}
    assert world.live.teaching is None


def test_the_face_that_was_clicked_is_taught_even_if_another_stands_there_now(world):
    prompt = Prompt(world.live)
    prompt.click(world.step(frames=3), world.face_at(30, 40))
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
    prompt.click(tick, world.face_at(30, 40))
    press(prompt, "Bob\r")
    assert "Enter again" in world.live.prompt[-1].text
    assert world.stored() == {"Bob": 1}
    press(prompt, "\x1b")
    prompt.click(tick, world.face_at(BOB[0] + 10, BOB[1] + 10))
    press(prompt, "Robert\r")
    assert list(world.stored()) == ["Robert"]
