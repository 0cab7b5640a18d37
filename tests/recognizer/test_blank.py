"""Faces of which too little is to be seen are told by their vectors."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from recognizer import sample_rule
from recognizer.blank import LIMIT, Blank, blank_faces, find_blank
from recognizer.embedders.load import load_embedder
from recognizer.gallery import Gallery
from recognizer.quality import Gates
from recognizer.rule import Thresholds, default_thresholds
from recognizer.snapshot import Snapshot
from recognizer.types import unit
from tests.recognizer.photos import ASTRONAUT_BOX, HOPPER_BOX, astronaut, hopper


@pytest.fixture(scope="module")
def mini():
    return load_embedder("mini", threads=1)


@pytest.fixture(scope="module")
def faces(mini):
    boxes = (ASTRONAUT_BOX, HOPPER_BOX)
    images = (astronaut(), hopper())
    return np.concatenate([mini.crop(i, box) for i, box in zip(images, boxes, strict=True)])


def blank_of(embedder) -> Blank:
    found = find_blank(embedder.fingerprint, default_thresholds(embedder.fingerprint).gallery)
    assert found is not None
    return found


def test_faces_that_can_be_seen_are_not_blank(mini, faces):
    assert not blank_of(mini)(mini.embed(faces)).any()
    assert not blank_of(mini)(mini.embed(faces[:, :, ::-1].copy())).any()


def test_blurred_tiny_and_empty_ones_are(mini, faces):
    blank = blank_of(mini)
    tiny = [Image.fromarray(face).resize((7, 7)).resize((112, 112)) for face in faces]
    blurred = [Image.fromarray(face).filter(ImageFilter.GaussianBlur(8)) for face in faces]
    flat = np.full((112, 112, 3), 128, np.uint8)
    poor = np.stack([*map(np.asarray, (*tiny, *blurred)), flat])
    assert blank(mini.embed(poor)).all()
    assert blank(mini.embed(blank_faces(faces))).all()


def test_it_says_why(mini, faces):
    blank = blank_of(mini)
    assert blank.refusal(mini.embed(faces)[0]) is None
    assert "blank: too little of the face is to be seen" in str(blank.refusal(blank.vector))


def test_of_an_unknown_embedder_nothing_is_known():
    assert find_blank("unknown", 0.7) is None


def test_the_limit_goes_with_the_threshold(mini):
    found = find_blank(mini.fingerprint, 0.5)
    assert found is not None
    assert found.limit == pytest.approx(LIMIT * 0.5)
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-3)


# -- what a photo may become


def test_a_blank_photo_becomes_no_sample_and_makes_no_other_one_wrong(monkeypatch):
    axes = np.eye(8, dtype=np.float32)
    monkeypatch.setattr(sample_rule, "find_blank", lambda name, bar, part: Blank(axes[0], part))
    noise = [np.random.default_rng(seed).normal(0, 0.1, 8) for seed in range(5)]
    photos = unit(np.stack([axes[0], axes[0], axes[0], axes[1], axes[1]]) + np.array(noise))
    photos = photos.astype(np.float32)
    gates = Gates(max_blank=0.3)
    nobody = Snapshot(Gallery.empty("c", 8), None, Thresholds(0.7, 0.6))
    decisions = sample_rule.decide(nobody, "Ann", photos, gates)
    assert [d.why for d in decisions] == ["poor_photo"] * 3 + [None, None]
    assert decisions[0].reason.startswith("blank: ")
    forced = sample_rule.decide(nobody, "Ann", photos, gates, force=True)
    assert [d.why for d in forced] == ["poor_photo"] * 3 + [None, None]
    anything = sample_rule.decide(nobody, "Ann", photos, None, force=True)
    assert [d.why for d in anything] == [None] * 5
