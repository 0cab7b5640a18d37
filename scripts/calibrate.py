"""`faces calibrate`: measure from when on a face is somebody, and store it with the people.

With a checkpoint of a detector: from which score on something is a face, stored in the checkpoint.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from faces.errors import UserError
from faces.words import counted
from scripts.calibrate_detector import ScoreOptions, calibrate_detector
from scripts.options.command_line import log_to_stderr, parse
from scripts.options.recognizer import EmbedderOptions, GalleryOptions, open_embedder, open_store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recognizer.calibrate import Calibration, HeadCalibration
    from recognizer.evaluation.lfw import Lfw
    from recognizer.evaluation.photos import Photos
    from recognizer.snapshot import Thresholds
    from recognizer.types import Embedder

logger = logging.getLogger(__name__)

DESCRIPTION = """Measure from when on two faces count as one person, so that at most a wanted share
of pairs of two people is taken for one (false match rate, FMR), and store the thresholds with the
enrolled people. Use photos of people that neither the network has learned from nor you enrol.

With MODEL.pt: measure from which score on a detector's boxes count as faces, so that there are at
most a wanted number of false positives a picture, and store it in the checkpoint: that score is
called 0.5 then, the default threshold everywhere. The order of the scores, and so the average
precision, stays. Use annotated pictures that it was not trained on."""

EXAMPLES = """\
faces calibrate --folders crowd
faces calibrate --lfw ../shared/data/lfw --folds 6 --fmr 0.001
faces calibrate --folders crowd --pairs pairs.txt --fmr 0.01 --gallery team.db
faces calibrate --lfw lfw --folds 6 --defaults recognizer/weights
faces calibrate runs/fpn/best.pt --image-path val/images --annotation-dir val/annotations
faces calibrate shipped --image-path images --annotation-dir annotations --out mine.pt"""


def _arg(default: str, **settings: Any) -> Any:
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})", **settings)


@dataclass(frozen=True)
class Options:
    """What to measure on, and where to keep the result."""

    model: tyro.conf.Positional[Annotated[Path | None, _arg("none", metavar="MODEL.pt")]] = None
    """Calibrate this detector instead of the recognition of people; `shipped` is the one that comes
    with the project."""
    folders: Annotated[Path | None, _arg("none", metavar="DIR")] = None
    """A folder with a folder of photos per person; every photo is compared with every other."""
    lfw: Annotated[Path | None, _arg("none", metavar="DIR")] = None
    """Or: a data set in the layout of LFW, of which the photos in pairs.txt are compared, every one
    with every other."""
    pairs: Annotated[Path | None, _arg("all pairs", metavar="FILE")] = None
    """Compare only these pairs of --folders or --lfw; in the format of LFW's pairs.txt."""
    folds: Annotated[tuple[int, ...], _arg("all", metavar="N [N ...]")] = ()
    """Of the listed pairs, only these folds: those that the network was not trained on."""
    fmr: float = 1e-3
    """Wanted share of pairs of two people that are taken for one, in one comparison. Who is
    compared with 20 people has 20 chances."""
    boxes: Annotated[
        Literal["detect", "centre"] | None, _arg("center for --lfw, detect for --folders")
    ] = None
    """Where the face is on the photos: found, or `center` for images like LFW's."""
    detector: Annotated[Path | None, _arg("shipped", metavar="FILE")] = None
    """What finds faces on photos."""
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    defaults: Annotated[Path | None, _arg("none", metavar="DIR")] = None
    """For maintainers: write the thresholds into DIR/thresholds.json, and how strangers are spread
    into DIR/strangers.npz, as what holds for this embedder where nothing else was measured."""
    cache: Annotated[Path | None, _arg("none", metavar="DIR")] = None
    """Folder that keeps the photos' vectors for the next time. They are personal data."""
    threads: Annotated[int | None, _arg("left to the runtime")] = None
    """CPU threads of the detector."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        """Raises UserError for flags that do not go together."""
        listed = self.lfw is not None or self.pairs is not None
        people, scores = self.model is None, self.scores
        of_detector = (scores.image_path, scores.annotation_dir, scores.out)
        rules = [
            (
                people or (self.folders, self.lfw, self.pairs) == (None, None, None),
                "give MODEL.pt, or --folders DIR or --lfw DIR, not both",
            ),
            (
                not people or of_detector == (None, None, None),
                "--image-path, --annotation-dir and --out need a detector's MODEL.pt",
            ),
            (
                not people or (self.folders is None) != (self.lfw is None),
                "give --folders DIR or --lfw DIR, or a detector's MODEL.pt",
            ),
            (0 < self.fmr < 1, f"--fmr must be between 0 and 1, got {self.fmr:g}"),
            (listed or not self.folds, "--folds needs --lfw DIR, or --pairs FILE"),
            (self.threads is None or self.threads >= 1, "--threads must be at least 1"),
        ]
        for fine, message in rules:
            if not fine:
                raise UserError(message)


def main(argv: Sequence[str]) -> int:
    """Parse, embed, measure, store, say what was found."""
    options: Options = parse(
        Options, argv, prog="faces calibrate", description=DESCRIPTION, examples=EXAMPLES
    )
    log_to_stderr(options.quiet)
    if options.model is not None:
        calibrate_detector(options.model, options.scores, options.threads, options.quiet)
        return 0
    from recognizer.calibrate import calibrate_head, calibrate_pairs, calibrate_people
    from recognizer.evaluation.embedding import embed_photos
    from recognizer.snapshot import Thresholds

    photos, listed = read_photos(options)
    embedder = open_embedder(options.embedding)
    find_face, where = _face_finder(options)
    vectors, failed = embed_photos(
        photos, embedder, {"embedder": embedder}, find_face, where, options.cache,
        lambda rows: _bar(options, rows),
    )  # fmt: skip
    fine = ~failed
    embeddings = vectors["embedder"]
    people = [name for name, use in zip(photos.people, fine, strict=True) if use]
    if options.pairs is not None:
        assert listed is not None
        cosines = listed.cosines(embeddings)
        both = fine[listed.first] & fine[listed.second]
        found = calibrate_pairs(cosines[both], listed.same[both], options.fmr)
    else:
        found = calibrate_people(embeddings[fine], people, options.fmr)
    head = calibrate_head(embeddings[fine], people, options.fmr)
    thresholds = Thresholds(
        head=Thresholds().head if head is None else head.threshold, gallery=found.threshold
    )
    stored = _store(options, embedder, thresholds)
    print(summary(found, head, thresholds, stored))
    if options.defaults is not None:
        first = {name: i for i, name in reversed(list(enumerate(photos.people))) if fine[i]}
        rows = sorted(first.values())
        _write_defaults(options, embedder, thresholds, found, head, photos, rows, find_face)
    if failed.any():
        logger.warning("no face was found in %d photos, which were left out", failed.sum())
    return 1 if failed.any() else 0


def read_photos(options: Options) -> tuple[Photos, Lfw | None]:
    """The photos to compare, and the pairs where they are listed."""
    from recognizer.evaluation.lfw import read_lfw
    from recognizer.evaluation.photos import of_people, read_folders

    if options.folders is not None and options.pairs is None:
        return read_folders(options.folders), None
    root = options.lfw or options.folders
    assert root is not None
    listed = read_lfw(root, options.pairs)
    if options.folds:
        listed = listed.of_folds(*options.folds)
    return of_people(listed.images, listed.people), listed


def _face_finder(options: Options) -> Any:
    from pipeline.enroll.photo_faces import face_finder

    where = options.boxes or ("detect" if options.lfw is None else "centre")
    return face_finder(where, options.detector, options.threads)


def _store(options: Options, embedder: Embedder, thresholds: Thresholds) -> str:
    """Keep the thresholds with the people, if there are any; says where."""
    path = options.store.gallery
    if not path.is_file():
        return f"nowhere: there is no {path} yet (see `faces enroll`)"
    with open_store(options.store, embedder) as store:
        store.save_thresholds(thresholds)
        people = len(store.people())
    return f"{path} ({counted(people, 'person')})"


def summary(
    found: Calibration, head: HeadCalibration | None, thresholds: Thresholds, stored: str
) -> str:
    """What was measured, in lines."""
    low, high = found.interval
    of = "" if found.people is None else f" of {counted(found.people, 'person')}"
    lines = [
        f"compared:     {found.genuine:,} pairs of one person, {found.impostor:,} of two{of}",
        f"gallery:      cosine > {found.threshold:.4f}",
        f"  FMR         {found.fmr:.2g} (wanted at most {found.wanted:g}; 95 % interval "
        f"{low:.2g} to {high:.2g})",
        f"  FNMR        {found.fnmr:.2%} of pairs of one person do not match",
        "  strangers   taken for somebody, where so many are enrolled: "
        + ", ".join(f"{p}: {1 - (1 - found.fmr) ** p:.1%}" for p in (1, 10, 100)),
        f"head:         probability > {thresholds.head:.4f}",
    ]
    if head is None:
        lines.append("  not measured: that takes 20 people with three photos each")
    else:
        lines += [
            f"  strangers   {head.strangers_named:.2%} of {head.strangers:,} faces named, by heads "
            f"of {head.enrolled} people",
            f"  recognized  {head.recognized:.2%} of {head.photos:,} new photos, by the head alone",
        ]
    lines.append(f"stored in:    {stored}")
    return "\n".join(lines)


def _write_defaults(
    options: Options, embedder: Embedder, thresholds: Thresholds, found: Calibration,
    head: HeadCalibration | None, photos: Photos, rows: Sequence[int], find_face: Any,
) -> None:  # fmt: skip
    """Thresholds, and the spread of one photo of each person, bare and with a drawn mask."""
    from faces.images.read import read_image
    from recognizer.calibrate import write_defaults
    from recognizer.training.augment import MASK_ONLY
    from recognizer.training.background import measure_spread, write_spreads
    from recognizer.training.fit_samples import embed_all, geometry, stack, vary

    assert options.defaults is not None
    crops = []
    for row in _bar(options, rows):
        image = read_image(photos.paths[row])
        crops.append(embedder.crop(image, find_face(image))[0])
    faces: NDArray[np.uint8] = stack(crops, embedder.size)
    masked = vary(faces, MASK_ONLY, 0, geometry(embedder))
    spreads = {
        kind: measure_spread(embed_all(embedder, some))
        for kind, some in (("plain", faces), ("masked", masked))
    }
    folds = f", folds {' '.join(map(str, options.folds))}" if options.folds else ""
    data = f"{(options.lfw or options.folders or Path()).name}{folds}, {len(rows)} people"
    more = {} if head is None else {"head_measured": asdict(head)}
    write_defaults(
        options.defaults / "thresholds.json", embedder.fingerprint, thresholds, found, data, **more
    )
    write_spreads(options.defaults / "strangers.npz", embedder.fingerprint, spreads)
    print(f"defaults in:  {options.defaults}")


def _bar(options: Options, rows: Iterable[int]) -> Iterable[int]:
    from tqdm import tqdm

    # None: no bar where stderr is no terminal
    return tqdm(
        list(rows), desc="embedding", unit=" photos", disable=True if options.quiet else None
    )


if __name__ == "__main__":
    from scripts.main import run_command

    sys.exit(run_command("scripts.calibrate", sys.argv[1:]))
