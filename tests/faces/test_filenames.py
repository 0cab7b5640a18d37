"""Names of files and people are one name in whatever form they were written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from detector.data.submission import find_submissions
from detector.data.wider.convert import convert
from detector.data.wider.lists import parse_text
from detector.evaluation.truth import Names
from faces.filenames import as_on_disk, folded, last_part, nfc
from faces.inputs import expand_sources
from pipeline.enroll.photos import people_folders
from recognizer.data.photos import read_folders
from recognizer.evaluation.labels import read_labels
from recognizer.names import clean_name

NAME = "Zoë_Müller"
APART = unicodedata.normalize("NFD", NAME)
FORMS = pytest.mark.parametrize(("disk", "typed"), [(NAME, APART), (APART, NAME), (NAME, NAME)])


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "white").save(path)
    return path


def test_forms() -> None:
    assert APART != NAME
    assert nfc(APART) == nfc(NAME) == NAME
    assert folded(APART.upper()) == folded(NAME)
    assert last_part("C:\\a\\b.jpg") == last_part("/a/b.jpg") == last_part(" b.jpg ") == "b.jpg"


@FORMS
def test_a_path_that_was_typed_is_found(disk: str, typed: str, tmp_path: Path) -> None:
    there = picture(tmp_path / disk / f"{disk}.png")
    asked = tmp_path / typed / f"{typed}.png"
    assert as_on_disk(asked).read_bytes() == there.read_bytes()
    assert as_on_disk(tmp_path / "é") == tmp_path / "é"
    for argument in (asked, asked.parent, tmp_path / "*" / f"{typed}*"):
        (source,) = expand_sources([str(argument)])
        assert source.path.read_bytes() == there.read_bytes()


@FORMS
def test_detections_and_tables_find_their_images(disk: str, typed: str, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / f"{disk}.txt").write_text("x")
    (name,) = find_submissions(tmp_path)
    assert name == f"e/{NAME}"
    for text in (f"e/{typed}", f"e\\{typed}.jpg", typed, f"{typed}.JPG", f"E/{typed.upper()}"):
        assert Names([name]).find(text) == name


@FORMS
def test_wider_lists_find_their_images(disk: str, typed: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    picture(source / "WIDER_train" / "images" / "0--A" / f"{disk}.jpg")
    truth = source / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    truth.parent.mkdir()
    truth.write_text(f"0--A/{typed}.jpg\n1\n3 4 20 20 0 0 0 0 0 0\n", encoding="utf-8")
    assert parse_text(truth.read_bytes(), "x")[0].name == f"0--A/{NAME}.jpg"
    for place in ("link", "reference"):
        summary = convert(source, tmp_path / place, "train", placement=place)
        assert (summary.images, summary.missing) == (1, ())


@FORMS
def test_labels_and_folders_of_people(disk: str, typed: str, tmp_path: Path) -> None:
    picture(tmp_path / "people" / disk / "1.png")
    photos = read_folders(tmp_path / "people")
    assert photos.people == (NAME,)
    table = tmp_path / "labels.csv"
    for key, value in (("person", typed), ("image", f"{typed}\\1.png")):
        table.write_text(f"{key},age\n{value},adult\n", encoding="utf-8")
        assert read_labels(table, photos.people, photos.names) == {"age": ["adult"]}
    (folder,) = people_folders(tmp_path / "people")
    assert clean_name(folder) == clean_name(typed)
