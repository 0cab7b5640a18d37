from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.data.lfw import Lfw, read_lfw

PAIRS = """2\t1
Ann\t1\t2
Ann\t2\tBob\t1
Cy_Y\t1\t3
Cy_Y\t3\tDee\t1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, numbers in (("Ann", (1, 2)), ("Bob", (1,)), ("Cy_Y", (1, 2, 3)), ("Dee", (1,))):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in numbers:
            (folder / f"{name}_{number:04d}.jpg").write_bytes(b"")
    (tmp_path / "pairs.txt").write_text(PAIRS, encoding="utf-8")
    return tmp_path


def test_pairs_folds_and_images(root: Path) -> None:
    lfw = read_lfw(root)
    assert [path.name for path in lfw.images] == [
        "Ann_0001.jpg", "Ann_0002.jpg", "Bob_0001.jpg",
        "Cy_Y_0001.jpg", "Cy_Y_0003.jpg", "Dee_0001.jpg",
    ]  # fmt: skip
    assert lfw.people == ("Ann", "Ann", "Bob", "Cy_Y", "Cy_Y", "Dee")
    assert lfw.first.tolist() == [0, 1, 3, 4]
    assert lfw.second.tolist() == [1, 2, 4, 5]
    assert lfw.same.tolist() == [True, False, True, False]
    assert lfw.fold.tolist() == [1, 1, 2, 2]
    assert (len(lfw), lfw.folds) == (4, (1, 2))


def test_some_folds_only_name_their_own_images(root: Path) -> None:
    lfw = read_lfw(root).of_folds(2)
    assert lfw.people == ("Cy_Y", "Cy_Y", "Dee")
    assert lfw.first.tolist() == [0, 1]
    assert lfw.second.tolist() == [1, 2]
    assert lfw.folds == (2,)
    with pytest.raises(UserError, match="no fold 3, only 2"):
        lfw.of_folds(3)


def test_cosines(root: Path) -> None:
    vectors = np.eye(6, dtype=np.float32)
    vectors[1] = vectors[0]
    assert read_lfw(root).cosines(vectors).tolist() == [1, 0, 0, 0]
    with pytest.raises(ValueError, match="5 vectors for 6 images"):
        read_lfw(root).cosines(vectors[:5])


def test_people_folders_may_lie_in_the_root_and_the_list_elsewhere(root: Path) -> None:
    assert len(read_lfw(root / "images", root / "pairs.txt")) == 4


def test_one_number_means_one_fold(root: Path) -> None:
    (root / "pairs.txt").write_text("1\nAnn 1 2\nAnn 2 Bob 1\n\n", encoding="utf-8")
    assert read_lfw(root).folds == (1,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("many\n", "line 1: expected the number of folds"),
        ("0 5\n", "line 1: expected the number of folds"),
        ("1 1\nAnn 1 2\n", "promises 2 pairs, there are 1"),
        ("1 1\nAnn 1 2\nAnn one Bob 1\n", "line 3: expected 'name number number'"),
        ("1 1\nAnn 1\nAnn 1 Bob 1\n", "line 2: expected 'name number number'"),
        ("1 1\nAnn 1 Bob 1\nAnn 1 2\n", "line 2: this place is for a matched pair"),
        ("1 1\nAnn 1 9\nAnn 1 Bob 1\n", r"no image .*Ann_0009\.jpg"),
    ],
)
def test_what_is_wrong_is_named(root: Path, text: str, message: str) -> None:
    (root / "pairs.txt").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_lfw(root)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pairs\.txt: cannot be read"):
        read_lfw(tmp_path)


@pytest.mark.data
def test_the_real_one(shared_data: Path) -> None:
    lfw = read_lfw(shared_data / "lfw")
    assert (len(lfw), len(lfw.images), len(set(lfw.people))) == (3600, 4554, 2505)
    assert lfw.same.sum() == 1800
    trained, held_out = lfw.of_folds(1, 2, 3, 4, 5), lfw.of_folds(6)
    assert not set(trained.people) & set(held_out.people)
    assert isinstance(held_out, Lfw)
    assert len(held_out) == 600
