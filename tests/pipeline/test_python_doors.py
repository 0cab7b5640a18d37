"""`faces.Gallery`, `faces.FaceAnalyzer` and `faces.stream`, beside the commands they must equal."""

from __future__ import annotations

import gc
import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

import faces
from detector.types import Detections
from pipeline.service.core import Service
from pipeline.service.operations import OPERATIONS
from pipeline.service.people import People
from pipeline.service.runtime.batching import Call
from pipeline.service.types import FacesRequest
from pipeline.service.vision import Models
from pipeline.sources.open import SourceOptions
from recognizer.store.people import Store
from scripts.main import main
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.people_photos import PatchDetector, person, photo, save


@pytest.fixture
def known(tmp_path) -> faces.Gallery:
    """Somebody in a gallery, with quick networks."""
    with faces.Gallery.open(tmp_path / "people.db", FakeEmbedder(), PatchDetector()) as gallery:
        assert gallery.add("Anna", photo(person(1)))
        yield gallery


@pytest.mark.slow
def test_three_lines_name_a_face_as_the_command_and_the_service_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut()).save("eileen.png")
    # A second look at her, and a face too weak to count, beside the first.
    wide = np.concatenate([astronaut(), astronaut()[:, ::-1]], axis=1)
    Image.fromarray(wide).save("twice.png")

    with faces.Gallery.open("people.db") as gallery:
        gallery.add("Eileen Collins", "eileen.png")
        found = faces.FaceAnalyzer(gallery=gallery)("twice.png")

    assert [face.name for face in found] == ["Eileen Collins"] * 2
    assert main(["run", "twice.png", "--json", "run.jsonl", "--no-report", "--quiet"]) == 0
    [line] = Path("run.jsonl").read_text(encoding="utf-8").splitlines()
    told = [face.to_json() for face in found]
    for face in told:  # what a frame says besides
        assert len(face.pop("embedding")) == 128
        face["agreement"] = 1.0
    assert told == json.loads(line)["faces"]

    embedder = faces.load_embedder()
    people = People(Store.open(Path("people.db"), embedder.fingerprint, embedder.dimension))
    service = Service(Models(faces.load_detector(), "shipped", embedder), people)
    try:
        call = Call(caller="test", deadline=float("inf"))
        data = [Path("twice.png").read_bytes()]
        operation = OPERATIONS["recognize"]
        answer = service.submit(operation, FacesRequest(), data, call).result()
    finally:
        service.close()
    served = answer.model_dump()["images"][0]["faces"]
    assert [face["name"] for face in served] == [face.name for face in found]
    assert [face["similarity"] for face in served] == pytest.approx(
        [face.similarity for face in found], abs=1e-5
    )


def test_a_photo_is_added_by_the_rule_of_enroll(known, tmp_path):
    assert not known.add("Anna", photo(person(1)))  # nothing new
    with pytest.raises(faces.UserError, match="no face was found"):
        known.add("Anna", photo())
    with pytest.raises(faces.UserError, match=r"two\.png: 2 faces were found"):
        known.add("Ben", save(tmp_path / "two.png", person(2), person(3)))
    with pytest.raises(faces.UserError, match="does not look like the other photos of Anna"):
        known.add("Anna", photo(person(2)))
    with pytest.raises(faces.UserError, match="size"):
        known.add("Cora", photo(person(3, side=20)))
    assert known.people == ("Anna",)
    assert known.add("Ben", str(save(tmp_path / "two.png", person(2), person(3))), largest=True)
    assert known.add("Anna", Image.fromarray(photo(person(2))), force=True)
    assert known.add("Cora", photo(person(3, side=40)), gates=None)
    assert known.people == ("Anna", "Ben", "Cora")


def test_an_embedding_is_added_by_the_same_rule(known):
    [face] = faces.FaceAnalyzer(PatchDetector(), gallery=known)(photo(person(4)))
    assert known.add("Dora", face.embedding)
    assert not known.add("Dora", face.embedding)
    with pytest.raises(faces.UserError, match="does not look like"):
        known.add("Anna", -known.snapshot().gallery.prototypes[0])
    with pytest.raises(faces.UserError, match="64"):
        known.add("Dora", face.embedding[:-1])
    with pytest.raises(faces.UserError, match="length 1"):
        known.add("Dora", 2 * face.embedding)
    with pytest.raises(faces.UserError, match="length 1"):
        known.add("Dora", np.full(64, np.nan))


