"""`faces calibrate`: measure the thresholds for names, and store them with the people.

With a checkpoint of a detector: measure its score calibration, and store it in the checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from faces.text import counted
from scripts.main import run_program
from scripts.options.calibrate import Options, ScoreOptions
from scripts.options.command_line import log_to_stderr, parse, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector.evaluation.calibrate import ScoreCalibration
    from detector.evaluation.matching import ImageFaces
    from recognizer.calibrate import Calibration, HeadCalibration
    from recognizer.data.lfw import Lfw
    from recognizer.data.photos import Photos
    from recognizer.rule import Thresholds
    from recognizer.types import Embedder

logger = logging.getLogger(__name__)

DESCRIPTION = """Measure the similarity above which two faces count as one person, for a wanted
false match rate (FMR: the share of pairs of two people that are taken for one), and store the
thresholds with the enrolled people. Use photos of people whom the network was not trained on and
whom you do not enroll.

With MODEL.pt: measure the score above which a detector gives at most a wanted number of false
positives an image, and store it in the checkpoint: that score is called 0.5 then, the default
threshold everywhere. The order of the scores, and so the average precision, stays. Use annotated
images that it was not trained on."""

EXAMPLES = """\
faces calibrate --folders crowd
faces calibrate --lfw ../shared/data/lfw --folds 6 --fmr 0.001
faces calibrate --folders crowd --pairs pairs.txt --fmr 0.01 --gallery team.db
faces calibrate --lfw lfw --folds 6 --defaults recognizer/weights
faces calibrate runs/fpn/best.pt --image-path val/images --annotation-dir val/annotations
faces calibrate shipped --image-path images --annotation-dir annotations --out mine.pt"""


def main(argv: Sequence[str]) -> int:
    """Parse, embed, measure, store, say what was found."""
    options: Options = parse(Options, argv, "faces calibrate", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    if options.model is not None:
        _calibrate_detector(options.model, options.scores, options.threads, options.quiet)
        return 0
    from recognizer.calibrate import calibrate_head, calibrate_pairs, calibrate_people
    from recognizer.evaluation.embedding import embed_photos
    from recognizer.rule import Thresholds

    photos, listed = read_photos(options)
    embedder = options.embedding.open_embedder()
    denied = _denied(options, embedder)  # refuses people of another embedder before the work
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
        found = calibrate_people(embeddings[fine], people, options.fmr, denied=denied)
    head = calibrate_head(embeddings[fine], people, options.fmr)
    thresholds = Thresholds(
        head=Thresholds().head if head is None else head.threshold, gallery=found.threshold
    )
    print(summary(found, head, thresholds), flush=True)
    print(f"stored in:    {_store(options, embedder, thresholds)}")
    if options.defaults is not None:
        first = {name: i for i, name in reversed(list(enumerate(photos.people))) if fine[i]}
        rows = sorted(first.values())
        _write_defaults(options, embedder, thresholds, found, head, photos, rows, find_face)
    if failed.any():
        logger.warning(
            "%d photos were left out: no face was found, or they cannot be read", failed.sum()
        )
    return 1 if failed.any() else 0


def read_photos(options: Options) -> tuple[Photos, Lfw | None]:
    """The photos to compare, and the pairs where they are listed."""
    from recognizer.data.lfw import read_lfw
    from recognizer.data.photos import of_people, read_folders

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

    where = options.boxes or ("detect" if options.lfw is None else "center")
    return face_finder(where, options.detector, options.threads)


def _denied(options: Options, embedder: Embedder) -> NDArray[np.float32] | None:
    """What was said of faces that are not who they were taken for, if there are people."""
    from recognizer.calibrate import denied_cosines

    if not options.store.exists():
        return None
    with options.store.open_store(embedder) as store:
        return denied_cosines(store.snapshot())


def _store(options: Options, embedder: Embedder, thresholds: Thresholds) -> str:
    """Keep the thresholds with the people, if there are any; says where."""
    path = options.store.gallery
    if not options.store.exists():
        return f"nowhere: there is no {path} yet (see `faces enroll`)"
    with options.store.open_store(embedder) as store:
        store.save_thresholds(thresholds)
        people = len(store.people())
    return f"{path} ({counted(people, 'person')})"


def summary(found: Calibration, head: HeadCalibration | None, thresholds: Thresholds) -> str:
    """What was measured, in lines."""
    low, high = found.interval
    of = "" if found.people is None else f" of {counted(found.people, 'person')}"
    lines = [
        f"compared:     {found.genuine:,} pairs of one person, {found.impostor:,} of two{of}",
        f"gallery:      cosine > {found.threshold:.4f}",
        f"  FMR         {found.fmr:.2g} (wanted at most {found.wanted:g}; 95 % interval "
        f"{low:.2g} to {high:.2g})",
        f"  FNMR        {found.fnmr:.2%} of pairs of one person do not match",
        "  unknown     people given a name, where so many are enrolled: "
        + ", ".join(f"{p}: {1 - (1 - found.fmr) ** p:.1%}" for p in (1, 10, 100)),
        f"head:         probability > {thresholds.head:.4f}",
    ]
    if head is None:
        lines.append("  not measured: that takes 20 people with three photos each")
    else:
        lines += [
            f"  unknown     {head.strangers_named:.2%} of {head.strangers:,} faces named, by heads "
            f"of {head.enrolled} people",
            f"  recognized  {head.recognized:.2%} of {head.photos:,} new photos, by the head alone",
        ]
    return "\n".join(lines)


def _write_defaults(
    options: Options, embedder: Embedder, thresholds: Thresholds, found: Calibration,
    head: HeadCalibration | None, photos: Photos, rows: Sequence[int], find_face: Any,
) -> None:  # fmt: skip
    """Thresholds, and the spread of one photo of each person, bare and with a drawn mask."""
    from faces.images.read import read_image
    from recognizer.blank import blank_faces
    from recognizer.calibrate import write_defaults
    from recognizer.training.augment import MASK_ONLY
    from recognizer.training.background import measure_spread, write_spreads
    from recognizer.training.head_samples import embed_all, geometry, stack, vary

    assert options.defaults is not None
    crops = []
    for row in _bar(options, rows):
        image = read_image(photos.paths[row])
        face = find_face(image)
        crops.append(embedder.crop(image, face.xyxy, face.landmarks)[0])
    faces: NDArray[np.uint8] = stack(crops, embedder.size)
    masked = vary(faces, MASK_ONLY, 0, geometry(embedder))
    spreads = {
        kind: measure_spread(embed_all(embedder, some))
        for kind, some in (("plain", faces), ("masked", masked), ("blank", blank_faces(faces)))
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
    return progress(list(rows), "embedding", " photos", options.quiet)


def _calibrate_detector(
    model: Path, options: ScoreOptions, threads: int | None, quiet: bool
) -> ScoreCalibration:
    """Detect, measure, store, say what was found."""
    folders = (options.image_path, options.annotation_dir)
    if options.data is None and None in folders:
        raise UserError("a detector needs --image-path DIR and --annotation-dir DIR, or --data DIR")
    from detector.checkpoint import checkpoint_config, load_checkpoint
    from detector.evaluation.calibrate import calibrate_scores, check_calibrates, store_calibration
    from detector.evaluation.matching import match
    from detector.evaluation.truth import read_part, read_voc_truth
    from detector.inference.load import file_kind
    from detector.shipped import SHIPPED, find_checkpoint
    from faces.files import check_writable

    if str(model) == SHIPPED and options.out is None:
        raise UserError("the shipped detector stays as it is: name a file with --out")
    path = find_checkpoint(model)
    if file_kind(path) != "checkpoint":
        raise UserError(
            f"{path} is an exported file: calibrate the checkpoint that it was made from, then "
            "export that again"
        )
    if options.out is not None and options.out.is_dir():
        raise UserError(f"--out {options.out} is a folder: name a file in it")
    check_writable((options.out or path).parent)
    payload = load_checkpoint(path)
    check_calibrates(payload, path)
    config = checkpoint_config(payload)
    classes = options.classes or config.data.classes
    if options.data is not None:
        truth, images = read_part(options.data, classes, path, None)
    else:
        assert options.annotation_dir is not None
        truth, images = read_voc_truth(options.annotation_dir, options.image_path, classes)
    scores = _plain_scores(path, truth, images, options, threads, quiet)
    if not scores:
        raise UserError("none of the pictures can be read")
    read = [image for image in truth if image.name in scores]
    found = calibrate_scores(match(read, scores), options.false_positives)
    kept = store_calibration(path, options.out, found)
    print(_detector_summary(found, config.model.score_calibration, options.out or path, kept))
    return found


def _plain_scores(
    path: Path, truth: list[ImageFaces], images: dict[str, Path], options: ScoreOptions,
    threads: int | None, quiet: bool,
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """The detections by image, with the scores that the network gives without calibration. Images
    that cannot be read are named and left out."""
    from detector.data.submission import scored_boxes
    from detector.evaluation.calibrate import LOWEST
    from detector.inference.detect import FaceDetector
    from detector.inference.torch_backend import (
        TorchNetwork,
        inference_resize,
        open_checkpoint,
        pick_device,
        set_threads,
    )
    from faces.images.read import read_image

    set_threads(threads)
    network, artifact = open_checkpoint(path)
    network.roi_heads.shift, network.roi_heads.temperature = 0.0, 1.0
    network.roi_heads.score_thresh = LOWEST
    resize = inference_resize(artifact.config.model, artifact.config.data, options.max_side)
    detector = FaceDetector(TorchNetwork(network, pick_device(options.device)), resize, LOWEST)
    found = {}
    for image in progress(truth, "detecting", "image", quiet):
        try:
            picture = read_image(images[image.name])
        except UserError as error:
            logger.warning("%s; it is left out", error)
            continue
        found[image.name] = scored_boxes(detector.detect(picture))
    return found


def _detector_summary(found: ScoreCalibration, before: float, out: Path, kept: Path | None) -> str:
    low, high = found.interval
    lines = [
        f"evaluated:        {counted(found.images, 'picture')} with {counted(found.faces, 'face')}",
        f"0.5 is now:       score {found.score:.4f} of the plain network (before: {before:.4f})",
        f"false positives:  {found.false_positives:.3g} a picture at 0.5 (wanted at most "
        f"{found.wanted:g}; 95 % interval {low:.2g} to {high:.2g})",
        f"recall:           {found.found / found.faces:.1%} of the faces at 0.5"
        if found.faces
        else "recall:           not measured: there is no face on these pictures",
        f"stored in:        {out}",
    ]
    if kept is not None:
        lines.append(f"as it was:        {kept}")
    if found.lowest:
        logger.warning(
            "there are no more false positives than that even at the lowest scores: all that the "
            "network finds counts as a face now; more pictures would tell better"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_program("scripts.calibrate")
