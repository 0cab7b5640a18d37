"""From photos to samples: what is taken, what is refused and why."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from faces.errors import UserError
from faces.images.read import read_image
from pipeline.enroll.photos import Enroller, PhotoResult, people_folders
from recognizer.quality import Gates
from recognizer.rule import Thresholds
from recognizer.store.people import Store
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.people_photos import PatchDetector, person, photo, save

EMBEDDER = FakeEmbedder()


@pytest.fixture
def store(tmp_path):
    thresholds = Thresholds(gallery=0.7)
    path = tmp_path / "people.db"
    with Store.open(path, EMBEDDER.fingerprint, EMBEDDER.dimension, thresholds) as store:
        yield store


@pytest.fixture
def enroller(store):
    return Enroller(store, PatchDetector(), EMBEDDER)


def reasons(results: list[PhotoResult]) -> dict[str, tuple[str, ...]]:
    return {result.path.name: result.refusals for result in results}


def test_photos_become_samples(store, enroller, tmp_path):
    photos = [save(tmp_path / f"{i}.png", person(1, variant=i)) for i in range(3)]
    seen: list[PhotoResult] = []
    results = enroller.enroll(" Anna ", photos, seen.append)
    assert results == seen
    assert all(result.enrolled for result in results)
    assert [(p.name, p.samples, p.crops) for p in store.people()] == [("Anna", 3, 0)]
    assert [s.source for s in store.samples("Anna")] == [
        "photo 0.png",
        "photo 1.png",
        "photo 2.png",
    ]
    box = np.float32([30, 40, 110, 120])
    expected = EMBEDDER.embed(EMBEDDER.crop(photo(person(1, variant=1)), box[None]))[0]
    assert store.samples("Anna")[1].embedding == pytest.approx(expected)


def test_whoever_was_enrolled_is_recognized(store, enroller, tmp_path):
    for number in (1, 2, 3):
        enroller.enroll(
            f"P{number}",
            [save(tmp_path / f"{number}{i}.png", person(number, variant=i)) for i in range(3)],
        )
    probe = photo(person(2, variant=9))
    box = PatchDetector().detect(probe).xyxy
    [match] = store.snapshot().identify(EMBEDDER.embed(EMBEDDER.crop(probe, box)))
    assert match.name == "P2"


def test_one_bad_photo_does_not_stop_the_others(store, enroller, tmp_path):
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    photos = [
        save(tmp_path / "two.png", person(1), person(2)),
        save(tmp_path / "none.png"),
        tmp_path / "missing.jpg",
        tmp_path / "text.jpg",
        save(tmp_path / "small.png", person(1, side=30)),
        save(tmp_path / "edge.png", person(1), at=[(0, 100)]),
        save(tmp_path / "good.png", person(1)),
    ]
    results = reasons(enroller.enroll("Anna", photos))
    assert results.pop("good.png") == ()
    expected = {
        "two.png": "2 faces were found, exactly one is needed",
        "none.png": "no face was found",
        "missing.jpg": "there is no such file",
        "text.jpg": "cannot read the image",
        "small.png": "size: the face is 30 px, at least 40",
        "edge.png": "edge: the face is 0.0% of its size away from the photo's left edge",
    }
    assert set(results) == set(expected)
    for name, text in expected.items():
        assert len(results[name]) == 1
        assert text in results[name][0]
        assert not results[name][0].startswith(str(tmp_path)), "whoever reports names the file"
    assert [(p.name, p.samples) for p in store.people()] == [("Anna", 1)]


def test_nothing_is_stored_of_somebody_without_a_good_photo(store, enroller, tmp_path):
    results = enroller.enroll("Anna", [save(tmp_path / "none.png")])
    assert not results[0].enrolled
    assert store.people() == []
    assert store.version() == 0


def test_the_largest_of_several_faces(store, tmp_path):
    path = save(tmp_path / "two.png", person(1, side=60), person(2, side=90))
    enroller = Enroller(store, PatchDetector(), EMBEDDER, largest=True, keep_crops=True)
    [result] = enroller.enroll("Bob", [path])
    assert result.enrolled
    [sample] = store.samples("Bob")
    assert sample.picture is not None
    assert sample.picture.box[2] - sample.picture.box[0] == pytest.approx(90)


def test_kept_pictures_give_the_same_vectors(store, tmp_path):
    enroller = Enroller(store, PatchDetector(), EMBEDDER, keep_crops=True)
    enroller.enroll("Anna", [save(tmp_path / "a.png", person(1))])
    [sample] = store.samples("Anna")
    assert sample.picture is not None
    again = EMBEDDER.embed(sample.picture.crop(EMBEDDER)[None])[0]
    assert again == pytest.approx(sample.embedding, abs=1e-6)


def test_near_duplicates_are_left_out_now_and_later(store, enroller, tmp_path):
    first = save(tmp_path / "first.png", person(1))
    copy = tmp_path / "copy.png"
    copy.write_bytes(first.read_bytes())
    results = enroller.enroll("Anna", [first, copy])
    assert [(r.enrolled, r.duplicate) for r in results] == [(True, False), (False, True)]
    assert "near-duplicate" in results[1].refusals[0]
    [result] = enroller.enroll("Anna", [first])
    assert result.duplicate
    assert store.people()[0].samples == 1
    [result] = enroller.enroll("Bob", [first])  # of another person it is no duplicate
    assert result.enrolled


def test_somebody_who_is_there_under_another_name_is_pointed_out(store, enroller, tmp_path):
    enroller.enroll("Anna", [save(tmp_path / "a.png", person(1))])
    [again] = enroller.enroll("Anna L.", [save(tmp_path / "b.png", person(1, variant=1))])
    assert again.enrolled, "a warning, no refusal"
    assert again.looks_like is not None
    assert again.looks_like[0] == "Anna"
    assert 0.7 < again.looks_like[1] < 1
    [more] = enroller.enroll("Anna", [save(tmp_path / "c.png", person(1, variant=5))])
    [stranger] = enroller.enroll("Bob", [save(tmp_path / "d.png", person(2))])
    assert stranger.looks_like is None
    assert more.looks_like is None or more.looks_like[0] != "Anna"


def test_gates_can_be_changed(store, tmp_path):
    enroller = Enroller(store, PatchDetector(), EMBEDDER, Gates(min_size=20))
    [result] = enroller.enroll("Anna", [save(tmp_path / "small.png", person(1, side=30))])
    assert result.enrolled


def test_a_name_that_cannot_be_is_refused_before_any_photo_is_read(enroller, tmp_path):
    with pytest.raises(UserError, match="strangers"):
        enroller.enroll("unknown", [tmp_path / "missing.jpg"])


def test_photos_beside_the_folders_of_people_are_named(tmp_path, caplog):
    caplog.set_level("INFO")
    save(tmp_path / "Bob" / "a.png")
    save(tmp_path / "loose.png")
    (tmp_path / "raw.nef").touch()
    (tmp_path / "Bob" / "notes.txt").touch()
    people_folders(tmp_path)
    said = " | ".join(record.getMessage() for record in caplog.records)
    assert "1 photo beside the people's folders: loose.png" in said
    assert "raw.nef" in said
    assert "Bob: passed over 1 other file" in said


def test_a_photo_that_lacks_its_end_and_paths_as_texts_are_enrolled(enroller, tmp_path):
    path = tmp_path / "cut.bmp"
    save(tmp_path / "whole.png", person(1))
    Image.fromarray(read_image(tmp_path / "whole.png")).save(path)
    path.write_bytes(path.read_bytes()[:-2])  # of the uppermost row
    (result,) = enroller.enroll("Bob", [str(path)])
    assert result.enrolled


def test_folders_of_people(tmp_path):
    save(tmp_path / "Bob" / "deeper" / "b.png")
    save(tmp_path / "Bob" / "a.PNG")
    save(tmp_path / "Anna Lind" / "1.png")
    save(tmp_path / ".hidden" / "1.png")
    save(tmp_path / "loose.png")
    (tmp_path / "Empty").mkdir()
    found = people_folders(tmp_path)
    assert {name: [path.name for path in paths] for name, paths in found.items()} == {
        "Anna Lind": ["1.png"],
        "Bob": ["a.PNG", "b.png"],
        "Empty": [],
    }
    with pytest.raises(UserError, match="no folders with photos"):
        people_folders(tmp_path / "Bob" / "deeper")
    with pytest.raises(UserError, match="is not a folder"):
        people_folders(tmp_path / "missing")


def test_what_a_network_disk_keeps_for_itself_is_nobody(tmp_path, close_folder, caplog):
    save(tmp_path / "Hans" / "IMG.png")
    save(tmp_path / "Hans" / "@eaDir" / "IMG.png" / "SYNOPHOTO_THUMB_XL.png")
    save(tmp_path / "@eaDir" / "1.png")
    save(tmp_path / "#recycle" / "x" / "y.png")
    save(tmp_path / "Zoe" / "1.png")
    close_folder(tmp_path / "Zoe")
    closed: list[str] = []
    caplog.set_level("INFO")
    assert people_folders(tmp_path, closed) == {
        "Hans": [tmp_path / "Hans" / "IMG.png"],
        "Zoe": [],
    }
    assert closed == [str(tmp_path / "Zoe")]
    assert f"{tmp_path}: left out 2 system folders (#recycle @eaDir)" in caplog.text
    assert "Zoe: the folder cannot be read: Permission denied" in caplog.text


@pytest.mark.data
def test_real_photos_with_the_shipped_detector(store, shared_data):
    """LFW's central crops: nearly every one has one face that passes the gates."""
    from detector.inference.load import load_detector

    folders = sorted((shared_data / "lfw" / "images").iterdir())[::150]
    photos = [next(iter(sorted(folder.glob("*.jpg")))) for folder in folders]
    enroller = Enroller(store, load_detector(threads=1), EMBEDDER, force=True)  # many people
    results = enroller.enroll("Everybody", photos)
    enrolled = sum(result.enrolled for result in results)
    assert len(photos) > 15
    assert enrolled >= 0.75 * len(photos), reasons(results)
    assert read_image(photos[0]).shape == (150, 150, 3)