def test_a_closed_gallery_says_so(known):
    analyzer = faces.FaceAnalyzer(PatchDetector(), gallery=known)
    known.close()
    for ask in (
        lambda: analyzer(photo(person(1))), lambda: known.people, lambda: known.version,
        lambda: known.add("Ben", photo(person(2))), lambda: known.remove("Anna"),
    ):  # fmt: skip
        with pytest.raises(faces.UserError, match=r"people\.db is closed: open it again"):
            ask()
    assert repr(known).endswith("people.db: closed)")
    known.close()


def test_a_kept_crop_is_in_the_file(known):
    known.add("Ben", photo(person(2)), keep_crop=True)
    assert known.store.samples("Ben")[0].picture is not None
    assert known.store.samples("Anna")[0].picture is None


def test_a_gallery_says_what_it_is(known, tmp_path):
    assert repr(known) == f"Gallery({tmp_path / 'people.db'}: 1 person)"
    assert (len(known), "Anna" in known, "Ben" in known) == (1, True, False)
    before = known.version
    known.rename("Anna", "Ann")
    assert known.version > before
    known.remove("Ann")
    assert repr(known) == f"Gallery({tmp_path / 'people.db'}: nobody)"
    with pytest.raises(faces.UserError, match="nobody called 'Ann'"):
        known.remove("Ann")


def test_the_file_is_of_one_embedder(known, tmp_path):
    with pytest.raises(faces.UserError, match="another embedder"):
        faces.Gallery.open(tmp_path / "people.db", FakeEmbedder(seed=1))
    with pytest.raises(faces.UserError, match="the gallery holds vectors of"):
        faces.FaceAnalyzer(PatchDetector(), FakeEmbedder(seed=1), known)


def test_a_gallery_without_people_is_the_next_ones_who_adds_some(tmp_path):
    path, one, other = tmp_path / "people.db", FakeEmbedder(), FakeEmbedder(seed=1)
    faces.Gallery.open(path, one).close()
    with pytest.raises(faces.UserError, match="nobody is in it yet"):
        faces.FaceAnalyzer(PatchDetector(), other, path)
    with faces.Gallery.open(path, other, PatchDetector()) as gallery:
        assert gallery.add("Anna", photo(person(1)))


def test_a_missing_gallery_is_not_made_by_looking(tmp_path):
    for look in (faces.FaceAnalyzer, lambda *networks: faces.stream(tmp_path, *networks)):
        save(tmp_path / "one.png", person(1))
        with pytest.raises(faces.UserError, match=r"there is no gallery .*none\.db"):
            look(PatchDetector(), FakeEmbedder(), tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_an_analyzer_takes_whatever_shows_a_picture(known, tmp_path):
    analyzer = faces.FaceAnalyzer(PatchDetector(), gallery=known)
    path = save(tmp_path / "both.png", person(1, variant=1), person(2))
    pixels = faces.read_image(path)
    expected = analyzer(pixels)
    assert [face.name for face in expected] == ["Anna", None]
    for image in (path, str(path), path.read_bytes(), Image.open(path)):
        assert analyzer(image) == expected
    told = [face.name for face in expected]
    batch = analyzer.analyze_batch([pixels, photo(), path])
    assert [[face.name for face in found] for found in batch] == [told, [], told]
    assert [face.box for face in batch[2]] == [face.box for face in expected]
    assert analyzer.analyze_batch([]) == []
    assert analyzer(photo()) == []
    with pytest.raises(faces.UserError, match="image 1"):
        analyzer.analyze_batch([pixels, tmp_path / "missing.png"])


def test_an_analyzer_gives_frozen_faces(known):
    [face] = faces.FaceAnalyzer(PatchDetector(), gallery=known)(photo(person(1)))
    assert face.embedding is not None
    assert np.linalg.norm(face.embedding) == pytest.approx(1)
    assert not face.embedding.flags.writeable
    with pytest.raises(AttributeError):
        face.score = 0.5


class Pointed(PatchDetector):
    """A detector with landmarks: each face's corner, five times."""

    def detect(self, image):
        found = super().detect(image)
        points = np.repeat(found.xyxy[:, None, :2], 5, axis=1)
        return Detections(found.xyxy, found.score, found.image_size, points)


def test_landmarks_are_there_if_the_detector_has_them():
    [face] = faces.FaceAnalyzer(Pointed(), FakeEmbedder())(photo(person(1)))
    assert face.landmarks.tolist() == [list(face.box[:2])] * 5
    assert len(face.to_json()["landmarks"]) == 5


def test_small_faces_are_left_out():
    tiny = photo(person(1, side=18))
    assert faces.FaceAnalyzer(PatchDetector(), FakeEmbedder())(tiny) == []
    assert len(faces.FaceAnalyzer(PatchDetector(), FakeEmbedder(), min_face=10)(tiny)) == 1


def test_what_changes_in_the_file_holds_from_the_next_call_on(known, tmp_path):
    embedder = FakeEmbedder()
    with faces.FaceAnalyzer(PatchDetector(), embedder, tmp_path / "people.db") as analyzer:
        assert analyzer(photo(person(2)))[0].name is None
        known.add("Ben", photo(person(2)))
        assert analyzer(photo(person(2)))[0].name == "Ben"


# -- streams


@pytest.fixture
def film(tmp_path) -> Path:
    """Anna stands still for 12 frames."""
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (400, 300))
    for _ in range(12):
        writer.write(np.ascontiguousarray(photo(person(1))[..., ::-1]))
    writer.release()
    return path


