"""Faces cut and shown to the teacher once, kept in a folder, read as if they were one array.

Photos are done in parts of a thousand. A part that is there is never made again, so whoever stops
it loses minutes; a photo that changes makes its part again. The folder holds faces, which are
personal data as the photos are: whoever deletes the photos deletes it too.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import atomic_write, refuse_pipe
from faces.images.read import read_image
from recognizer.crop import CropRecipe, LandmarkFinder, align_matrix, box_matrix, warp
from recognizer.data.photos import FaceFinder, Located
from recognizer.landmarks import found_before
from recognizer.types import unit

log = logging.getLogger(__name__)

RIM = 16
"""Pixels of surroundings on each side of a crop, so that it can be shifted and turned."""

PART = 1000  # photos in a file
AT_ONCE = 8  # crops that go through the teacher together: more leave the processor's cache

Teach = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Crops uint8 (N, S, S, 3) -> the teacher's unit vectors float32 (N, D)."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo to learn from."""

    path: Path
    # boxes of its faces, float32 (N, 4); None when the main one is still to be found
    xyxy: NDArray[np.float32] | None = None
    person: str | None = None  # who is on it; None when nobody knows


@dataclass(frozen=True, eq=False)
class Maker:
    """Cuts faces and asks the teacher."""

    recipe: CropRecipe  # by which crops are cut
    teach: Teach  # the teacher
    find_face: FaceFinder  # which face of a photo without boxes is meant
    find_landmarks: LandmarkFinder | None = None  # for an aligned recipe

    def cut(self, photo: Photo) -> NDArray[np.uint8]:
        """Its faces with a rim, uint8 (N, S + 2 RIM, S + 2 RIM, 3); N is 0 where none is sure."""
        image = read_image(photo.path)
        found = self.find_face(image) if photo.xyxy is None else Located(photo.xyxy)
        size, side = self.recipe.size, self.recipe.size + 2 * RIM
        if self.recipe.kind != "aligned":
            matrices = [box_matrix(box, size, self.recipe.margin) for box in found.xyxy]
        else:
            find = self.find_landmarks
            if found.landmarks is not None:
                find = found_before(found.landmarks)
            if find is None:
                raise ValueError("an aligned crop needs landmarks")
            points, trusted = find(image, found.xyxy)
            matrices = [align_matrix(points[i], size) for i in np.flatnonzero(trusted)]
        faces = np.zeros((len(matrices), side, side, 3), np.uint8)
        for face, matrix in zip(faces, matrices, strict=True):
            matrix[:, 2] += RIM
            face[:] = warp(image, matrix, side)
        return faces

    def vectors(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the teacher says of faces with a rim: the mean of both mirror images, (N, D)."""
        found = []
        for start in range(0, len(faces), AT_ONCE):
            inner = np.ascontiguousarray(faces[start : start + AT_ONCE, RIM:-RIM, RIM:-RIM])
            found.append(self.teach(inner) + self.teach(np.ascontiguousarray(inner[:, :, ::-1])))
        return unit(np.concatenate(found))


class Faces:
    """All faces, read from the disk when they are asked for; the files go through pickle, not they.

    Args:
        files: of the parts, uint8 (n, S + 2 RIM, S + 2 RIM, 3) each.
        vectors: the teacher's, float32 (N, D).
        photo: the photo of each face, a position in the list that was given, int64 (N,).
    """

    def __init__(
        self, files: Sequence[Path], vectors: NDArray[np.float32], photo: NDArray[np.int64]
    ) -> None:
        self.files, self.vectors, self.photo = tuple(files), vectors, photo
        self._parts = [np.load(file, mmap_mode="r", allow_pickle=False) for file in self.files]
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __reduce__(self) -> tuple[Any, ...]:
        return Faces, (self.files, self.vectors, self.photo)

    def __len__(self) -> int:
        return len(self.photo)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        part = int(np.searchsorted(self._ends, row, "right"))
        return np.array(self._parts[part][row - int(self._ends[part])])


def collect(
    photos: Sequence[Photo],
    folder: Path,
    identity: str,
    open_maker: Callable[[], Maker],
    workers: int = 0,
    progress: Callable[[int], object] = lambda count: None,
) -> Faces:
    """The faces of all photos: read from ``folder``, and made where they are not there yet.

    Args:
        identity: everything that decides about a face and its vector besides the photo.
        open_maker: called in each process that makes some; it must go through pickle.
        workers: processes beside this one; 0 makes them here.
        progress: called with the number of photos done since the last call.

    Photos that cannot be read are named in the log and left out. Raises UserError when a photo is
    missing, or there is no face at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [photos[i : i + PART] for i in range(0, len(photos), PART)]
    files = [folder / f"{_key(part, identity)}.npz" for part in parts]
    missing = []
    for part, file in zip(parts, files, strict=True):
        if file.is_file():
            progress(len(part))
        else:
            missing.append((part, file))
    for count in _make_all(missing, open_maker, workers):
        progress(count)
    vectors, places = [], []
    for number, file in enumerate(files):
        found, photo, refusals = _read(file)
        for refusal in refusals:
            log.warning("left out: %s", refusal)
        if len(found):
            vectors.append(found)
            places.append(photo + number * PART)
    if not vectors:
        raise UserError("there is no face to learn from")
    arrays = [file.with_suffix(".npy") for file in files]
    return Faces(arrays, np.concatenate(vectors), np.concatenate(places))


def _key(part: Sequence[Photo], identity: str) -> str:
    digest = hashlib.sha256(identity.encode())
    for photo in part:
        refuse_pipe(photo.path)
        try:
            stat = photo.path.stat()
        except OSError as error:
            raise UserError(f"{photo.path}: cannot be read: {error.strerror}") from error
        digest.update(f"\0{photo.path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
        if photo.xyxy is not None:
            digest.update(np.asarray(photo.xyxy, np.float32).tobytes())
    return digest.hexdigest()[:24]


def _read(file: Path) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """Vectors, photos and refusals of a part."""
    try:
        with np.load(file, allow_pickle=False) as content:
            return content["vectors"], content["photo"], [str(text) for text in content["refused"]]
    except Exception as error:  # zip, NumPy and the system have many kinds
        raise UserError(f"{file} is damaged ({error}): delete it, it is made again") from error


def _make(part: Sequence[Photo], file: Path, maker: Maker) -> int:
    faces, places, refused = [], [], []
    for place, photo in enumerate(part):
        try:
            cut = maker.cut(photo)
        except UserError as error:
            refused.append(str(error))
            continue
        faces += list(cut)
        places += [place] * len(cut)
    side = maker.recipe.size + 2 * RIM
    stacked = np.stack(faces) if faces else np.zeros((0, side, side, 3), np.uint8)
    vectors = maker.vectors(stacked) if faces else np.zeros((0, 0), np.float32)
    with atomic_write(file.with_suffix(".npy")) as out:
        np.save(out, stacked, allow_pickle=False)
    with atomic_write(file) as out:  # last: it says that the part is whole
        np.savez(
            out, vectors=vectors, photo=np.array(places, np.int64), refused=np.array(refused, "U")
        )
    return len(part)


_maker: Maker | None = None  # of a worker process, whose only job it is


@contextmanager
def processes(
    count: int, start: Callable[..., None], *arguments: object
) -> Iterator[ProcessPoolExecutor]:
    """New processes that begin with ``start``; what waits is dropped when the block is left."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, spawn, start, arguments) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """Ctrl-C is for the process that trains, and OpenCV takes no other processor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _start(open_maker: Callable[[], Maker]) -> None:
    global _maker
    start_worker()
    _maker = open_maker()


def _work(part: Sequence[Photo], file: Path) -> int:
    assert _maker is not None
    return _make(part, file, _maker)


def _make_all(
    missing: Sequence[tuple[Sequence[Photo], Path]], open_maker: Callable[[], Maker], workers: int
) -> Iterator[int]:
    if not missing:
        return
    if not workers:
        maker = open_maker()
        for part, file in missing:
            yield _make(part, file, maker)
        return
    with processes(workers, _start, open_maker) as pool:
        for future in [pool.submit(_work, part, file) for part, file in missing]:
            yield future.result()