# -- somebody else under a known name


def test_a_photo_of_somebody_else_is_refused_under_a_known_name(store, enroller, tmp_path):
    enroller.enroll("Bob", [save(tmp_path / f"b{i}.png", person(1, variant=i)) for i in range(3)])
    other = save(tmp_path / "other.png", person(2))
    more = save(tmp_path / "more.png", person(1, variant=7))
    refused, taken = enroller.enroll("Bob", [other, more])
    assert refused.another
    assert re.fullmatch(
        r"does not look like the other photos of Bob \(-?0\.\d\d\)", refused.refusals[0]
    )
    assert taken.enrolled
    assert store.people()[0].samples == 4
    insisting = Enroller(store, PatchDetector(), EMBEDDER, force=True)
    [taken] = insisting.enroll("Bob", [other])
    assert taken.enrolled
    assert store.people()[0].samples == 5


@pytest.mark.parametrize("place", [0, 2, 4])
def test_the_wrong_photo_of_a_new_person_is_found_wherever_it_is(enroller, tmp_path, place):
    photos = [save(tmp_path / f"{i}.png", person(1, variant=i)) for i in range(4)]
    photos.insert(place, save(tmp_path / "wrong.png", person(2)))
    results = enroller.enroll("Bob", photos)
    assert [result.another for result in results] == [path.stem == "wrong" for path in photos]


def test_whom_the_other_face_looks_like_is_said(store, enroller, tmp_path):
    for number in (1, 2):
        photos = [save(tmp_path / f"{number}{i}.png", person(number, variant=i)) for i in (0, 1, 2)]
        enroller.enroll(f"P{number}", photos)
    [result] = enroller.enroll("P1", [save(tmp_path / "x.png", person(2, variant=9))])
    assert "; it looks like P2 (0." in result.refusals[0]


def test_of_two_that_are_unlike_the_first_stays(enroller, tmp_path):
    photos = [save(tmp_path / f"{i}.png", person(i)) for i in (1, 2)]
    assert [r.another for r in enroller.enroll("Bob", photos)] == [False, True]
