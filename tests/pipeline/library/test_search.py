"""Searching a library by face, name, company and date."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from faces.video.film import VideoWriter
from pipeline.library import decide
from pipeline.library.page.pictures import picture_of
from pipeline.library.people import Library
from pipeline.library.search import as_row, date_of, search_face, search_names
from recognizer.rule import Thresholds
from tests.pipeline.library.made import digest, face_row, make_library, two_people, vectors


@pytest.fixture(autouse=True)
def calibrated(monkeypatch):
    monkeypatch.setattr(
        "pipeline.library.people.default_thresholds", lambda _: Thresholds(gallery=0.45)
    )


@pytest.fixture
def people(tmp_path):
    with Library(make_library(tmp_path / "lib", two_people())) as library:
        library.people()
        decide.name(library, [library.find("1")], "Ann")
        decide.name(library, [library.find("2")], "Bob")
        yield library.people()


def letters(people, found):
    return "".join(str(people.faces.path[one.photo])[-5] for one in found)


def test_the_same_face_everywhere_best_first(people):
    faces = people.faces
    query = faces.embedding[0]
    nobody = np.zeros(len(faces), bool)
    found = search_face(faces, query, 0.45, nobody)
    assert sorted(letters(people, found)) == list("abcdef")
    assert found[0].similarity == pytest.approx(1)
    similar = [one.similarity for one in found]
    assert similar == sorted(similar, reverse=True)
    assert all(people.everybody[people.group[one.rows[0]]].name == "Ann" for one in found)
    nobody[found[0].rows] = True  # as somebody decided
    assert letters(people, search_face(faces, query, 0.45, nobody)) == letters(people, found[1:])
    assert search_face(faces, query, 1.0, nobody) == []


@pytest.mark.parametrize(
    ("names", "begin", "end", "expected"),
    [
        (["Ann"], None, None, "acdefb"),  # in the order of time; b does not say when
        (["Ann", "Bob"], None, None, "cdef"),
        (["Bob"], "2024-05", None, "efg"),
        (["Ann"], None, "2024-03", "ac"),
        (["Ann"], "2024-03-10", "2024-03-10", "c"),
        (["Ann"], "2025", None, ""),
        ([], "2024-06", None, "fg"),
    ],
)
def test_by_name_company_and_date(people, names, begin, end, expected):
    found = search_names(
        people, names, date_of(begin) if begin else None, date_of(end, end=True) if end else None
    )
    assert letters(people, found) == expected


def test_names_that_nobody_has_and_dates_that_are_none(people):
    with pytest.raises(UserError, match="did you mean 'Ann'"):
        search_names(people, ["Anne"])
    for text in ("2024-13", "24", "March", "2024-02-30", "2024-1"):
        with pytest.raises(UserError, match="no date"):
            date_of(text)


def test_a_row_for_json(people):
    row = as_row(people, 0)
    assert row == {
        "path": "/photos/a.jpg", "face": f"{digest('/photos/a.jpg')[:16]}-0",
        "box": [10.0, 20.0, 90.0, 120.0], "seconds": None, "taken": "2024-01-10T12:00:00",
        "person": 1, "name": "Ann",
    }  # fmt: skip


def test_the_picture_of_a_face_is_cut_out_of_photo_and_film(tmp_path):
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[20:120, 10:90] = (200, 30, 40)
    Image.fromarray(photo).save(tmp_path / "ä.png")
    film = tmp_path / "film.mp4"
    with VideoWriter(film, 10) as writer:
        for i in range(5):
            writer.write(np.full((300, 400, 3), 40 * i, np.uint8))
    rows = [
        face_row(f"{tmp_path}/ä.png", 0, vectors(1, 1)[0]),
        face_row(str(film), 0, vectors(2, 1)[0], seconds=0.2),
        face_row(f"{tmp_path}/gone.jpg", 0, vectors(3, 1)[0]),
    ]
    with Library(make_library(tmp_path / "lib", rows)) as library:
        faces = library.faces
        by_name = {str(faces.path[faces.photo[i]]): i for i in range(3)}
        picture = picture_of(faces, by_name[f"{tmp_path}/ä.png"])
        assert picture[50, 50].tolist() == [200, 30, 40]
        assert picture.shape[0] < 300
        assert picture_of(faces, by_name[str(film)]).mean() == pytest.approx(80, abs=12)
        with pytest.raises(UserError, match=r"gone\.jpg"):
            picture_of(faces, by_name[f"{tmp_path}/gone.jpg"])
