"""Benchmarks that copy pictures take no part of them for the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fine_tune import make_folders
from benchmarks.own_data import split
from recognizer.data.lfw import Lfw


def files(folder: Path) -> list[str]:
    return sorted(x.relative_to(folder).as_posix() for x in folder.rglob("*") if not x.is_dir())


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while this many files have been copied."""
    real = shutil.copyfile

    def stop(count: int) -> None:
        left = iter(range(count))

        def copy(source: Path, destination: Path) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            real(source, destination)

        monkeypatch.setattr(shutil, "copyfile", copy)

    return stop


@pytest.mark.parametrize("count", [0, 1, 5])
def test_own_data_has_train_only_when_all_is_copied(tmp_path: Path, stopped_at, count: int) -> None:
    for kind, suffix in (("images", "jpg"), ("annotations", "xml")):
        (tmp_path / kind).mkdir()
        for i in range(3):
            (tmp_path / kind / f"{i}.{suffix}").touch()
    given, work = (tmp_path / "images", tmp_path / "annotations"), tmp_path / "work"
    stopped_at(count)
    with pytest.raises(KeyboardInterrupt):
        split(*given, work)
    assert not (work / "train").exists()
    stopped_at(6)
    split(*given, work)
    assert files(work) == [
        "train/annotations/0.xml", "train/annotations/1.xml", "train/images/0.jpg",
        "train/images/1.jpg", "valid/annotations/2.xml", "valid/images/2.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 8])
def test_fine_tune_has_learn_only_when_all_is_copied(
    tmp_path: Path, stopped_at, count: int
) -> None:
    people = ["anna"] * 4 + ["bert"] * 2 + ["carl", "dora", "emil"]
    images = tuple(tmp_path / f"{i}.jpg" for i in range(9))
    for path in images:
        path.touch()
    first, second = np.array([0, 2, 4, 6, 7, 8]), np.array([1, 3, 5, 6, 7, 8])
    lfw = Lfw(images, tuple(people), first, second, first < 6, np.arange(1, 7))
    work = tmp_path / "work"
    stopped_at(count)
    with pytest.raises(KeyboardInterrupt):
        make_folders(lfw, work, photos=2, seed=0)
    assert not (work / "learn").exists()
    stopped_at(9)
    make_folders(lfw, work, photos=2, seed=0)
    found = files(work)
    assert len(found) == 9
    assert sum(name.startswith("learn/anna/") for name in found) == 2
    assert found[-2:] == ["strangers/carl/6.jpg", "strangers/dora/7.jpg"]
    assert not [name for name in found if "/." in f"/{name}"]
