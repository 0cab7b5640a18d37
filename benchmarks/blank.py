"""What faces of which little is to be seen do to groups and galleries, with and without the check.

    faces index ../shared/data/widerface/WIDER_train/images --library lib
    python -m benchmarks.blank lib

The library must be of photos in which nobody is there twice, or only within one folder: then every
group with faces of two folders is wrong. WIDER FACE's training photos are such, but for a few
pictures that are in two of its folders.

Printed are the groups of `faces library people`, and the same if blank faces (see
`recognizer.blank`) counted as others do; then, of faces whose picture passes the gates of `faces
enroll`, in how many of all other photos' faces a person would be seen who was enrolled with it
alone. Exit code 0: no group of more than two faces spans folders.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.images.read import read_image
from pipeline.library.people import POOR, Library
from pipeline.library.schema import LibraryFaces
from pipeline.library.who.grouping import group_faces
from recognizer.blank import find_blank
from recognizer.quality import Gates, measure
from recognizer.rule import default_thresholds


def wrong(group: NDArray[np.int64], folder: NDArray[np.str_]) -> list[int]:
    """The sizes of groups whose faces lie in several folders, largest first."""
    found = []
    for number in np.flatnonzero(np.bincount(group) > 1):
        rows = group == number
        if len(np.unique(folder[rows])) > 1:
            found.append(int(rows.sum()))
    return sorted(found, reverse=True)


def enrolled(faces: LibraryFaces, bar: float, count: int) -> tuple[NDArray, NDArray]:
    """Rows of random faces whose pictures pass the gates, and the part of all faces of other photos
    that are at least as near as ``bar``."""
    side = (faces.xyxy[:, 2:] - faces.xyxy[:, :2]).max(axis=1)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(side >= Gates().min_size))
    good = []
    for row in rows[:count].tolist():
        image = read_image(Path(str(faces.path[faces.photo[row]])))
        if not Gates().refusals(measure(image, faces.xyxy[row])):
            good.append(row)
    cosines = faces.embedding[good] @ faces.embedding.T
    cosines[faces.photo[good][:, None] == faces.photo] = -1
    return np.array(good), (cosines > bar).mean(axis=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("--enroll", type=int, default=1000, help="how many faces are tried")
    options = parser.parse_args(argv)
    with Library(options.library) as library:
        faces, fingerprint = library.faces, library.manifest.embedder
    threshold = default_thresholds(fingerprint).gallery
    blank = find_blank(fingerprint, threshold)
    if blank is None:
        print(f"nothing is known of blank faces of {fingerprint}", file=sys.stderr)
        return 2
    folder = np.array([Path(str(faces.path[photo])).parent.name for photo in faces.photo])
    unseen, poor = blank(faces.embedding), faces.quality < POOR
    print(f"{len(faces):,} faces, {unseen.mean():.1%} blank, {poor.mean():.1%} of poor quality")
    sizes: list[int] = []
    for words, hard in (("quality alone", poor), ("blank ones, too", poor | unseen)):
        found = group_faces(faces.embedding, faces.photo, threshold, poor=hard).group
        sizes = wrong(found, folder)
        print(
            f"{words}: {sum(sizes)} faces in {len(sizes)} groups of several folders, of which the "
            f"largest have {', '.join(map(str, sizes[:5]))}"
        )
    rows, seen = enrolled(faces, threshold, options.enroll)
    for words, which in (("blank", unseen[rows]), ("other", ~unseen[rows])):
        if which.any():
            print(
                f"{which.sum()} {words} faces that pass the gates: somebody enrolled with one is "
                f"seen in {seen[which].mean():.3%} of other faces, at most {seen[which].max():.1%}"
            )
    return 0 if max(sizes, default=0) <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
