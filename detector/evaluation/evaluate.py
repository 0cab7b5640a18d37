"""Evaluate a detector, or detections that somebody else made, on annotated images.

From a model and folders to an `Evaluation`: what is read, detected and compared, in this order. The
figures themselves are made in `detector.evaluation.report`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.shipped import SHIPPED
from detector.types import Detector
from faces.errors import UserError, require

if TYPE_CHECKING:
    from detector.evaluation.matching import ImageFaces
    from detector.evaluation.report import Evaluation
    from detector.evaluation.truth import PartName
    from detector.inference.detect import FaceDetector, Speed

log = logging.getLogger(__name__)

T = TypeVar("T")

Missing = Literal["refuse", "empty", "skip"]
Progress = Callable[[Sequence[Any], str], Iterable[Any]]
"""Is given the items of a long loop and what is done with them, and gives the items."""


def evaluate(
    model: str | Path | Detector | None = None,
    *,
    data: str | Path | None = None,
    split: str | Path | None = None,
    part: PartName = "val",
    wider: str | Path | None = None,
    annotation_dir: str | Path | None = None,
    image_path: str | Path | None = None,
    detections: str | Path | None = None,
    classes: Sequence[str] = (),
    missing: Missing = "refuse",
    by: str | Path | None = None,
    save_detections: str | Path | None = None,
    max_side: int | None = None,
    min_score: float = 0.005,
    threshold: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    speed: Speed = "normal",
    progress: Progress = lambda items, what: items,
) -> Evaluation:
    """How good a detector is, by the rules of WIDER FACE, PASCAL VOC and COCO.

    Args:
        model: a file as `faces.load_detector` takes it, or a detector that is open, to which
            ``max_side``, ``device``, ``threads`` and ``speed`` do not apply (there is a warning
            where it leaves out scores above ``min_score``, which AP needs); None is the shipped
            one.
        data: data as `faces.train` takes it; evaluated is its validation part, or the pictures
            that the run which made ``model`` kept to validate on.
        split: those that the run in this folder (or its split.json) kept, for any other model.
        part: "test" evaluates the part of ``data`` to test in place of the one to validate on.
        wider: or the folder of WIDER FACE: the official lists, and the images in it or at
            ``image_path``. Any part of the images will do.
        annotation_dir: or PASCAL VOC annotations (.xml), flat or mirroring ``image_path``.
        image_path: the folder of images, searched recursively; not needed for ``detections``.
        detections: a folder of detections in WIDER FACE's submission format in place of a model.
        classes: object names that are faces; empty: those that the model was trained with, every
            object where that was with all (not with ``wider``).
        missing: images without a file in ``detections``: refuse to evaluate, take them as without
            detections ("empty"), or leave them out ("skip"), which makes the set a smaller one.
        by: a CSV file with attributes of faces, see `detector.evaluation.by_file`.
        save_detections: also write the model's detections to this folder.
        max_side: longest side in pixels to which images are shrunk, 0 keeps their own; None is what
            the model was validated with. For ``detections`` only what is said of them.
        min_score: lowest score (0..1) that the model reports.
        threshold: score from which a detection counts where there is one threshold.
        resamples, seed: how often the images are drawn again for the intervals, and from what seed.
        device, threads, speed: see `faces.load_detector`.
        progress: wraps each long loop, as `tqdm` would.

    Returns:
        ``report``, plain values for `json`; printed it is a table, and ``save(folder)`` writes it
        with its curves and a sheet of the worst errors.

    Raises UserError for arguments that do not fit together and for files that cannot be used.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skimage.data import astronaut
    >>> import faces
    >>> from detector.data.voc.annotation import VocAnnotation, VocObject, write_voc
    >>> Path("photos").mkdir()
    >>> Image.fromarray(astronaut()).save("photos/eileen.png")
    >>> face = VocObject("face", (178, 62, 270, 184))
    >>> _ = write_voc(Path("xml/eileen.xml"), VocAnnotation("eileen.png", 512, 512, (face,)))
    >>> result = faces.evaluate(annotation_dir="xml", image_path="photos")
    >>> round(result.report["voc"]["ap50"], 3)
    1.0
    """
    paths = (data, split, wider, annotation_dir, image_path, detections, by, save_detections)
    data, split, wider, annotation_dir, image_path, detections, by, save_detections = (
        None if path is None else Path(path) for path in paths
    )
    voc = annotation_dir is not None or data is not None
    given = {"data": data, "wider": wider, "annotation_dir": annotation_dir}
    named = [name for name, path in given.items() if path is not None]
    require(
        [
            (speed in ("normal", "fast"), f'speed must be "normal" or "fast", not {speed!r}'),
            (model is None or detections is None, "give a model or detections, not both"),
            (
                len(named) == 1,
                "give either wider=DIR, the folder of WIDER FACE, or annotation_dir with "
                "image_path, or data=DIR" + (f", not {' and '.join(named)}" if named else ""),
            ),
            (data is None or image_path is None, "give data or image_path, not both"),
            (data is not None or split is None, "split needs data, the folder that was divided"),
            (part in ("val", "test"), f'part must be "val" or "test", not {part!r}'),
            (part == "val" or data is not None, "part needs data, the folder that has it"),
            (part == "val" or split is None, "split is about no part to test: leave out one"),
            (voc or not classes, "classes needs annotation_dir or data; WIDER FACE has only faces"),
            (
                annotation_dir is None or image_path is not None or detections is not None,
                "a model needs image_path to find the images of annotation_dir",
            ),
            (save_detections is None or detections is None, "save_detections needs a model"),
            (missing == "refuse" or detections is not None, "missing: for detections"),
            (max_side is None or max_side >= 0, "max_side must not be negative"),
            (0 <= min_score <= 1, "min_score must be between 0 and 1"),
            (resamples >= 100, "resamples must be at least 100 for an interval"),
        ]
    )
    from detector.evaluation.by_file import read_attributes
    from detector.evaluation.report import Setup, evaluate_detections
    from detector.inference.detect import FaceDetector
    from detector.inference.load import load_detector

    opened = model if isinstance(model, FaceDetector) else None
    if opened is not None and opened.score_threshold > min_score:
        log.warning(
            "the detector leaves out scores below %g, so AP is lower than it would be: open it "
            "with score_threshold=%g", opened.score_threshold, min_score,
        )  # fmt: skip

    def open_model() -> FaceDetector:
        return load_detector(
            model or SHIPPED,  # type: ignore[arg-type]
            max_side=max_side,
            score_threshold=min_score,
            device=device,
            threads=threads,
            speed=speed,
        )

    of_file = detections is None and (model is None or isinstance(model, str | Path))
    if voc and not classes and (of_file or opened is not None):
        opened = opened or open_model()
        classes = () if opened.artifact is None else opened.artifact.config.data.classes
    of_images = None
    if data is not None:
        from detector.evaluation.truth import read_part

        file = Path(model) if isinstance(model, str | Path) and str(model) != SHIPPED else None
        truth, images = read_part(data, tuple(classes), file, split, part)
    elif annotation_dir is not None:
        from detector.evaluation.truth import read_voc_truth

        truth, images = read_voc_truth(annotation_dir, image_path, tuple(classes))
    else:
        assert wider is not None
        truth, images, of_images = _wider_truth(wider, image_path, detections is None, progress)
    names = [image.name for image in truth]
    fast, trained_on, points = "", None, None
    if detections is not None:
        source, scale, side = str(detections), "scale not stated", max_side
        if max_side is not None:
            scale = _fit(max_side)
        truth, found = _read_detections(detections, truth, missing, progress)
    else:
        network: Detector
        if of_file or opened is not None:
            source = str(model or SHIPPED) if of_file else type(model).__name__
            network = opened = opened or open_model()
            trained_on = _trained_on(opened, names, images)
            scale, side = _scale(opened)
            if opened.speed == "fast":  # at which it ran, whatever was asked for
                fast = f", speed fast ({opened.arithmetic})"
        else:
            assert model is not None
            assert not isinstance(model, str | Path)
            source, network = type(model).__name__, model
            scale, side = "scale not stated", max_side
        found, points = _detect(network, names, images, save_detections, progress)
    attributes = None if by is None else read_attributes(by, truth)
    setup = Setup(
        source=f"{source}{fast}",
        scale=scale,
        max_side=side,
        threshold=threshold,
        of_images=of_images,
        resamples=resamples,
        seed=seed,
        trained_on=trained_on,
    )
    result = evaluate_detections(
        truth, found, setup, attributes, lambda step: log.info("%s ...", step), points
    )
    return replace(result, images=images)


def _wider_truth(
    wider_dir: Path, image_path: Path | None, need_images: bool, progress: Progress
) -> tuple[list[ImageFaces], dict[str, Path], int]:
    """The faces of the images that are there, the images' files, and how many the lists have."""
    from detector.data.submission import image_name
    from detector.evaluation import wider
    from faces.images.find import find_images
    from faces.images.read import image_size

    everything = wider.read_ground_truth(wider.find_ground_truth(wider_dir))
    folder = image_path or wider_dir / "WIDER_val" / "images"
    if not folder.is_dir():
        if image_path is not None:
            raise UserError(f"image_path {folder}: there is no such folder")
        if need_images:
            raise UserError(
                f"{wider_dir}: the images are missing; expected the folder {folder}, or "
                "image_path: the folder val/images that `faces prepare wider` made will do"
            )
        log.warning("%s is missing: cannot check that the images are of published size", folder)
        return everything, {}, len(everything)
    files = {image_name(path, folder): path for path in find_images(folder)}
    truth = wider.restrict(everything, files)
    sizes = {name: image_size(files[name]) for name in progress(list(files), "sizes")}
    wider.check_sizes(truth, sizes)
    log.info("%d of %d images of the official ground truth", len(truth), len(everything))
    return truth, files, len(everything)


