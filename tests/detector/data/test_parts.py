"""The parts of a data set, in the layouts that folders have."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from detector.data.parts import find_parts
from detector.evaluation.truth import read_part
from faces.errors import UserError
from tests.tiny import make_data, make_voc


def mixed(folder: Path, seed: int = 0) -> None:
    """Images and .xml together."""
    made = make_voc(folder / "made", 3, seed)
    for part in ("images", "annotations"):
        for path in (made / part).iterdir():
            shutil.move(path, folder / path.name)
    shutil.rmtree(made)


def below(folder: Path) -> tuple[str, str, str, str]:
    """The four folders, relative; "-" for those of a part that is not there."""
    parts = find_parts(folder)
    both = [
        (part.images, part.annotations) if part else None for part in (parts.train, parts.valid)
    ]
    found = [path.relative_to(folder).as_posix() for pair in both if pair for path in pair]
    return (*found, *"----")[:4] if both[0] else ("-", "-", *found)[:4]  # type: ignore[return-value]


def test_as_prepare_writes_it_and_a_test_part_is_left_out(tmp_path: Path) -> None:
    make_data(tmp_path)
    make_voc(tmp_path / "test", 2, seed=9)
    assert below(tmp_path) == ("train/images", "train/annotations", "val/images", "val/annotations")


def test_sets_first_then_parts(tmp_path: Path) -> None:
    make_data(tmp_path / "made")
    for part in ("train", "val"):
        for kind in ("images", "annotations"):
            shutil.copytree(tmp_path / "made" / part / kind, tmp_path / "data" / kind / part)
    assert below(tmp_path / "data") == (
        "images/train", "annotations/train", "images/val", "annotations/val",
    )  # fmt: skip


def test_parts_with_images_and_xml_together(tmp_path: Path) -> None:
    for seed, part in enumerate(("train", "valid", "test")):
        mixed(tmp_path / part, seed)
    assert below(tmp_path) == ("train", "train", "valid", "valid")


def test_one_set(tmp_path: Path) -> None:
    make_voc(tmp_path / "two", 3)
    assert below(tmp_path / "two") == ("images", "annotations", "-", "-")
    mixed(tmp_path / "one")
    assert below(tmp_path / "one") == (".", ".", "-", "-")
    make_voc(tmp_path / "only" / "train", 3)
    assert below(tmp_path / "only") == ("train/images", "train/annotations", "-", "-")
    make_voc(tmp_path / "held" / "val", 3)
    assert below(tmp_path / "held") == ("-", "-", "val/images", "val/annotations")


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_voc(tmp_path / "sets" / name, 2)
    with pytest.raises(UserError, match=r"has sets: .*a.images and .*b.images; give one"):
        find_parts(tmp_path / "sets")
    for name in ("val", "valid"):
        make_voc(tmp_path / "twice" / name, 2)
    with pytest.raises(UserError, match="several parts to validate"):
        find_parts(tmp_path / "twice")
    make_voc(tmp_path / "beside" / "train", 2)
    make_voc(tmp_path / "beside" / "more", 2)
    with pytest.raises(UserError, match=r"has the part train, and .*more.images beside it"):
        find_parts(tmp_path / "beside")
    make_voc(tmp_path / "tests" / "test", 2)
    with pytest.raises(UserError, match="only a part to test: `faces evaluate --part test`"):
        find_parts(tmp_path / "tests")


def test_the_part_to_test_is_for_evaluating(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a folder and of another tool's file; it need not have company."""
    caplog.set_level(logging.INFO)
    for name, count in (("train", 2), ("val", 3), ("test", 4)):
        make_voc(tmp_path / "voc" / name, count)
    images = tmp_path / "yolo" / "images"
    make_voc(tmp_path / "yolo", 3)
    for image in images.iterdir():
        (tmp_path / "yolo" / "labels").mkdir(exist_ok=True)
        (tmp_path / "yolo" / "labels" / f"{image.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    shutil.rmtree(tmp_path / "yolo" / "annotations")
    (tmp_path / "yolo" / "data.yaml").write_text("test: images\nnames: [face]\n")
    for folder, count in (("voc", 4), ("yolo", 3)):
        truth, _ = read_part(tmp_path / folder, (), None, None, "test")
        assert len(truth) == count
    assert "left out" not in caplog.text
    assert len(read_part(tmp_path / "voc", (), None, None)[0]) == 3
    assert "voc is left out: `faces evaluate --part test` takes it" in caplog.text
    make_voc(tmp_path / "one", 2)
    with pytest.raises(UserError, match=r"data=.*one has no part to test"):
        read_part(tmp_path / "one", (), None, None, "test")


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yolo" / "images").mkdir(parents=True)
    (tmp_path / "yolo" / "data.yaml").write_text("train: images\n")
    for path in (tmp_path / "yolo", tmp_path / "yolo" / "data.yaml"):
        with pytest.raises(UserError, match=r"data=.*data\.yaml: names must list the classes"):
            find_parts(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"data=.*empty has no annotations: expected train/images"):
        find_parts(tmp_path / "empty")
    with pytest.raises(UserError, match="there is no such folder"):
        find_parts(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("to do\n")
    with pytest.raises(UserError, match=r"data=.*notes\.txt: in none of the known formats"):
        find_parts(tmp_path / "notes.txt")
