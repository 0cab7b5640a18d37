from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from recognizer.crop import CropRecipe
from recognizer.data.photos import Located, bordered
from recognizer.landmarks import LandmarkNet
from recognizer.pretraining import cache
from recognizer.pretraining.cache import RIM, Maker, Photo, collect
from recognizer.pretraining.students import Teacher
from tests.recognizer.photos import ASTRONAUT_BOX, astronaut
from tests.recognizer.pretraining.made import SIZE, Opener, make_teacher, photos


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    path = tmp_path / "teacher.onnx"
    path.write_bytes(make_teacher())
    return Opener(path)


def test_faces_are_cut_once_and_again_only_when_their_photo_changes(
    tmp_path: Path, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "PART", 4)
    found = photos(tmp_path / "photos", people=3, each=3)
    first = collect(found, tmp_path / "faces", "one", opener)
    assert len(first) == 9
    assert first.photo.tolist() == list(range(9))
    assert first[8].shape == (SIZE + 2 * RIM, SIZE + 2 * RIM, 3)
    assert len({first[i].tobytes() for i in range(9)}) == 9
    maker = opener()
    for i in (0, 5, 8):
        np.testing.assert_array_equal(first[i], maker.cut(found[i])[0])
        np.testing.assert_allclose(first.vectors[i], maker.vectors(first[i][None])[0], atol=1e-5)
    opened = opener.opened
    again = collect(found, tmp_path / "faces", "one", opener)
    assert opener.opened == opened
    np.testing.assert_array_equal(again.vectors, first.vectors)

    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(found[5].path)
    changed = collect(found, tmp_path / "faces", "one", opener)
    assert opener.opened == opened + 1
    assert np.ptp(changed[5][RIM:-RIM, RIM:-RIM]) == 0
    np.testing.assert_array_equal(changed[8], first[8])
    collect(found, tmp_path / "faces", "another teacher", opener)
    assert opener.opened == opened + 2


@pytest.mark.slow
def test_other_processes_make_the_same(tmp_path: Path, opener: Opener) -> None:
    found = photos(tmp_path / "photos", people=2, each=2)
    here = collect(found, tmp_path / "here", "one", opener)
    there = collect(found, tmp_path / "there", "one", opener, workers=1)
    np.testing.assert_array_equal(here.vectors, there.vectors)
    copied = pickle.dumps(there)
    assert len(copied) < 4000  # the files' names go to other processes, not the faces
    np.testing.assert_array_equal(pickle.loads(copied)[3], here[3])


def test_the_goal_is_the_mean_of_both_mirror_images(opener: Opener) -> None:
    faces = np.random.default_rng(0).integers(
        0, 256, (11, SIZE + 2 * RIM, SIZE + 2 * RIM, 3), np.uint8
    )
    maker, teacher = opener(), Teacher(opener.teacher, 1)
    vectors = maker.vectors(faces)
    np.testing.assert_allclose(vectors, maker.vectors(faces[:, :, ::-1]), atol=1e-5)
    inner = np.ascontiguousarray(faces[:1, RIM:-RIM, RIM:-RIM])
    both = teacher(inner)[0] + teacher(np.ascontiguousarray(inner[:, :, ::-1]))[0]
    np.testing.assert_allclose(vectors[0], both / np.linalg.norm(both), atol=1e-5)


def test_a_photo_that_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    found = photos(tmp_path / "photos", people=1, each=3)
    found[1].path.write_bytes(b"no picture")
    for _ in range(2):  # also when the part is read again
        caplog.clear()
        faces = collect(found, tmp_path / "faces", "one", opener)
        assert faces.photo.tolist() == [0, 2]
        assert f"left out: {found[1].path}" in caplog.text
    with pytest.raises(UserError, match=r"none\.png: cannot be read"):
        collect([Photo(tmp_path / "none.png")], tmp_path / "faces", "one", opener)
    with pytest.raises(UserError, match="there is no face to learn from"):
        collect([found[1]], tmp_path / "faces", "one", opener)


def test_a_part_cut_short_is_made_again_and_a_damaged_one_named(
    tmp_path: Path, opener: Opener
) -> None:
    found = photos(tmp_path / "photos", people=1, each=3)
    whole = collect(found, tmp_path / "faces", "one", opener)
    [file] = (tmp_path / "faces").glob("*.npz")
    file.unlink()  # as after kill -9 between the two files
    np.testing.assert_array_equal(
        collect(found, tmp_path / "faces", "one", opener).vectors, whole.vectors
    )
    file.write_bytes(b"PK damaged")
    with pytest.raises(UserError, match=r"\.npz is damaged .*: delete it, it is made again"):
        collect(found, tmp_path / "faces", "one", opener)


def test_aligned_faces_have_a_rim_and_may_need_a_border(tmp_path: Path, opener: Opener) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(astronaut()).save(path)
    nothing = np.array([[400, 10, 450, 60]], np.float32)  # no face: not trusted
    recipe, net = CropRecipe(112, 0.08, "aligned"), LandmarkNet(threads=1)
    seen = []

    def find(image: np.ndarray) -> Located:
        seen.append(image.shape)
        return Located(ASTRONAUT_BOX + 51)

    maker = Maker(recipe, Teacher(opener.teacher, 1), bordered(find, 0.1), net)
    [face] = maker.cut(Photo(path, np.concatenate([ASTRONAUT_BOX, nothing])))
    assert face.shape == (144, 144, 3)
    crop = recipe(astronaut(), ASTRONAUT_BOX, net)[0]
    inner = face[RIM:-RIM, RIM:-RIM].astype(int)
    assert np.abs(inner - crop).mean() < 2  # averaged over other pixels before it was turned
    assert np.abs(inner[1:] - crop[:-1]).mean() > 3
    [found] = maker.cut(Photo(path))
    assert seen == [(512 + 102, 512 + 102, 3)]
    assert np.abs(found.astype(int) - face).mean() < 2

    points, _ = net(astronaut(), ASTRONAUT_BOX)

    def find_points(image: np.ndarray) -> Located:
        return Located(ASTRONAUT_BOX + 51, points + 51)

    alone = Maker(recipe, Teacher(opener.teacher, 1), bordered(find_points, 0.1))  # no other net
    assert np.abs(alone.cut(Photo(path))[0].astype(int) - face).mean() < 0.1
