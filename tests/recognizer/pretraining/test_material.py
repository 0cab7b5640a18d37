"""What is learned from: the teacher, the division by people, batches and variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.pretraining.batches import UNNAMED, Material, batches
from recognizer.pretraining.config import PretrainConfig
from recognizer.pretraining.division import divide
from recognizer.pretraining.students import Teacher
from recognizer.pretraining.variants import RIM, cut, merge, vary
from tests.recognizer.pretraining.made import SIZE, Opener, some_faces


def test_the_teacher_takes_any_batch(folder: Path, made: Any) -> None:
    teacher = Teacher(folder / "teacher.onnx", 1)
    assert (teacher.size, teacher.dimension) == (SIZE, 8)
    faces = some_faces(5, SIZE)
    together = teacher(faces)
    assert together.shape == (5, 8)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for face, vector in zip(faces, together, strict=True):
        np.testing.assert_allclose(teacher(face[None])[0], vector, atol=1e-5)


def test_a_file_that_is_no_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened as ONNX"):
        Teacher(tmp_path / "none.onnx")
    (tmp_path / "a.onnx").write_bytes(b"no protobuf")
    with pytest.raises(UserError, match="cannot be opened as ONNX"):
        Teacher(tmp_path / "a.onnx")


def test_people_are_divided_and_wrong_names_not_believed(made: Any) -> None:
    faces, people = made
    division = divide(faces, people, 0.34, seed=0)
    used, person = division.material.used, division.material.person
    names = np.array([people[i] or "" for i in faces.photo])
    assert not set(used) & set(division.rows)
    assert division.material.people == 4
    kept = set(names[division.rows]) - {""}
    assert len(kept) == 2
    assert not kept & set(names[used])
    for number in range(4):
        assert len(set(names[person == number])) == 1
    assert set(names[person == UNNAMED]) == {"", *kept}
    assert sum(names[division.rows] == "") == 3  # a third of eight
    again = divide(faces, people, 0.34, seed=0)
    assert again.rows.tolist() == division.rows.tolist()

    wrong = list(people)
    wrong[0] = people[-9]  # the first photo under the name of the last person
    assert divide(faces, wrong, 0.0, seed=0).doubted == 1
    doubting = divide(faces, wrong, 0.0, seed=0)
    assert doubting.material.person[0] == UNNAMED
    assert 0 in doubting.material.used
    alone = ["only one", *people[1:]]
    assert divide(faces, alone, 0.0, seed=0).material.person[0] == UNNAMED


def test_nobody_who_judges_is_learned_from(made: Any) -> None:
    faces, people = made
    judges = faces.vectors[[0]]
    division = divide(faces, people, 0.0, 0, judges)
    cosines = faces.vectors @ judges[0]
    assert division.shunned == (cosines >= 0.5).sum() >= 4  # all photos of that person
    assert (cosines[division.material.used] < 0.5).all()


@pytest.mark.slow
def test_a_batch_follows_from_its_number_alone(made: Any, opener: Opener) -> None:
    faces, people = made
    material = divide(faces, people, 0.0, 0).material
    config = PretrainConfig(batch_size=16, named=0.5, merged=0.5, workers=0, seed=3)
    teach = Teacher(opener.teacher, 1)
    batch = material.batch(5, config, teach)
    assert (batch.crops.shape, batch.crops.dtype) == ((16, SIZE, SIZE, 3), np.uint8)
    assert (batch.person[:8] != UNNAMED).all()
    known = {row.tobytes() for row in faces.vectors}
    fresh = [row.tobytes() not in known for row in batch.vectors]
    assert not any(fresh[:8])
    assert 0 < sum(fresh) < 8  # merged ones, of which the teacher was asked
    np.testing.assert_allclose(np.linalg.norm(batch.vectors, axis=1), 1, atol=1e-5)
    for workers in (0, 1):
        changed = PretrainConfig(batch_size=16, named=0.5, merged=0.5, workers=workers, seed=3)
        with batches(material, changed, opener) as following:
            again = following(5)
            assert following(6).crops.tobytes() != again.crops.tobytes()
        np.testing.assert_array_equal(again.crops, batch.crops)
        np.testing.assert_allclose(again.vectors, batch.vectors, atol=1e-6)
        assert again.person.tolist() == batch.person.tolist()
    nameless = Material(faces, material.used, np.full(len(faces), UNNAMED))
    assert (nameless.batch(0, config, teach).person == UNNAMED).all()


def test_variants_differ_and_leave_the_face_alone() -> None:
    [face] = some_faces(1, SIZE + 2 * RIM)
    before = face.copy()
    crops = [vary(face, np.random.default_rng(seed)) for seed in range(80)]  # every kind comes up
    assert {crop.shape for crop in crops} == {(SIZE, SIZE, 3)}
    assert len({crop.tobytes() for crop in crops}) == 80
    np.testing.assert_array_equal(face, before)
    other = some_faces(1, SIZE + 2 * RIM, seed=5)[0]
    merged = [merge(face, other, np.random.default_rng(seed)) for seed in range(20)]
    assert {m.shape for m in merged} == {face.shape}
    np.testing.assert_array_equal(face, before)


def test_nearly_a_third_of_the_variants_are_cut_and_nothing_else() -> None:
    face = np.full((SIZE + 2 * RIM, SIZE + 2 * RIM, 3), (200, 120, 90), np.uint8)
    crops = [vary(face, np.random.default_rng(seed)) for seed in range(300)]
    middle = [crop[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] for crop in crops]
    as_it_is = [bool((part == face[0, 0]).all()) for part in middle]
    assert 0.3 < np.mean(as_it_is) < 0.5  # 0.1 would be so by chance


def test_landmarks_without_error_give_the_crop_itself() -> None:
    class Sure:  # draws no error
        def random(self) -> float:
            return 0.9

        def normal(self, mean: float, spread: Any, shape: Any = None) -> Any:
            return np.zeros(shape)

        def uniform(self, low: float, high: float) -> float:
            return low

    from recognizer.crop import TEMPLATE

    face = some_faces(1, 112 + 2 * RIM)[0]
    crop = cut(face, TEMPLATE.astype(float) + RIM, 112, 1.0, Sure())  # type: ignore[arg-type]
    assert np.abs(crop.astype(int) - face[RIM:-RIM, RIM:-RIM]).max() <= 1
