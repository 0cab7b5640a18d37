"""Attributes of faces from a CSV file."""

from __future__ import annotations

import logging

import pytest

from detector.evaluation.by_file import read_attributes
from faces.errors import UserError
from tests.detector.evaluation.cases import faces

TRUTH = [
    faces("e/a", [[0, 0, 10, 10], [50, 0, 60, 10]]),
    faces("e/b", [[0, 0, 10, 10]]),
    faces("f/b", [[0, 0, 10, 10]]),
]


def write(tmp_path, text: str):
    path = tmp_path / "by.csv"
    path.write_bytes(text.encode())
    return path


def test_faces_by_position(tmp_path):
    path = write(tmp_path, "image,face,skin,age\ne/a.jpg,1,dark,\ne/a,0,light,old\nf/b,0,,young\n")
    assert read_attributes(path, TRUTH) == {
        "skin": ["light", "dark", "", ""],
        "age": ["old", "", "", "young"],
    }


def test_faces_by_box_from_a_spreadsheet(tmp_path):
    # A byte order mark, carriage returns, quotes, blanks, empty lines, columns in any order.
    text = '\ufeffage,x1, y1,x2,y2,image\r\n"old, very",51,0,61,10, a.png\r\n\r\n'
    assert read_attributes(write(tmp_path, text), TRUTH) == {"age": ["", "old, very", "", ""]}


def test_lines_about_other_images_are_counted_not_refused(tmp_path, caplog):
    path = write(tmp_path, "image,face,age\ne/a,0,old\ng/c,0,old\n")
    with caplog.at_level(logging.WARNING):
        assert read_attributes(path, TRUTH) == {"age": ["old", "", "", ""]}
    assert "1 of 2 lines" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the column 'image'"),
        ("picture,face,age\n", "line 1: expected the column 'image'"),
        ("image,age\n", "line 1: expected the column 'image' and either"),
        ("image,x1,y1,x2,age\n", "line 1: expected the column 'image' and either"),
        ("image,face,x1,y1,x2,y2,age\n", "line 1: expected the column 'image' and either"),
        ("image,face\n", "line 1: no attribute column"),
        ("image,face,age,age\n", "line 1: every column needs a name"),
        ("image,face,\n", "line 1: every column needs a name"),
        ("image,face,age\ne/a,0\n", "line 2: 2 cells, but the header has 3 columns"),
        ("image,face,age\ne/a,2,old\n", "line 2: face '2' does not exist; e/a has 2"),
        ("image,face,age\ne/a,-1,old\n", "line 2: face '-1' does not exist"),
        ("image,face,age\ne/a,x,old\n", "line 2: face 'x' does not exist"),
        ("image,face,age\ne/a,0,old\ne/a,0,old\n", "line 3: the same face as line 2"),
        ("image,face,age\nb,0,old\n", "line 2: 'b' could be 'e/b' or 'f/b'"),
        ("image,x1,y1,x2,y2,age\ne/a,0,0,4,4,old\n", "line 2: e/a has no annotated face at"),
        ("image,x1,y1,x2,y2,age\ne/a,0,0,4,nan,old\n", "line 2: e/a has no annotated face at"),
        ("image,x1,y1,x2,y2,age\ne/a,0,0,4,,old\n", "line 2: x1, y1, x2 and y2 must be numbers"),
        ("image,face,age\ng/c,0,old\n", "none of its 1 lines is about an evaluated image"),
        ('image,face,age\n"e/a,0,old\n', "not valid CSV"),
    ],
)
def test_mistakes_are_refused_with_their_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_attributes(path, TRUTH)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_column_of_measurements_is_refused(tmp_path):
    truth = [faces("a", [[0, 0, 9, 9]] * 60)]
    lines = "".join(f"a,{i},{i / 7}\n" for i in range(60))
    with pytest.raises(UserError, match="'age' has 60 values, more than 50"):
        read_attributes(write(tmp_path, "image,face,age\n" + lines), truth)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_attributes(tmp_path / "none.csv", TRUTH)
    path = tmp_path / "by.csv"
    path.write_bytes(b"image,face\xff,age\n")
    with pytest.raises(UserError, match="UTF-8"):
        read_attributes(path, TRUTH)
