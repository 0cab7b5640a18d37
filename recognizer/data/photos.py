"""Photos in a folder per person, and where the face is in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.filenames import nfc
from faces.images.find import find_images


@dataclass(frozen=True, eq=False)
class Located:
    """Where faces of a picture are."""

    xyxy: NDArray[np.float32]  # float32 (N, 4)
    # the five points to align them by, float32 (N, 5, 2); None: they are to be looked for
    landmarks: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: NDArray[np.int64]) -> Located:
        """Those faces alone."""
        return Located(self.xyxy[rows], None if self.landmarks is None else self.landmarks[rows])


FaceFinder = Callable[[NDArray[np.uint8]], Located]
"""RGB uint8 (H, W, 3) -> the one face that is meant, or none."""

LFW_SIDE = 150
LFW_BOX = (28.0, 12.0, 123.0, 141.0)
"""The face in the central 150 x 150 pixels of LFW's deep-funneled images: the median of the boxes
that the shipped detector finds (120 images; the sides vary by 5 to 9 pixels)."""

LFW_WHOLE = 250


@dataclass(frozen=True)
class Photos:
    """Photos of people, one face each."""

    paths: tuple[Path, ...]  # the files (N,)
    names: tuple[str, ...]  # each path below the folder of people, with forward slashes, in NFC
    people: tuple[str, ...]  # who is on each

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def person(self) -> NDArray[np.int64]:
        """The number of the person on each, in the order of their sorted names."""
        return np.unique(np.array(self.people, object), return_inverse=True)[1].astype(np.int64)

    def __getitem__(self, rows: NDArray[np.int64]) -> Photos:
        """Those photos alone."""
        return Photos(
            tuple(self.paths[i] for i in rows),
            tuple(self.names[i] for i in rows),
            tuple(self.people[i] for i in rows),
        )


def of_people(paths: Sequence[Path], people: Sequence[str]) -> Photos:
    """Photos that each lie in the folder of their person."""
    names = tuple(nfc(f"{path.parent.name}/{path.name}") for path in paths)
    return Photos(tuple(paths), names, tuple(people))


def read_folders(root: Path) -> Photos:
    """A folder per person, searched recursively; the folder's name is the person's.

    Raises UserError when there is none, and for photos that lie beside the folders.
    """
    paths = find_images(root)
    relative = [path.relative_to(root) for path in paths]
    loose = [path for path in relative if len(path.parts) == 1]
    if loose or not paths:
        found = f"{root / loose[0]} lies beside them" if loose else "there is no image"
        raise UserError(f"{root}: expected a folder for each person with photos in it; {found}")
    names = tuple(nfc(path.as_posix()) for path in relative)
    return Photos(tuple(paths), names, tuple(nfc(path.parts[0]) for path in relative))


def read_strangers(root: Path) -> Photos:
    """Photos of which each shows somebody else, for the false match rate alone.

    A person has the photo's name, with and without the folder's: labels may use either. Raises
    UserError when there is none.
    """
    paths = find_images(root)
    if not paths:
        raise UserError(f"{root}: there is no image")
    names = tuple(nfc(path.relative_to(root).as_posix()) for path in paths)
    return Photos(tuple(paths), names, tuple(f"{nfc(root.resolve().name)}/{n}" for n in names))


def limit(person: NDArray[np.int64], most: int, seed: int = 0) -> NDArray[np.int64]:
    """Positions of at most about ``most`` photos, whole people drawn until it is reached.

    Args:
        person: number of the person on each photo (N,).
    """
    if len(person) <= most:
        return np.arange(len(person))
    people, counts = np.unique(person, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(people))
    count = int(np.searchsorted(np.cumsum(counts[order]), most, "right"))
    return np.flatnonzero(np.isin(person, people[order[: max(2, count)]]))


def center_box(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where the face is in LFW's images, float32 (1, 4), without a detector.

    Images of 250 x 250 pixels are taken as LFW's whole ones, all others as its central part at any
    scale.
    """
    height, width = image.shape[:2]
    box = np.array(LFW_BOX, np.float32)
    if (height, width) == (LFW_WHOLE, LFW_WHOLE):
        return (box + np.float32((LFW_WHOLE - LFW_SIDE) / 2))[None]
    return (box * (np.array([width, height] * 2, np.float32) / np.float32(LFW_SIDE)))[None]


def center_face(image: NDArray[np.uint8]) -> Located:
    """`center_box` as a `FaceFinder`."""
    return Located(center_box(image))


def bordered(find: FaceFinder, border: float) -> FaceFinder:
    """Look for the face with black around the photo, as a part of its longer side.

    A detector does not find a face that fills the photo.
    """

    def look(image: NDArray[np.uint8]) -> Located:
        rim = round(border * max(image.shape[:2]))
        found = find(np.pad(image, ((rim, rim), (rim, rim), (0, 0))))
        points = None if found.landmarks is None else found.landmarks - np.float32(rim)
        return Located(found.xyxy - np.float32(rim), points)

    return look if border else find


def main_face(xyxy: NDArray[np.float32], height: int, width: int) -> NDArray[np.int64]:
    """Of several faces (N, 4) the position of the one a photo is of, (1,); (0,) of none.

    Large and central: the area less twice the squared distance from the middle of the photo, as in
    `model_zoo/scrfd.py` of https://github.com/deepinsight/insightface.
    """
    if not len(xyxy):
        return np.zeros(0, np.int64)
    area = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2 - np.array([width, height], np.float32) / 2
    return np.array([np.argmax(area - 2 * (middle**2).sum(axis=1))])
