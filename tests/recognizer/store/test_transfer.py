"""People leave one file and arrive in another; files of strangers do no harm."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.errors import UserError
from recognizer.store import transfer
from recognizer.store.face_picture import FacePicture
from recognizer.store.people import Store
from recognizer.store.transfer import export_people, import_people
from recognizer.store.write import Change, NewSample
from recognizer.types import unit

DIMENSION = 16

before_any_database = pytest.mark.parametrize("new_place", ["sqlite"], indirect=True)
"""Files that are refused are refused by the same code whichever database they were for; that
nothing of one arrives in either is what flipped bytes show."""


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, DIMENSION)))


def picture(seed: int) -> FacePicture:
    image = np.random.default_rng(seed).integers(0, 256, (30, 30, 3), np.uint8)
    points = np.float32([[10, 10], [20, 10], [15, 16], [11, 21], [19, 21]]) if seed % 2 else None
    return FacePicture.of(image, np.array([5, 6, 25, 26], np.float32), points)


@pytest.fixture
def store(new_place):
    with Store.open(new_place("people.db"), "c", DIMENSION) as store:
        store.add("Anna", vectors(2), [picture(0), picture(1)], "photo anna.jpg")
        store.add("李", vectors(1, 1), source="photo li.jpg")
        yield store


@pytest.fixture
def other(new_place):
    with Store.open(new_place("other.db"), "c", DIMENSION) as store:
        yield store


@pytest.fixture
def file(store, tmp_path) -> Path:
    path = tmp_path / "out" / "people.zip"
    moved = export_people(store, path)
    assert (moved.people, moved.samples, moved.crops) == (2, 3, 2)
    return path


def state(store: Store) -> list[Any]:
    return [
        (
            p.name, s.embedding.tolist(), s.source, s.created,
            s.picture and (s.picture.png, s.picture.place.tolist()),
        )
        for p in store.people()
        for s in store.samples(p.name)
    ]  # fmt: skip


def test_everything_arrives(store, other, file):
    moved = import_people(other, file)
    assert (moved.people, moved.samples, moved.crops, moved.skipped) == (2, 3, 2, 0)
    assert state(other) == state(store)
    for mine, theirs in zip(store.samples("Anna"), other.samples("Anna"), strict=True):
        assert np.array_equal(mine.picture.box, theirs.picture.box)


def test_anybody_can_read_the_file(file):
    with zipfile.ZipFile(file) as archive:
        header = json.loads(archive.read("people.json"))
        array = np.load(io.BytesIO(archive.read("embeddings.npy")), allow_pickle=False)
        assert sorted(archive.namelist()) == [
            "crops/000000.png",
            "crops/000001.png",
            "embeddings.npy",
            "people.json",
        ]
    assert [person["name"] for person in header["people"]] == ["Anna", "李"]
    assert array == pytest.approx(np.concatenate([vectors(2), vectors(1, 1)]))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_only_the_owner_can_read_the_file(file):
    assert file.stat().st_mode & 0o777 == 0o600


def test_reading_a_file_twice_changes_nothing(other, file):
    import_people(other, file)
    version, before = other.version(), state(other)
    assert import_people(other, file).skipped == 3
    assert (other.version(), state(other)) == (version, before)


def test_known_people_get_the_new_samples(other, file):
    other.add("Anna", unit(vectors(2).sum(axis=0))[None])
    assert import_people(other, file).refused == 0
    assert [(p.name, p.samples) for p in other.people()] == [("Anna", 3), ("李", 1)]


def test_somebody_else_of_the_same_name_is_left_out_unless_forced(other, file, caplog):
    other.add("Anna", np.repeat(-unit(vectors(2).sum(axis=0))[None], 3, axis=0))
    moved = import_people(other, file)
    assert (moved.samples, moved.refused) == (1, 2)
    assert [(p.name, p.samples) for p in other.people()] == [("Anna", 3), ("李", 1)]
    assert "2 of 2 samples of Anna left out" in caplog.text
    assert "does not look like the other photos of Anna" in caplog.text
    moved = import_people(other, file, force=True)
    assert (moved.samples, moved.refused, moved.skipped) == (2, 0, 1)


def test_a_name_in_another_unicode_form_is_the_same_person(store, other, tmp_path):
    store.rename("Anna", "Zo\u00eb")
    path = tmp_path / "zoe.zip"
    export_people(store, path, ["Zo\u00eb"])

    def decompose(header: dict[str, Any]) -> None:
        header["people"][0]["name"] = "Zoe\u0308"

    other.add("Zo\u00eb", np.repeat(-unit(vectors(2).sum(axis=0))[None], 3, axis=0))
    bad = changed(path, **{"people.json": header_with(path, decompose)})
    assert import_people(other, bad).refused == 2


def denied(store: Store, name: str) -> list[Any]:
    return [
        (s.embedding.tolist(), s.source, s.picture and s.picture.png)
        for s in store.samples(name, denied=True)
    ]


def test_who_somebody_is_not_goes_along(store, other, tmp_path):
    wrong = [NewSample(vectors(1, 5)[0], picture(7), "live"), NewSample(vectors(1, 6)[0])]
    store.apply(Change(deny={"李": wrong}))
    path = tmp_path / "all.zip"
    assert export_people(store, path).denied == 2
    assert export_people(store, tmp_path / "anna.zip", ["Anna"]).denied == 0
    assert import_people(other, path).denied == 2
    assert denied(other, "李") == denied(store, "李")
    assert denied(other, "Anna") == []
    assert state(other) == state(store)
    again = import_people(other, path)
    assert (again.samples, again.denied) == (0, 0)
    assert len(denied(other, "李")) == 2
    # It is one act.
    other.undo()
    assert other.people() == []


def test_what_is_denied_of_somebody_else_of_the_same_name_is_left_out(store, other, tmp_path):
    store.apply(Change(deny={"李": [NewSample(vectors(1, 5)[0])]}))
    path = tmp_path / "all.zip"
    export_people(store, path)
    other.add("李", vectors(1, 77))
    assert import_people(other, path).refused == 1
    assert denied(other, "李") == []


@before_any_database
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["people"][1].update(denied=3), "denied of '李' must be a list"),
        (lambda h: h["people"][1]["denied"].append({}), "denied.npy: .*in place of"),
        (lambda h: h["people"][1]["denied"][0].update(source=5), "denied face 0 of '李': source"),
        (lambda h: h["people"][1]["denied"][0].update(box=[1, 2, 3, 4]), "denied/000000.png is"),
    ],
)
def test_a_wrong_description_of_who_somebody_is_not_is_refused(
    store, other, tmp_path, change, message
):
    store.apply(Change(deny={"李": [NewSample(vectors(1, 5)[0])]}))
    path = tmp_path / "all.zip"
    export_people(store, path)
    with pytest.raises(UserError, match=message):
        import_people(other, changed(path, **{"people.json": header_with(path, change)}))
    assert other.people() == []


def test_who_was_renamed_or_merged_since_does_not_come_back(store, tmp_path, caplog):
    store.deny("Anna", [NewSample(vectors(1, 5)[0])])
    path = tmp_path / "backup.zip"
    export_people(store, path)
    store.rename("Anna", "Bea")
    store.merge("李", "Bea")
    before = state(store)
    moved = import_people(store, path)
    assert (moved.samples, moved.skipped, moved.denied) == (0, 3, 0)
    assert state(store) == before
    assert "2 of 2 samples of Anna are here already as Bea" in caplog.text
    assert import_people(store, path, force=True).samples == 3
    assert [p.name for p in store.people()] == ["Anna", "Bea", "李"]


def test_two_spellings_of_a_name_are_one_person(store, tmp_path):
    store.rename("Anna", "Zo\u00eb")
    moved = export_people(store, tmp_path / "zoe.zip", ["Zo\u00eb", "Zoe\u0308", " Zo\u00eb"])
    assert (moved.people, moved.samples) == (1, 2)


def test_only_some_people(store, tmp_path, other):
    path = tmp_path / "some.zip"
    assert export_people(store, path, ["李", "李"]).samples == 1
    import_people(other, path)
    assert [p.name for p in other.people()] == ["李"]
    with pytest.raises(UserError, match="nobody called 'Bob'"):
        export_people(store, tmp_path / "bob.zip", ["Anna", "Bob"])
    with pytest.raises(UserError, match="knows nobody"):
        export_people(Store.open(tmp_path / "empty.db", "c", 4), tmp_path / "x.zip")
    assert not list(tmp_path.glob("*bob*"))
    assert not list(tmp_path.glob("*x.zip*"))


# -- refusals; nothing is ever stored


def changed(file: Path, **entries: bytes | None) -> Path:
    """A copy with other contents (None: without) under names with dots for slashes."""
    path = file.with_name("changed.zip")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = entries.get(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
    return path


def header_with(file: Path, change: Any) -> bytes:
    with zipfile.ZipFile(file) as archive:
        header = json.loads(archive.read("people.json"))
    change(header)
    return json.dumps(header).encode()


def npy(array: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


@before_any_database
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(contract="other"), "another embedder.*faces people reembed"),
        (lambda h: h.update(dimension=8), "another embedder"),
        (lambda h: h.update(version=2), "version 2, this program reads 1"),
        (lambda h: h.update(format="x"), "no file of `faces people export`"),
        (lambda h: h.update(people=3), "person 0 has no name"),
        (lambda h: h["people"].append("x"), "person 2 has no name"),
        (lambda h: h["people"].append(h["people"][0]), "person 2 has no name of its own"),
        (lambda h: h["people"][0].update(samples=[]), "person 0 .* no samples"),
        (lambda h: h["people"][0].update(name="An\x00na"), r"U\+0000"),
        (lambda h: h["people"][0]["samples"].append({}), "embeddings.npy: .*in place of"),
        (lambda h: h["people"][0]["samples"][0].update(source="x" * 1001), "at most 1000"),
        (lambda h: h["people"][0]["samples"][0].update(source=5), "sample 0 of 'Anna': source"),
        (lambda h: h["people"][0]["samples"][0].update(box=[1, 2]), "box must be four"),
        (lambda h: h["people"][0]["samples"][0].update(box=[1, 2, 900, 3]), "not in its picture"),
        (lambda h: h["people"][0]["samples"][0].update(box=[1, 2, float("nan"), 3]), "box must"),
        (lambda h: h["people"][0]["samples"][0].update(box=[1, 2, 10**400, 3]), "box must"),
        (lambda h: h["people"][0]["samples"][0].update(box=[1, 2, 1e300, 3]), "box must"),
        (lambda h: h["people"][0]["samples"][0].update(landmarks=[1] * 9), "landmarks must be ten"),
        (
            lambda h: h["people"][0]["samples"][0].update(landmarks=[math.nan] * 10),
            "landmarks must",
        ),
        (lambda h: h["people"][0]["samples"][0].update(source="\ud800"), "source must be a text"),
        (lambda h: h["people"][1]["samples"][0].update(box=[1, 2, 3, 4]), "000002.png is missing"),
    ],
)
def test_a_wrong_description_is_refused(other, file, change, message):
    bad = changed(file, **{"people.json": header_with(file, change)})
    with pytest.raises(UserError, match=message):
        import_people(other, bad)
    assert other.version() == 0


PICKLED = npy(np.array([{"a": 1}] * 3, object), allow_pickle=True)


@before_any_database
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("people.json", None, "people.json is missing"),
        ("people.json", b"{", "cannot be read"),
        ("people.json", b"[]", "no file of"),
        ("people.json", b"[" * 100_000, "cannot be read"),
        ("embeddings.npy", None, "embeddings.npy is missing"),
        ("embeddings.npy", b"", "embeddings.npy"),
        ("embeddings.npy", PICKLED, "embeddings.npy: object"),
        ("embeddings.npy", npy(np.zeros((3, DIMENSION), np.float32)), "have not the length 1"),
        ("embeddings.npy", npy(np.ones((3, DIMENSION))), "embeddings.npy"),
        ("embeddings.npy", npy(vectors(3))[:-4], "embeddings.npy"),
        ("embeddings.npy", npy(vectors(3)) + b"x" * 9000, "at most"),
        ("crops/000001.png", None, "000001.png is missing"),
        ("crops/000001.png", b"no picture", "000001.png: .*cannot read"),
        ("crops/000001.png", b"x" * (transfer.MAX_PNG + 1), "at most"),
    ],
)
def test_a_damaged_part_is_refused(other, file, name, content, message):
    with pytest.raises(UserError, match=message):
        import_people(other, changed(file, **{name: content}))
    assert other.version() == 0


@before_any_database
def test_what_is_no_such_file_is_refused(other, tmp_path, file):
    with pytest.raises(UserError, match="there is no file"):
        import_people(other, tmp_path / "missing.zip")
    for content in (b"", b"text" * 100, file.read_bytes()[:-60]):
        (tmp_path / "bad.zip").write_bytes(content)
        with pytest.raises(UserError, match=r"no file of `faces people export`"):
            import_people(other, tmp_path / "bad.zip")
    flipped = bytearray(file.read_bytes())
    flipped[200] ^= 255  # in a picture
    (tmp_path / "bad.zip").write_bytes(flipped)
    with pytest.raises(UserError, match="CRC"):
        import_people(other, tmp_path / "bad.zip")
    assert other.version() == 0


@pytest.mark.slow
def test_no_flipped_byte_ends_in_a_traceback(other, file):
    """Everywhere but in the pictures, of whose bytes there are many and alike."""
    content = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        first = archive.getinfo("people.json").header_offset
    bad = file.with_name("bad.zip")
    refused = 0
    for i in range(first, len(content)):
        flipped = bytearray(content)
        flipped[i] ^= 255
        bad.write_bytes(flipped)
        try:
            import_people(other, bad)
        except UserError:
            refused += 1
    assert refused > (len(content) - first) / 2


@before_any_database
def test_too_large_files_are_refused_before_they_are_read(other, file, monkeypatch):
    monkeypatch.setattr(transfer, "MAX_BYTES", 1_000)
    with pytest.raises(UserError, match="too large"):
        import_people(other, file)
    monkeypatch.undo()
    monkeypatch.setattr(transfer, "MAX_SAMPLES", 0)
    with pytest.raises(UserError, match="too large"):
        import_people(other, file)


def test_an_export_during_a_change_is_not_half_of_each(store, tmp_path, monkeypatch):
    real = Store.samples

    def samples(self: Store, name: str, **more: Any) -> Any:
        found = real(self, name, **more)
        self.add("Late", vectors(1, 5))
        return found

    monkeypatch.setattr(Store, "samples", samples)
    with pytest.raises(UserError, match="changed by another program"):
        export_people(store, tmp_path / "people.zip")
    assert not (tmp_path / "people.zip").exists()


@before_any_database
def test_a_name_that_older_releases_allowed_arrives(store, other, tmp_path):
    with store.changing() as db:
        db.execute("UPDATE person SET name = 'unknown 7' WHERE name = 'Anna'")
    export_people(store, tmp_path / "old.zip")
    assert import_people(other, tmp_path / "old.zip").people == 2
    assert [person.name for person in other.people()] == ["unknown 7", "李"]
    other.rename("unknown 7", "Anna")
