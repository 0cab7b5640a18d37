"""What benchmarks/library.py measures: scores of groups, and a made library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import library
from pipeline.library.people import Library


def test_scores_of_groups():
    """Five faces: a a a b b in the groups 0 0 1 1 2, counted by hand."""
    person, group = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2])
    # One of the two pairs that are together is right, of the four pairs of a person.
    assert library.pairwise(group, person) == pytest.approx((1 / 2, 1 / 4, 1 / 3))
    precision = (1 + 1 + 1 / 2 + 1 / 2 + 1) / 5
    recall = (2 / 3 + 2 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 5
    f1 = 2 * precision * recall / (precision + recall)
    assert library.b_cubed(group, person) == pytest.approx((precision, recall, f1))


def test_scores_at_the_ends():
    person = np.array([0, 0, 1, 1])
    assert library.pairwise(person, person) == library.b_cubed(person, person) == (1, 1, 1)
    alone = np.arange(4)
    assert library.pairwise(alone, person) == (1, 0, 0)
    assert library.b_cubed(alone, person) == pytest.approx((1, 1 / 2, 2 / 3))
    assert library.pairwise(np.zeros(4, int), person)[0] == pytest.approx(1 / 3)


def test_a_made_library_is_one_that_can_be_asked(tmp_path):
    library.made(tmp_path / "lib", 400, 10, 128)
    with Library(tmp_path / "lib") as made:
        assert len(made.faces) == 400
        assert len(made.faces.path) == 200


def test_photos_whose_label_another_network_does_not_believe_are_found():
    """Person 0 and 1 are siblings, 2 is of another family; one photo of 0 shows 1."""
    directions = np.eye(3, dtype=np.float32)
    shown, person = np.array([0, 0, 0, 1, 1, 1, 1, 2, 0]), np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    family = np.where(person == 2, "f", "e")
    wrong = library._misplaced(directions[shown], person, family)
    assert np.flatnonzero(wrong).tolist() == [3]  # with two photos nobody can say which is wrong


def test_faces_are_of_one_photo_where_their_paths_say_so():
    paths = [Path("a/P7_face1.jpg"), Path("b/P7_face2.jpg"), Path("b/P8_face1.jpg"), Path("c.jpg")]
    found = library._photos(paths, r"(P\d+)_face")
    assert found[0] == found[1]
    assert len(set(found.tolist())) == 3
    assert library._photos(paths, None).tolist() == [0, 1, 2, 3]


def test_speed_is_measured(capsys):
    assert library.main(["speed", "--faces", "400"]) == 0
    assert "by name, company and date" in capsys.readouterr().out
