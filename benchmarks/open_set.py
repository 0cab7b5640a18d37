"""Who is named, and who stays unknown: the hybrid rule on LFW, bare and behind drawn masks.

    python -m benchmarks.open_set --lfw ../shared/data/lfw --folds 6
    python -m benchmarks.open_set --lfw ../shared/data/lfw --folds 1 2 3 4 5 --enrolled 50x3 20x6
    python -m benchmarks.open_set --lfw ../shared/data/lfw --mask-photos --detector shipped

Some people are enrolled with some photos, their other photos are probes, and everybody else is a
stranger who must stay unknown. Means of five draws of who is enrolled; the thresholds are the
embedder's own. The first table: what a head gains when it is taught with varied copies of the
photos, and with copies that wear masks. The second: the rule over its thresholds ("strangers named"
is the FPIR, 100 % less "own name" the FNIR of ISO/IEC 19795-1), with the head of masked copies.

Masks are drawn by the code that draws those of the training, with other seeds: nobody's name is
known for photos of real masked faces here (Face Mask Detection has boxes, no names). They are
drawn on crops that are aligned as the bare face is; with ``--mask-photos`` on the photos, and the
face is looked for and aligned with the mask, as a camera would. Faces are where LFW has them, and
aligned by O-Net; with ``--detector`` both come from a detector with five points.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from detector.inference.load import load_detector
from detector.shipped import find_model
from faces.files import atomic_write_text
from faces.images.masks import draw_mask
from faces.images.read import read_image
from faces.text import text_table
from pipeline.enroll.photo_faces import crop_photos, face_finder
from recognizer.data.lfw import read_lfw
from recognizer.data.photos import center_box, main_face
from recognizer.embedders.load import load_embedder
from recognizer.evaluation.identification import operating_point
from recognizer.landmarks import LandmarkNet
from recognizer.rule import Thresholds, default_thresholds
from recognizer.snapshot import Snapshot
from recognizer.training.augment import STRONG, Augmentation
from recognizer.training.background import draw_background
from recognizer.training.fit import fit_head
from recognizer.training.head_samples import (
    Samples,
    embed_all,
    geometry,
    samples_of_crops,
    stack,
    vary,
    with_copies,
    without_masks,
)
from recognizer.types import Embedder

HEADS = ("no head", "photos", "copies", "masked copies")
GALLERY_BARS = (0.35, 0.40, 0.45, 0.50, 0.55, 0.60)
HEAD_BARS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PROBE_SEED = 90_001  # far from those of the copies, which are drawn from 0 on


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos of many people, embedded as they are and behind a drawn mask."""

    people: NDArray[np.str_]  # who is on each (N,)
    crops: NDArray[np.uint8]  # uint8 (N, S, S, 3)
    # bare, masked: unit vectors float32 (N, D)
    bare: NDArray[np.float32]
    masked: NDArray[np.float32]