def _read_detections(
    folder: Path, truth: list[ImageFaces], missing: Missing, progress: Progress
) -> tuple[list[ImageFaces], dict[str, NDArray[np.float64]]]:
    """The truth, without the images that are to be skipped, and the detections by image."""
    from detector.data.submission import find_submissions, read_submission
    from detector.evaluation.matching import require_faces
    from detector.evaluation.truth import Names

    names = Names(image.name for image in truth)
    files: dict[str, Path] = {}
    others = []
    for name, path in find_submissions(folder).items():
        image = names.find(name)
        if image is None:
            others.append(path)
        elif image in files:
            raise UserError(f"{path} and {files[image]} are both about {image}; remove one")
        else:
            files[image] = path
    if not files:
        raise UserError(
            f"{folder}: no file is named after an image that is evaluated; expected "
            f"{truth[0].name}.txt, found {others[0].relative_to(folder)}"
        )
    if others:
        log.warning(
            "%d files are about images that are not evaluated, the first is %s",
            len(others), others[0],
        )  # fmt: skip
    absent = [image.name for image in truth if image.name not in files]
    if absent and missing == "refuse":
        raise UserError(
            f"{folder}: {len(absent):,} of {len(truth):,} images have no file, first "
            f"{absent[0]}.txt; choose missing=empty if nothing was found there, or missing=skip to "
            "evaluate only the others"
        )
    if absent:
        how = "left out" if missing == "skip" else "taken as without detections"
        log.warning("%d of %d images have no file and are %s", len(absent), len(truth), how)
    if missing == "skip":
        truth = require_faces([image for image in truth if image.name in files])
    return truth, {name: read_submission(files[name]) for name in progress(list(files), "reading")}


