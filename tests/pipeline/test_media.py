"""Faces of many files: in order, overlapped, bounded, and past broken ones."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.types import Detections
from faces.images.find import IMAGE_SUFFIXES
from faces.images.read import read_image
from faces.images.write import SAVED_AS, save_image
from faces.inputs import Source, plan_pictures
from faces.video.film import VideoReader, VideoWriter
from pipeline import media
from pipeline.media import Failed, Found, detect_images, detect_video


class FakeDetector:
    """Finds one face: the box of all pure white; remembers the sizes of its batches."""

    def __init__(self, lanes: int = 1) -> None:
        self.batches: list[list[tuple[int, int]]] = []
        self.lanes = lanes

    def detect(self, image: np.ndarray) -> Detections:
        rows, columns = np.nonzero((image > 200).all(axis=2))
        size = image.shape[:2]
        if not len(rows):
            return Detections.empty(size)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections.from_raw([box], [0.9], size)

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.batches.append([image.shape[:2] for image in images])
        return [self.detect(image) for image in images]


def picture(x: int, height: int = 40, width: int = 60) -> np.ndarray:
    """Black, with a white face 8 pixels wide at ``x``; none for a negative one."""
    image = np.zeros((height, width, 3), np.uint8)
    if x >= 0:
        image[10:20, x : x + 8] = 255
    return image


@pytest.fixture
def sources(tmp_path):
    """Twenty images; number 3 is cut short, 7 is no image, 12 has no face."""
    found = []
    for i in range(20):
        path = tmp_path / f"{i:02d}.png"
        save_image(path, picture(-1 if i == 12 else i))
        found.append(Source(path, path.name))
    found[3].path.write_bytes(found[3].path.read_bytes()[:60])
    found[7].path.write_text("no image")
    return found


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_faces_come_in_order_and_broken_files_in_their_place(sources, batch_size):
    detector = FakeDetector()
    results = list(detect_images(detector, sources, batch_size))
    assert [result.source for result in results] == sources
    assert [i for i, result in enumerate(results) if isinstance(result, Failed)] == [3, 7]
    assert "03.png: cannot read the image" in results[3].reason
    for i, result in enumerate(results):
        if isinstance(result, Found):
            assert (result.image == read_image(result.source.path)).all()
            expected = [] if i == 12 else [[i, 10, i + 8, 20]]
            assert result.detections.xyxy.tolist() == expected
    assert sum(map(len, detector.batches)) == 18
    assert max(map(len, detector.batches)) <= batch_size


def test_each_core_takes_an_image_of_its_own(sources):
    class Together(FakeDetector):
        def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
            both.wait()  # broken, if it is the only one
            return super().detect_batch(images)

    both = threading.Barrier(2, timeout=20)
    detector = Together(lanes=2)
    results = list(detect_images(detector, sources))
    assert [result.source for result in results] == sources
    assert [len(batch) for batch in detector.batches] == [1] * 18
    one_after_another = list(detect_images(FakeDetector(lanes=2), sources, batch_size=3))
    for a, b in zip(results, one_after_another, strict=True):
        assert type(a) is type(b)
        if isinstance(a, Found) and isinstance(b, Found):
            assert a.detections.xyxy.tolist() == b.detections.xyxy.tolist()


def test_a_missing_file_fails_alone(sources):
    sources[0].path.unlink()
    first, second, *_ = detect_images(FakeDetector(), sources)
    assert isinstance(first, Failed)
    assert "00.png: there is no such file" in first.reason
    assert isinstance(second, Found)


def test_only_broken_files_need_no_detector(sources):
    detector = FakeDetector()
    assert all(isinstance(r, Failed) for r in detect_images(detector, [sources[3], sources[7]]))
    assert detector.batches == []


def test_decoding_goes_on_while_the_detector_works(sources, monkeypatch):
    twelfth = threading.Event()

    def noticed(path: Path) -> np.ndarray:
        if path.name == "12.png":
            twelfth.set()
        return read_image(path)

    class Waiting(FakeDetector):
        def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
            assert twelfth.wait(20), "image 12 is decoded while the first batch is looked at"
            return super().detect_batch(images)

    monkeypatch.setattr(media, "read_image", noticed)
    assert len(list(detect_images(Waiting(), sources, 2))) == 20


def test_large_pictures_do_not_pile_up(sources, monkeypatch):
    """A stage holds a few pictures, by their pixels, whatever the batch and the folder."""
    lock, decoded, held = threading.Lock(), 0, []

    def counted(path: Path) -> np.ndarray:
        nonlocal decoded
        with lock:
            decoded += 1
        return np.zeros((3000, 4000, 3), np.uint8)  # lazily zero: takes no memory

    def sizes(path: Path) -> tuple[int, int]:
        return 3000, 4000

    class Waiting(FakeDetector):
        def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
            held.append(decoded - sum(map(len, self.batches)))
            self.batches.append([image.shape[:2] for image in images])
            return [Detections.empty((3000, 4000)) for _ in images]

    monkeypatch.setattr(media, "read_image", counted)
    monkeypatch.setattr(media, "image_size", sizes)
    detector = Waiting()
    assert len(list(detect_images(detector, sources, 16))) == 20
    assert max(map(len, detector.batches)) == 2, "24 megapixels"
    assert max(held) <= 5, "two ahead, two in the batch, one between them"


def test_leaving_early_ends_the_threads(sources):
    before = threading.active_count()
    results = detect_images(FakeDetector(), sources, 2)
    next(results)
    results.close()
    assert threading.active_count() == before


# -- videos


@pytest.mark.parametrize("batch_size", [1, 4, 50])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_every_frame_of_a_video_is_looked_at_once(tmp_path, batch_size, count):
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        for i in range(count):
            writer.write(picture(4 * i))
    detector = FakeDetector()
    with VideoReader(tmp_path / "a.mp4") as video:
        results = list(detect_video(detector, video, batch_size))
        video.check_end()
    assert [frame.index for frame, _ in results] == list(range(count))
    for i, (frame, found) in enumerate(results):
        assert frame.time == pytest.approx(i / 10)
        assert np.abs(found.xyxy[0] - [4 * i, 10, 4 * i + 8, 20]).max() <= 2
    assert max(map(len, detector.batches)) == min(batch_size, count)


def test_frames_stay_in_order_when_each_core_takes_one(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        for i in range(9):
            writer.write(picture(4 * i))
    with VideoReader(tmp_path / "a.mp4") as video:
        results = list(detect_video(FakeDetector(lanes=3), video))
    assert [frame.index for frame, _ in results] == list(range(9))
    assert all(abs(found.xyxy[0][0] - 4 * frame.index) <= 2 for frame, found in results)


# -- saving


@pytest.mark.parametrize("suffix", sorted(SAVED_AS))
def test_every_kind_keeps_its_suffix(tmp_path, suffix):
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 24:] = (200, 100, 50)
    path = tmp_path / "new" / f"a{suffix.upper()}"
    save_image(path, image)
    assert np.abs(read_image(path).astype(int) - image).mean() < 4
    assert list(path.parent.iterdir()) == [path]


def test_what_is_read_and_not_written_becomes_jpeg(tmp_path):
    for suffix in sorted(IMAGE_SUFFIXES - frozenset(SAVED_AS)):
        source = Source(tmp_path / f"a{suffix}", f"a{suffix}")
        source.path.touch()
        if not source.is_video:
            assert plan_pictures([source], tmp_path / "out")[source].name == f"a{suffix}.jpg"


def test_metadata_of_the_original_is_left_behind(tmp_path):
    """A thumbnail or a place in the EXIF block would undo what --anonymize does."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 6
    Image.fromarray(picture(5)).save(tmp_path / "a.jpg", exif=exif)
    save_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (40, 60), "upright"
        assert dict(image.getexif()) == {}
        assert "exif" not in image.info