class Here(PatchDetector):
    """Finds a face where Anna stands: an encoder's noise is a patch, too."""

    def detect(self, image):
        return Detections([[30, 40, 110, 120]], [0.9], image.shape[:2])


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_film_gives_every_frame_with_its_people(film, known):
    with faces.stream(film, Here(), gallery=known) as frames:
        ticks = list(frames)
    assert [tick.faces.index for tick in ticks] == list(range(12))
    assert [[face.name for face in tick.faces] for tick in ticks] == [["Anna"]] * 12
    assert {len(tick.faces) for tick in ticks} == {1}
    assert repr(ticks[0]).startswith("Tick(Picture(frame 0 at 0.00 s, 400x300): Face('Anna' ")
    assert ticks[0].image.shape == ticks[0].drawn.shape == (300, 400, 3)
    assert len({face.track for tick in ticks for face in tick.faces}) == 1


@pytest.mark.slow
def test_a_stream_ends_cleanly_wherever_it_is_left(film, tmp_path, known):
    before = threads()
    networks = (Here(), FakeEmbedder(), tmp_path / "people.db")
    with faces.stream(film, *networks) as frames:
        assert next(frames).faces.index == 0
        assert repr(frames) == "Stream(film.mp4)"
    assert threads() == before
    assert list(frames) == []  # closed
    for tick in faces.stream(film, *networks):
        if tick.faces.index == 3:
            break
    gc.collect()
    assert threads() == before
    dropped = faces.stream(film, *networks)  # not even begun
    del dropped
    gc.collect()
    assert threads() == before


def test_a_live_source_gives_its_newest_frames_and_ends(film, known):
    before = threads()
    live = SourceOptions(live=True)
    with faces.stream(film, Here(), gallery=known, options=live) as frames:
        ticks = list(frames)
    assert ticks
    assert all(tick.fresh for tick in ticks)
    indices = [tick.faces.index for tick in ticks]
    assert indices == sorted(set(indices))
    assert threads() == before


def test_a_stream_names_whom_the_gallery_knows_by_then(tmp_path, known):
    for name in ("a", "b"):
        save(tmp_path / "photos" / f"{name}.png", person(2))
    with faces.stream(tmp_path / "photos", PatchDetector(), gallery=known) as frames:
        assert [face.name for face in next(frames).faces] == [None]
        known.add("Ben", photo(person(2)))
        assert [face.name for face in next(frames).faces] == ["Ben"]


def test_photos_that_cannot_be_read_are_told_at_the_end(tmp_path):
    save(tmp_path / "a.png", person(1))
    (tmp_path / "b.png").write_bytes(b"no picture")
    frames = faces.stream(tmp_path, PatchDetector(), FakeEmbedder())
    assert len(next(frames).faces) == 1
    with pytest.raises(faces.UserError, match="1 of 2 pictures"):
        next(frames)


def test_a_source_that_is_not_there_is_refused_at_once(tmp_path):
    before = threads()
    with pytest.raises(faces.UserError, match="no such file"):
        faces.stream(tmp_path / "none.mp4", PatchDetector(), FakeEmbedder())
    assert threads() == before


class Unsure(PatchDetector):
    """A face that scores less than the threshold, but enough to continue a track."""

    def detect(self, image):
        found = super().detect(image)
        return Detections(found.xyxy, found.score - 0.5, found.image_size)


def test_a_weak_detection_on_a_photo_is_no_face(tmp_path):
    path = save(tmp_path / "one.png", person(1))
    for threshold, count in ((0.5, 0), (0.3, 1)):
        [tick] = faces.stream(path, Unsure(), FakeEmbedder(), threshold=threshold)
        assert len(tick.faces) == count