def _trained_on(
    detector: FaceDetector, names: list[str], images: Mapping[str, Path]
) -> dict[str, Any] | None:
    """Which of the images the model has learned from; see `training_pictures.report_seen`."""
    from detector.training_pictures import pictures_of, report_seen, seen_sentence

    artifact = detector.artifact
    if artifact is None:
        return None
    found = report_seen(pictures_of(artifact.pictures, artifact.provenance), images, names)
    if found["seen"]:
        log.warning("%s", seen_sentence(found))
    return found


def _detect(
    detector: Detector,
    names: list[str],
    images: Mapping[str, Path],
    save_detections: Path | None,
    progress: Progress,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float32]]]:
    """Boxes with scores (N, 5) by image; and points (N, 5, 2), where the detector finds them."""
    from detector.data.submission import scored_boxes, write_submission
    from faces.images.read import read_image

    found, points = {}, {}
    for name in progress(names, "detecting"):
        detections = detector.detect(read_image(images[name]))
        found[name] = scored_boxes(detections)
        if detections.landmarks is not None:
            points[name] = detections.landmarks
        if save_detections is not None:
            write_submission(save_detections, name, detections)
    return found, points


def _scale(detector: FaceDetector) -> tuple[str, int | None]:
    """In words, and the longest side in pixels if it is of that kind, at which images are seen."""
    resize = detector.resize
    if resize.mode == "square":
        return f"squeezed to {resize.side}x{resize.side} px", None
    return _fit(resize.side), resize.side


def _fit(side: int) -> str:
    return f"longest side {side} px" if side else "original size"
