"""Labels from CSV files, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faces.errors import UserError
from recognizer.evaluation.labels import read_labels

PEOPLE = ("Ann", "Ann", "Bob")
IMAGES = ("Ann/1.jpg", "Ann/2.jpg", "Bob/1.jpg")


def read(tmp_path: Path, text: str, **options):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_labels(path, PEOPLE, IMAGES, **options)


def test_labels_of_people(tmp_path):
    found = read(tmp_path, "person,skin,age\nAnn,3,old\nBob,,young\nZoe,1,old\n")
    assert found == {"skin": ["3", "3", ""], "age": ["old", "old", "young"]}


def test_labels_of_images_with_or_without_suffix(tmp_path):
    found = read(tmp_path, "image,glasses\nAnn/1.jpg,yes\nAnn\\2,no\n")
    assert found == {"glasses": ["yes", "no", ""]}


def test_columns_are_chosen_and_joined(tmp_path):
    text = "who,skin,age\nAnn,3,old\nBob,,young\n"
    found = read(tmp_path, text, key="who", columns=["age", "skin+age"])
    assert found == {"age": ["old", "old", "young"], "skin+age": ["3+old", "3+old", ""]}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("name,skin\nAnn,3\n", {}, "line 1: which column .* name it .by_key"),
        ("person,image,skin\nAnn,Ann/1.jpg,3\n", {}, "line 1: which column"),
        ("person,skin\nAnn,3\n", {"key": "who"}, "no column 'who', only person, skin"),
        ("person,skin\nAnn,3\n", {"columns": ["age"]}, "no column 'age' of labels, only skin"),
        ("person,skin\nAnn,3\n", {"columns": ["person"]}, "no column 'person' of labels"),
        ("person,skin\nAnn,3\n", {"columns": ["skin+age"]}, "no column 'age'"),
        ("person\nAnn\n", {}, "no column beside 'person'"),
        ("person,skin\nAnn,3,4\n", {}, "line 2: 3 cells, but the header has 2"),
        ("person,skin\nAnn,3\nAnn,4\n", {}, "line 3: 'Ann' was labeled in line 2"),
        ("person,skin\nZoe,3\n", {}, "none of its 1 lines .* 'Ann' or 'Ann/1.jpg'"),
        ("person,,\nAnn,3,4\n", {}, "line 1: every column needs a name"),
        ("", {}, "line 1: which column names the person"),
        ('person,skin\n"Ann,3\n', {}, "not valid CSV"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, options, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, **options)


def test_a_missing_file_and_too_many_groups(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", PEOPLE, IMAGES)
    people = [f"p{i}" for i in range(60)]
    lines = "\n".join(f"{name},{i}" for i, name in enumerate(people))
    path = tmp_path / "ages.csv"
    path.write_text(f"person,age\n{lines}\n", encoding="utf-8")
    with pytest.raises(UserError, match="'age' has 60 values, more than 50; put them into ranges"):
        read_labels(path, people, people)
