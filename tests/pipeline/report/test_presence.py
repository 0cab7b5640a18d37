"""Who was there, when, how sure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faces.images.read import read_image
from pipeline.report.files import clock, draw_timeline, table, write_report
from pipeline.report.presence import Report, ReportMaker
from pipeline.types import Face, FrameFaces, Look, Picture, Sighting, Tick
from recognizer.types import Match, unit

BOX = (20.0, 20.0, 60.0, 60.0)
IMAGE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def face(name: str | None, track: int | None = 1, similarity: float = 0.8) -> Face:
    match = Match(name, similarity, None, "gallery" if name else "none", name)
    return Face(BOX, 0.9, track, match, 1.0)


def sighting(track: int | None, vector: list[float], quality: float = 0.5) -> Sighting:
    return Sighting(BOX, 0.9, track, 100.0, quality, False, None, unit(np.array(vector)))


def tick(i: int, faces: list[Face], sightings: list[Sighting] | None = None, fps: float = 10):
    picture = Picture(i, i / fps, IMAGE, 0.0)
    looks = (Look(picture, tuple(sightings or ())),)
    return Tick(picture, FrameFaces(i, i / fps, (96, 128), tuple(faces), 1), looks)


def made(frames: list[list[Face]], *, same: float = 0.7) -> Report:
    maker = ReportMaker(0.1, same)
    for i, faces in enumerate(frames):
        maker.show(tick(i, faces))
    return maker.report()


def test_a_person_on_two_tracks_with_a_pause():
    frames = [[face("Ada", 1)]] * 10 + [[]] * 20 + [[face("Ada", 2, 0.6)]] * 10
    report = made(frames)
    [ada] = report.people
    assert (ada.name, ada.known, ada.tracks, ada.frames) == ("Ada", True, (1, 2), 20)
    assert ada.intervals == (pytest.approx((0.0, 1.0)), pytest.approx((3.0, 4.0)))
    assert ada.seconds == pytest.approx(2.0)
    assert ada.similarity == pytest.approx(0.7)
    assert ada.confidence is None
    assert (report.frames, report.duration) == (40, pytest.approx(4.0))


def test_a_short_gap_is_none():
    [ada] = made([[face("Ada", 1)]] * 10 + [[]] * 5 + [[face("Ada", 2)]] * 10).people
    assert ada.intervals == (pytest.approx((0.0, 2.5)),)


def test_the_first_moments_of_a_track_belong_to_the_name_it_gets():
    frames = [[face(None)]] * 5 + [[face("Ada", similarity=0.9)]] * 10 + [[face(None)]] * 3
    [ada] = made(frames).people
    assert (ada.name, ada.frames) == ("Ada", 18)
    assert ada.similarity == pytest.approx(0.9), "only the frames that bore the name"


def test_a_track_that_changes_hands_is_two_people():
    report = made([[face("Ada")]] * 10 + [[face(None)]] * 2 + [[face("Bob")]] * 20)
    assert [(p.name, p.frames) for p in report.people] == [("Bob", 22), ("Ada", 10)]


def test_unknown_people_are_joined_when_they_look_alike():
    maker = ReportMaker(0.1, same=0.7)
    for i in range(30):
        track, vector = (1, [1, 0]) if i < 10 else (2, [0, 1]) if i < 20 else (3, [1, 0.3])
        maker.show(tick(i, [face(None, track)], [sighting(track, vector)]))
    people = {person.tracks: person.name for person in maker.report().people}
    assert people == {(1, 3): "unknown 1", (2,): "unknown 2"}


def test_a_false_alarm_is_counted_only():
    report = made([[face(None, 1)]] * 2 + [[face(None, 2)]] * 5)
    assert [person.tracks for person in report.people] == [(2,)]
    assert report.brief == 1


def test_the_thumbnail_is_of_the_best_look():
    maker = ReportMaker(0.1)
    for i, quality in enumerate([0.2, 0.9, 0.4]):
        one = tick(i, [face("Ada")], [sighting(1, [1, 0], quality)])
        one.looks[0].picture.image.setflags(write=True)
        image = np.full((96, 128, 3), round(quality * 100), np.uint8)
        look = Look(Picture(i, 0.0, image, 0.0), one.looks[0].sightings)
        maker.show(Tick(one.picture, one.faces, (look,)))
    [ada] = maker.report().people
    assert ada.thumbnail.shape[:2] == (64, 64), "the face and some of its surroundings"
    assert ada.thumbnail.max() == 90


def test_photos_have_no_tracks():
    maker = ReportMaker(1.0)
    maker.show(tick(0, [face("Ada", None), face(None, None)],
                    [sighting(None, [1, 0]), sighting(None, [0, 1])], fps=1))  # fmt: skip
    maker.show(tick(1, [face(None, None)], [sighting(None, [0.1, 1])], fps=1))
    people = {person.name: person for person in maker.report().people}
    assert set(people) == {"Ada", "unknown 1"}
    assert people["unknown 1"].frames == 2
    assert people["Ada"].tracks == ()
    assert people["Ada"].thumbnail is not None


def test_what_is_written(tmp_path):
    maker = ReportMaker(0.1)
    for i in range(10):
        maker.show(tick(i, [face("Zoë $x$"), face(None, 2)], [sighting(1, [1, 0])]))
    folder = tmp_path / "report"
    for _ in range(2):  # replaced when it is there
        write_report(maker.report(), folder, {"source": "a.mp4"})
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert found == ["report.json", "thumbnails/01-Zoë_x.jpg", "timeline.png"]
    value = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert (value["source"], value["frames"], value["seconds"]) == ("a.mp4", 10, 1.0)
    zoe, unknown = value["people"]
    assert (zoe["name"], zoe["known"], zoe["intervals"]) == ("Zoë $x$", True, [[0.0, 1.0]])
    assert zoe["thumbnail"] == "thumbnails/01-Zoë_x.jpg"
    assert (unknown["name"], unknown["known"], unknown["thumbnail"]) == ("unknown 1", False, None)
    assert read_image(folder / "timeline.png").shape[1] == 1100
    assert list(tmp_path.iterdir()) == [folder]


def test_only_what_belongs_to_a_report_is_replaced(tmp_path, monkeypatch):
    maker = ReportMaker(0.1)
    for i in range(10):
        maker.show(tick(i, [face("Ada")], [sighting(1, [1, 0])]))
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails/02-Bob.jpg").write_bytes(b"of an earlier run")
    (tmp_path / "annotated.mp4").write_bytes(b"another output")
    monkeypatch.chdir(tmp_path)
    write_report(maker.report(), Path(), {})
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["annotated.mp4", "report.json", "thumbnails/01-Ada.jpg", "timeline.png"]


@pytest.mark.slow
def test_the_timeline_has_a_row_for_everyone_and_an_end():
    heights = [
        draw_timeline(made([[face(f"P{k}", k) for k in range(count)]] * 3)).shape[0]
        for count in (0, 1, 5, 30, 60)
    ]
    assert heights[0] == heights[1] < heights[2] < heights[3] == heights[4]


def test_the_table():
    """How sure: the share of the looks that gave the name, and nothing else."""
    maker = ReportMaker(0.1)
    for i in range(90):
        looks = []
        if i % 18 == 0:
            name = "Bob" if i == 36 else "Ada"
            looks = [replace(sighting(1, [1, 0]), match=face(name).match)]
        maker.show(tick(i, [face("Ada", 1), face(None, 2)], looks))
    [ada, _] = maker.report().people
    assert (ada.looks, ada.agreement) == (5, pytest.approx(0.8))
    text = table(maker.report())
    assert text.splitlines()[0].split() == ["who", "from", "to", "for", "sure"]
    assert text.splitlines()[1].split() == ["Ada", "0:00.0", "0:09.0", "0:09.0", "80%"]
    assert text.splitlines()[2].split() == ["unknown", "1", "0:00.0", "0:09.0", "0:09.0"]
    assert table(made([])) == "nobody was seen"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00.0"),
        (59.96, "1:00.0"),
        (61.25, "1:01.2"),
        (3600, "1:00:00.0"),
        (7325.5, "2:02:05.5"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
