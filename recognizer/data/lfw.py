"""Labeled Faces in the Wild: its folders, its pairs and its folds.

    ROOT/pairs.txt
    ROOT/images/Abel_Pacheco/Abel_Pacheco_0001.jpg

Huang et al., "Labeled Faces in the Wild", UMass Amherst 2007. `pairs.txt` begins with the number of
folds and the number of pairs of each kind in a fold (or with the second number alone: one fold);
then for each fold come the matched pairs (name, number, number) and the mismatched ones (name,
number, name, number). Any data set in this layout can be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from faces.files import read_lines
from recognizer.types import frozen

SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, eq=False)
class Lfw:
    """Pairs of images, each of one person or of two."""

    images: tuple[Path, ...]  # every image that a pair names, once, sorted
    people: tuple[str, ...]  # who is on it, one for each image
    # first, second: positions in ``images``, int64 (P,)
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]  # whether both show one person, bool (P,)
    fold: NDArray[np.int64]  # number of the pair's fold from 1 on, int64 (P,)

    def __post_init__(self) -> None:
        for name, dtype in (
            ("first", np.int64), ("second", np.int64), ("same", np.bool_), ("fold", np.int64),
        ):  # fmt: skip
            object.__setattr__(self, name, frozen(getattr(self, name), dtype))

    def __len__(self) -> int:
        return len(self.same)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds' numbers, ascending."""
        return tuple(int(number) for number in np.unique(self.fold))

    def of_folds(self, *numbers: int) -> Lfw:
        """The pairs of these folds and the images that they name.

        Raises UserError for a fold that is not there.
        """
        for number in numbers:
            if number not in self.folds:
                raise UserError(
                    f"there is no fold {number}, only {', '.join(map(str, self.folds))}"
                )
        chosen = np.isin(self.fold, numbers)
        used = np.union1d(self.first[chosen], self.second[chosen])
        return Lfw(
            tuple(self.images[i] for i in used),
            tuple(self.people[i] for i in used),
            np.searchsorted(used, self.first[chosen]),
            np.searchsorted(used, self.second[chosen]),
            self.same[chosen],
            self.fold[chosen],
        )

    def cosines(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of each pair, float32 (P,), from unit vectors (len(images), D)."""
        if len(embeddings) != len(self.images):
            raise ValueError(f"{len(embeddings)} vectors for {len(self.images)} images")
        product = np.einsum("ij,ij->i", embeddings[self.first], embeddings[self.second])
        return np.clip(product, -1, 1)


def read_lfw(root: Path, pairs: Path | None = None) -> Lfw:
    """Read the pairs and find their images.

    Args:
        root: holds a folder per person, or the folder ``images`` that does.
        pairs: the list; None takes ``root/pairs.txt``.

    Raises UserError for a list that cannot be read, a bad line, or an image that is missing.
    """
    pairs = root / "pairs.txt" if pairs is None else pairs
    folder = root / "images" if (root / "images").is_dir() else root
    lines = _lines(pairs)
    folds, count = _header(lines[0], pairs)
    expected = 1 + 2 * folds * count
    if len(lines) != expected:
        raise UserError(
            f"{pairs}: its first line promises {expected - 1} pairs, there are {len(lines) - 1}"
        )
    faces = [_faces(line, pairs, number) for number, line in enumerate(lines[1:], 2)]
    keys = sorted({key for pair in faces for key in pair})
    position = {key: i for i, key in enumerate(keys)}
    row = np.arange(len(faces))
    same = row % (2 * count) < count
    for number, (pair, alike) in enumerate(zip(faces, same, strict=True), 2):
        if (pair[0][0] == pair[1][0]) != alike:
            kind = "matched" if alike else "mismatched"
            raise UserError(f"{pairs}, line {number}: this place is for a {kind} pair")
    return Lfw(
        tuple(find_face(folder, *key) for key in keys),
        tuple(name for name, _ in keys),
        np.array([position[a] for a, _ in faces], np.int64),
        np.array([position[b] for _, b in faces], np.int64),
        same,
        row // (2 * count) + 1,
    )


def find_face(folder: Path, person: str, number: int) -> Path:
    """A person's image of that number. Raises UserError when it is missing."""
    stem = folder / person / f"{person}_{number:04d}"
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    raise UserError(f"there is no image {stem}{SUFFIXES[0]}: is {folder} the folder of the people?")


def _lines(path: Path) -> list[str]:
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty; its first line must say how many folds and pairs follow")
    return lines


def _header(line: str, path: Path) -> tuple[int, int]:
    numbers = line.split()
    if not 1 <= len(numbers) <= 2 or not all(n.isdecimal() and int(n) for n in numbers):
        raise UserError(
            f"{path}, line 1: expected the number of folds and of pairs, such as '10 300', "
            f"not {line.strip()!r}"
        )
    return (int(numbers[0]) if len(numbers) == 2 else 1), int(numbers[-1])


def _faces(line: str, path: Path, number: int) -> tuple[tuple[str, int], tuple[str, int]]:
    words = line.split("\t") if "\t" in line else line.split()
    places = {3: (0, 1, 0, 2), 4: (0, 1, 2, 3)}.get(len(words))
    if places is None or not all(words[i].strip().isdecimal() for i in (places[1], places[3])):
        raise UserError(
            f"{path}, line {number}: expected 'name number number' or 'name number name number', "
            f"not {line.strip()!r}"
        )
    a, i, b, j = (words[place].strip() for place in places)
    return (a, int(i)), (b, int(j))