Cut = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Photo -> the crop of its face, (1, S, S, 3); (0, S, S, 3) where none is found."""


def read_photos(
    root: Path,
    folds: Sequence[int],
    embedder: Embedder,
    cache: Path | None = None,
    detector: Path | None = None,
    mask_photos: bool = False,
) -> Photos:
    """The photos of LFW's folds.

    Args:
        root, folds, embedder: which photos, and what describes their faces.
        cache: keeps the crops that are made without a detector.
        detector: what finds the faces and the points to align them by; None is LFW's place, O-Net.
        mask_photos: draw masks on the photos, not on the crops. A face that is not found behind one
            has a vector of zeros, which is like nobody's.
    """
    lfw = read_lfw(root).of_folds(*folds)
    people, cut = np.array(lfw.people), _cutter(detector, embedder)
    if detector is None:
        find, recipe = face_finder("center", None, 1)
        crops, usable, _ = crop_photos(lfw.images, embedder, find, recipe, cache)
    else:
        cuts = [cut(read_image(path)) for path in tqdm(lfw.images, desc="photos", disable=None)]
        usable = np.array([len(one) > 0 for one in cuts])
        crops = stack([one[0] for one in cuts if len(one)], embedder.size)
    bare = embed_all(embedder, crops)
    if not mask_photos:
        masked = vary(crops, Augmentation(flip=0, mask=1), PROBE_SEED, geometry(embedder))
        return Photos(people[usable], crops, bare, embed_all(embedder, masked))
    behind = np.zeros_like(bare)
    points = LandmarkNet(threads=1)
    for i, which in enumerate(tqdm(np.flatnonzero(usable), desc="masks", disable=None)):
        photo = read_image(lfw.images[which])
        (five,), _ = points(photo, center_box(photo))
        masked = cut(draw_mask(photo, np.random.default_rng((PROBE_SEED, int(which))), five))
        if len(masked):
            behind[i] = embedder.embed(masked)[0]
    return Photos(people[usable], crops, bare, behind)


def _cutter(path: Path | None, embedder: Embedder) -> Cut:
    """A photo's main face, aligned by the detector's points; None is LFW's place and O-Net."""
    if path is None:
        return lambda image: embedder.crop(image, center_box(image))
    detector = load_detector(find_model(path), threads=1)

    def cut(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        found = detector.detect(image)
        if found.landmarks is None:
            raise SystemExit(f"{path} finds no points")
        row = main_face(found.xyxy, *image.shape[:2])
        return embedder.crop(image, found.xyxy[row], found.landmarks[row])

    return cut


@dataclass(frozen=True, eq=False)
class Draw:
    """Who is enrolled with which photos, and who is not."""

    # enroll, mated, strangers: positions of photos, int64
    enroll: NDArray[np.int64]
    mated: NDArray[np.int64]
    strangers: NDArray[np.int64]


def draw(people: NDArray[np.str_], enrolled: int, photos: int, seed: int) -> Draw:
    """That many of those who have more photos than that, at random; the rest are strangers."""
    rng = np.random.default_rng((seed, enrolled, photos))
    names, counts = np.unique(people, return_counts=True)
    enough = names[counts > photos]
    if len(enough) < enrolled:
        raise SystemExit(f"only {len(enough)} people have more than {photos} photos")
    parts: tuple[list[int], list[int]] = ([], [])
    chosen = rng.choice(enough, enrolled, replace=False)
    for name in chosen:
        rows = rng.permutation(np.flatnonzero(people == name))
        parts[0].extend(rows[:photos].tolist())
        parts[1].extend(rows[photos:].tolist())
    return Draw(np.array(parts[0]), np.array(parts[1]), np.flatnonzero(~np.isin(people, chosen)))


def snapshots(
    photos: Photos, drawn: Draw, embedder: Embedder, heads: Sequence[str] = HEADS, seed: int = 0
) -> dict[str, Snapshot]:
    """The rule without a head, and with heads taught as `faces fit` teaches them, by `HEADS`."""
    names = tuple(str(name) for name in photos.people[drawn.enroll])
    samples: Samples = samples_of_crops(names, photos.crops[drawn.enroll], embedder)
    thresholds = default_thresholds(embedder.fingerprint)
    found = {}
    for kind in heads:
        how = STRONG if kind == "masked copies" else without_masks(STRONG)
        copies = 6 if "copies" in kind else 0
        gallery, numbers = with_copies(samples, embedder, how, copies, seed * 10 + 1)
        head = None
        if kind != "no head":
            strangers = draw_background(gallery, masked=kind == "masked copies", seed=seed)
            head = fit_head(gallery, strangers, photos=numbers)
        # As in the store: copies are for the head, the prototypes are of the photos themselves.
        known, _ = with_copies(samples, embedder, how, 0)
        found[kind] = Snapshot(known, head, thresholds)
    return found


def rates(
    snapshot: Snapshot, photos: Photos, drawn: Draw, masked: bool = False
) -> dict[str, float]:
    """``known``: share of mated probes with their name; ``wrong``: with another; ``fpir``."""
    vectors = photos.masked if masked else photos.bare
    probes = np.concatenate([drawn.mated, drawn.strangers])
    row = {name: i for i, name in enumerate(snapshot.gallery.people)}
    truth = np.array([row.get(str(name), -1) for name in photos.people[probes]])
    given = snapshot.identify(vectors[probes])
    named = np.array([-1 if match.name is None else row[match.name] for match in given])
    point = operating_point(truth, named, [match.source for match in given])
    return {"known": 1 - point["fnir"], "wrong": point["misidentified"], "fpir": point["fpir"]}


def mean(lines: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {key: float(np.mean([line[key] for line in lines])) for key in lines[0]}


def with_bars(snapshot: Snapshot, head: float | None, gallery: float | None) -> Snapshot:
    """The same people under other thresholds."""
    own = snapshot.thresholds
    bars = Thresholds(
        own.head if head is None else head, own.gallery if gallery is None else gallery
    )
    return Snapshot(snapshot.gallery, snapshot.head, bars)


def measure(
    photos: Photos, enrolled: int, count: int, embedder: Embedder, draws: int
) -> dict[str, Any]:
    """All figures for so many people with ``count`` photos each, means over the draws."""
    gains: dict[str, list[dict[str, float]]] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    sizes = []
    for seed in range(draws):
        drawn = draw(photos.people, enrolled, count, seed)
        sizes.append({"probes": float(len(drawn.mated)), "strangers": float(len(drawn.strangers))})
        made = snapshots(photos, drawn, embedder, seed=seed)
        for kind, snapshot in made.items():
            for masked in (False, True):
                figures = rates(snapshot, photos, drawn, masked)
                gains.setdefault(f"{kind}, {'masked' if masked else 'bare'}", []).append(figures)
        taught, plain = made["masked copies"], made["no head"]
        own = plain.thresholds
        for bar in sorted({*GALLERY_BARS, own.gallery}):
            for kind, snapshot in (("no head", plain), ("head", taught)):
                figures = rates(with_bars(snapshot, None, bar), photos, drawn)
                curves.setdefault(f"gallery {bar:.3f}, {kind}", []).append(figures)
        for bar in sorted({*HEAD_BARS, own.head}):
            figures = rates(with_bars(taught, bar, None), photos, drawn)
            curves.setdefault(f"head {bar:.2f}", []).append(figures)
    return {
        "people": enrolled,
        "photos": count,
        "draws": draws,
        **mean(sizes),
        "gain": {key: mean(lines) for key, lines in gains.items()},
        "curve": {key: mean(lines) for key, lines in curves.items()},
    }


def table(figures: dict[str, dict[str, float]]) -> str:
    """Percentages, a line for each way."""
    rows = [
        [name, *(f"{100 * line[key]:.1f}" for key in ("known", "wrong", "fpir"))]
        for name, line in figures.items()
    ]
    return "\n".join(text_table(["%", "own name", "wrong name", "strangers named"], rows))


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lfw", type=Path, default=Path("../shared/data/lfw"))
    parser.add_argument("--folds", type=int, nargs="+", default=[6])
    parser.add_argument("--embedder", default="mini")
    parser.add_argument("--enrolled", nargs="+", default=["40x3"], help="PEOPLExPHOTOS")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="a file that keeps the crops: they are faces")
    parser.add_argument("--detector", type=Path, help="align by its points; shipped, or a file")
    parser.add_argument("--mask-photos", action="store_true", help="draw masks before aligning")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    arguments = parser.parse_args()
    embedder = load_embedder(arguments.embedder, threads=1)
    photos = read_photos(
        arguments.lfw,
        arguments.folds,
        embedder,
        arguments.cache,
        arguments.detector,
        arguments.mask_photos,
    )
    print(f"{len(photos.people)} photos; behind a mask {int((~photos.masked.any(1)).sum())} unseen")
    results = []
    for words in tqdm(arguments.enrolled, desc="sizes", disable=None):
        people, count = (int(word) for word in words.split("x"))
        found = measure(photos, people, count, embedder, arguments.draws)
        results.append(found)
        print(
            f"{people} people with {count} photos, {found['probes']:.0f} probes of them, "
            f"{found['strangers']:.0f} of strangers; mean of {arguments.draws} draws\n"
            f"{table(found['gain'])}\n{table(found['curve'])}\n",
            flush=True,
        )
    if arguments.out is not None:
        atomic_write_text(arguments.out, json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
