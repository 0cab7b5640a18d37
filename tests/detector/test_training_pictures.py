"""A detector knows the pictures that it was trained on: these, wherever they lie, and no others."""

from __future__ import annotations

import gzip
import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import training_pictures
from detector.checkpoint import load_checkpoint
from detector.config import TrainConfig
from detector.inference.load import load_detector
from detector.inference.metadata import Artifact
from detector.shipped import FOLDER, find_checkpoint
from detector.training_pictures import (
    LIST,
    TrainingPictures,
    pictures_of,
    report_seen,
    seen_sentence,
)
from faces.errors import UserError

WIDER = "0_Parade_marchingband_1_465"
FIRST = "2026-11-22T15:22:55+00:00"
"""When the weights of 0.1.0 were written."""


def picture(path: Path, seed: int = 0, quality: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=quality)
    return path


def test_a_picture_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    one, two = picture(tmp_path / "train/0001.jpg", 1), picture(tmp_path / "train/0002.jpg", 2)
    record = TrainingPictures.of([one, two])
    again = TrainingPictures.from_text(record.to_text())
    assert again == record
    assert len(again) == 2
    (tmp_path / "x").mkdir()
    assert again.has(Path(shutil.copy(one, tmp_path / "x/renamed.jpg")))
    assert not again.has(picture(tmp_path / "valid/0001.jpg", 3))  # every set has a 0001


def test_large_files_that_differ_in_one_place_only_are_two(tmp_path: Path) -> None:
    data = bytearray(300_000)
    (tmp_path / "a.bmp").write_bytes(data)
    record = TrainingPictures.of([tmp_path / "a.bmp"])
    for place in (0, 150_000, 299_999):
        other = data.copy()
        other[place] = 1
        (tmp_path / "b.bmp").write_bytes(other)
        assert not record.has(tmp_path / "b.bmp")
    (tmp_path / "b.bmp").write_bytes(data + b"\0")
    assert not record.has(tmp_path / "b.bmp")


@pytest.mark.parametrize("name", [f"{WIDER}.jpg", f"{WIDER.upper()}.PNG", f"x/{WIDER}.jpeg"])
def test_a_picture_of_wider_face_is_known_by_its_name(name: str, tmp_path: Path) -> None:
    record = TrainingPictures.of([picture(tmp_path / f"train/{WIDER}.jpg", quality=90)])
    assert record.has(picture(tmp_path / "other" / name, quality=30))
    assert not record.has(picture(tmp_path / f"other/{WIDER}0.jpg", 5))


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    name = "0_Café_marchingband_1_465.jpg"
    record = TrainingPictures.of([picture(tmp_path / "a" / name)])
    assert record.has(picture(tmp_path / "b" / unicodedata.normalize("NFD", name), quality=20))


def test_the_record_of_all_of_wider_face_is_small() -> None:
    keys = np.random.default_rng(0).bytes(12_880 * 6)
    every = frozenset(keys[i : i + 6] for i in range(0, len(keys), 6))
    text = TrainingPictures(every, every).to_text()
    assert len(text) < 200_000
    assert TrainingPictures.from_text(text).files == every


def test_what_came_before_counts_too_and_what_is_not_known_is_said() -> None:
    one, two = TrainingPictures(frozenset({b"aaaaaa"})), TrainingPictures(frozenset({b"bbbbbb"}))
    both = one | two
    assert (len(both), both.whole) == (2, True)
    unknown = one | None
    assert (len(unknown), unknown.whole) == (1, False)
    assert "not known" in seen_sentence(report_seen(None, {}, ["a"]))
    assert seen_sentence(report_seen(one, {"a": Path(__file__)}, ["a"])) == ""
    assert "not known" in seen_sentence(report_seen(unknown, {"a": Path(__file__)}, ["a"]))


def test_exported_files_carry_it(tmp_path: Path) -> None:
    record = TrainingPictures.of([picture(tmp_path / "a.jpg")])
    metadata = Artifact(TrainConfig(), pictures=record.to_text()).to_metadata()
    artifact = Artifact.from_metadata(metadata, Path("x.onnx"))
    assert pictures_of(artifact.pictures, artifact.provenance) == record
    assert "pictures" not in Artifact(TrainConfig()).to_metadata()


def test_the_shipped_detector_and_what_is_made_of_it_know_theirs(tmp_path: Path) -> None:
    payload = load_checkpoint(find_checkpoint("shipped"))
    artifact = load_detector().artifact
    assert artifact is not None
    for record in (payload["pictures"], artifact.pictures):
        pictures = pictures_of(record, {})
        assert pictures is not None
        assert pictures.whole
        assert len(pictures) == 5448
        assert pictures.has(picture(tmp_path / "0--Parade/0_Parade_Parade_0_102.jpg"))
        assert not pictures.has(picture(tmp_path / "0--Parade/0_Parade_Parade_0_103.jpg"))


def test_what_was_made_of_the_weights_of_0_1_0_knows_its_pictures(tmp_path: Path) -> None:
    pictures = pictures_of("", {"written": FIRST, "checkpoint": "x.pt"})
    assert pictures is not None
    assert len(pictures) == 2000
    assert pictures.has(picture(tmp_path / "0--Parade/0_Parade_Parade_0_102.jpg"))
    assert pictures_of("", {"written": "2020-01-01"}) is None


def test_lists_and_records_that_are_damaged_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("x", "{}", json.dumps({"files": '"', "names": "", "whole": True})):
        with pytest.raises(UserError, match="training pictures in the file is damaged"):
            pictures_of(text, {})
    shutil.copy(FOLDER / "SHA256SUMS", tmp_path)
    (tmp_path / LIST).write_bytes(gzip.compress(f"2026\n{WIDER}".encode()))
    monkeypatch.setattr(training_pictures, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=f"{LIST} is damaged"):
        pictures_of("", {"written": "2026"})


@pytest.mark.data
def test_the_list_is_that_of_the_training_pictures(shared_data: Path) -> None:
    saved = load_checkpoint(find_checkpoint("shipped"))
    for pictures in (pictures_of(saved["pictures"], {}), pictures_of("", {"written": FIRST})):
        assert pictures is not None
        root = shared_data / "widerface"
        for split, count in (("train", 2000), ("val", 0)):
            images = (root / f"WIDER_{split}" / "images").rglob("*.jpg")
            assert sum(pictures.has(path) for path in images) == count
