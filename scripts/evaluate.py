"""`faces evaluate`: how good a detector is, by the rules of WIDER FACE, PASCAL VOC and COCO."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from detector.shipped import SHIPPED
from faces.errors import UserError
from scripts.options.command_line import log_to_stderr, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector.evaluation.matching import ImageFaces
    from detector.inference.detect import FaceDetector
    from detector.inference.resize import Resize

logger = logging.getLogger(__name__)

DESCRIPTION = """Judge a detector, or a folder of detections in the WIDER FACE submission format, on
annotated images: average precision by three protocols, precision, recall and false alarms, recall
by face size, crowd and attribute, precision-recall curves, and a sheet of the worst errors."""

EXAMPLES = """\
faces evaluate --wider data/widerface --image-path data/wider/val/images
faces evaluate model.onnx --wider data/widerface --max-side 0
faces evaluate runs/fpn/best.pt --image-path photos --annotation-dir xml --max-side 1024
faces evaluate --detections theirs --wider data/widerface --out theirs/report
faces evaluate model.onnx --wider data/widerface --by skin-tone.csv --threshold 0.6"""


@dataclass(frozen=True)
class Options:
    """What to judge, on what, and how."""

    model: tyro.conf.Positional[Path | None] = None
    """Checkpoint, TorchScript or ONNX file; left out, it is the shipped detector."""
    detections: Path | None = None
    """Judge this folder of detections instead: EVENT/IMAGE.txt with the image's name, the number
    of faces, and a line 'x y width height score' for each."""
    wider: Path | None = None
    """WIDER FACE as `faces prepare download` or its authors' files leave it: the official lists
    wider_{face,easy,medium,hard}_val.mat in eval_ground_truth or eval_tools.zip, and the images in
    WIDER_val/images or at --image-path. Any part of the images will do."""
    annotation_dir: Path | None = None
    """Or: PASCAL VOC annotations (.xml), flat or mirroring the image folder."""
    image_path: Path | None = None
    """The folder of images, searched recursively; may be left out with --detections."""
    classes: tuple[str, ...] = ()
    """Object names that are faces; none given: every object is a face."""
    missing: Literal["refuse", "empty", "skip"] = "refuse"
    """Images without a file in --detections: refuse to judge, take them as without detections, or
    leave them out, which makes every figure one of a smaller set."""
    by: Path | None = None
    """CSV file with attributes of faces: image, then face (counted from 0) or x1,y1,x2,y2, then any
    columns; recall is broken down by each."""
    out: Path = Path("evaluation")
    """Folder for report.json, curves.png and errors.png."""
    save_detections: Path | None = None
    """Also write the model's detections to this folder, for --detections later."""
    max_side: int | None = None
    """Longest side in pixels to which images are shrunk for the model; 0 keeps their own size, and
    if not given it is the one that the model was validated with. With --detections it only says
    what they were made at."""
    min_score: float = 0.005
    """Lowest score that the model reports; AP needs the low ones too."""
    threshold: float = 0.5
    """Score from which a detection counts in precision, recall, false alarms and pictures."""
    resamples: int = 1000
    """How often the images are drawn anew for the 95 % intervals."""
    seed: int = 0
    """Of that drawing."""
    device: str = "auto"
    """`auto` (CUDA, else CPU), `cpu`, `cuda`, `cuda:1`, `mps`."""
    threads: int | None = None
    """CPU threads for the model; its runtime chooses if not given."""
    speed: Literal["normal", "fast"] = "normal"
    """`fast` runs an ONNX file with OpenVINO in bfloat16 (pip install 'faces[fast]') where
    that is faster, which is measured first: twice as fast on processors with AMX."""
    json: bool = False
    """Print the report as JSON instead of a table."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        """Raises UserError for flags that do not fit together, naming what to change."""
        voc = self.annotation_dir is not None
        rules = [
            (
                self.model is None or self.detections is None,
                "give a model or --detections DIR, not both",
            ),
            (
                voc != (self.wider is not None),
                "give either --wider DIR, or --annotation-dir DIR with --image-path DIR",
            ),
            (
                voc or not self.classes,
                "--classes needs --annotation-dir; WIDER FACE has only faces",
            ),
            (
                not voc or self.image_path is not None or self.detections is not None,
                "a model needs --image-path DIR to find the images of --annotation-dir",
            ),
            (
                self.save_detections is None or self.detections is None,
                "--save-detections needs a model",
            ),
            (
                self.missing == "refuse" or self.detections is not None,
                "--missing: for --detections",
            ),
            (self.max_side is None or self.max_side >= 0, "--max-side must not be negative"),
            (0 <= self.min_score <= 1, "--min-score must be between 0 and 1"),
            (self.resamples >= 100, "--resamples must be at least 100 for an interval"),
        ]
        for fine, message in rules:
            if not fine:
                raise UserError(message)


def main(argv: Sequence[str]) -> int:
    """Parse, judge, write the report and its pictures, print the table."""
    options: Options = parse(
        Options,
        argv,
        prog="faces evaluate",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    log_to_stderr(options.quiet)
    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)  # its table repeats ours
    from detector.evaluation.by_file import read_attributes
    from detector.evaluation.figures import draw_curves, draw_errors
    from detector.evaluation.report import Setup, format_report, judge
    from faces.files import atomic_write_text, check_writable

    check_writable(options.out)
    truth, images, of_images = _truth(options)
    fast = ""
    trained_on = None
    if options.detections is not None:
        truth, detections = _read_detections(options, truth)
        scale = "scale not stated" if options.max_side is None else _fit(options.max_side)
        max_side = options.max_side
    else:
        detector = _load(options)
        trained_on = _trained_on(detector, [image.name for image in truth], images)
        scale, max_side = _scale(detector.resize)
        detections = _detect(detector, [image.name for image in truth], images, options)
        if detector.speed == "fast":  # at which it ran, whatever was asked for
            fast = ", speed fast"
    attributes = read_attributes(options.by, truth) if options.by is not None else None
    setup = Setup(
        source=f"{options.detections or options.model or SHIPPED}{fast}",
        scale=scale,
        max_side=max_side,
        threshold=options.threshold,
        of_images=of_images,
        resamples=options.resamples,
        seed=options.seed,
        trained_on=trained_on,
    )
    result = judge(truth, detections, setup, attributes, lambda step: logger.info("%s ...", step))

    report = json.dumps(result.report, indent=1, allow_nan=False)
    written = [options.out / "report.json", options.out / "curves.png"]
    atomic_write_text(written[0], report + "\n")
    title = f"{setup.source}: {scale}, {len(truth):,} images"
    if "wider_face" in result.report:
        title += "\nWIDER FACE protocol; dashed: PASCAL VOC AP50 of all valid faces"
    draw_curves(written[1], result.curves, title)
    sheet = options.out / "errors.png"
    if draw_errors(sheet, result.errors, result.matches, images, options.threshold):
        written.append(sheet)
    elif result.errors:
        logger.warning("no sheet of errors: --image-path is needed for the pictures")
    print(report if options.json else format_report(result.report))
    for path in written:
        logger.info("written: %s", path)
    return 0


def _truth(options: Options) -> tuple[list[ImageFaces], dict[str, Path], int | None]:
    """The faces of the images to judge, the images' files, and how many the whole set has."""
    if options.annotation_dir is not None:
        from detector.evaluation.truth import read_voc_truth

        truth, files = read_voc_truth(options.annotation_dir, options.image_path, options.classes)
        return truth, files, None
    assert options.wider is not None  # see Options.__post_init__
    from detector.data.submission import image_name
    from detector.evaluation import wider
    from faces.images.find import find_images
    from faces.images.read import image_size

    everything = wider.read_ground_truth(wider.find_ground_truth(options.wider))
    folder = options.image_path or options.wider / "WIDER_val" / "images"
    if not folder.is_dir():
        if options.image_path is not None:
            raise UserError(f"--image-path {folder}: there is no such folder")
        if options.detections is None:
            raise UserError(
                f"{options.wider}: the images are missing; expected the folder {folder}, or "
                "--image-path DIR: the folder val/images that `faces prepare wider` made will do"
            )
        logger.warning("%s is missing: cannot check that the images are of published size", folder)
        return everything, {}, len(everything)
    files = {image_name(path, folder): path for path in find_images(folder)}
    truth = wider.restrict(everything, files)
    sizes = {name: image_size(path) for name, path in _bar(options, files.items(), "sizes")}
    wider.check_sizes(truth, sizes)
    logger.info("%d of %d images of the official ground truth", len(truth), len(everything))
    return truth, files, len(everything)


def _read_detections(
    options: Options, truth: list[ImageFaces]
) -> tuple[list[ImageFaces], dict[str, NDArray[np.float64]]]:
    """The detections by image, and the truth without the images that are to be skipped."""
    from detector.data.submission import find_submissions, read_submission
    from detector.evaluation.matching import require_faces
    from detector.evaluation.truth import Names

    assert options.detections is not None
    names = Names(image.name for image in truth)
    files: dict[str, Path] = {}
    strangers = []
    for name, path in find_submissions(options.detections).items():
        image = names.find(name)
        if image is None:
            strangers.append(path)
        elif image in files:
            raise UserError(f"{path} and {files[image]} are both about {image}; remove one")
        else:
            files[image] = path
    if not files:
        raise UserError(
            f"{options.detections}: no file is named after an image that is judged; expected "
            f"{truth[0].name}.txt, found {strangers[0].relative_to(options.detections)}"
        )
    if strangers:
        logger.warning(
            "%d files are about images that are not judged, the first is %s",
            len(strangers),
            strangers[0],
        )
    missing = [image.name for image in truth if image.name not in files]
    if missing and options.missing == "refuse":
        raise UserError(
            f"{options.detections}: {len(missing):,} of {len(truth):,} images have no file, first "
            f"{missing[0]}.txt; add --missing empty if nothing was found there, or --missing skip "
            "to judge only the others"
        )
    if missing:
        how = "left out" if options.missing == "skip" else "taken as without detections"
        logger.warning("%d of %d images have no file and are %s", len(missing), len(truth), how)
    if options.missing == "skip":
        truth = require_faces([image for image in truth if image.name in files])
    read = {name: read_submission(path) for name, path in _bar(options, files.items(), "reading")}
    return truth, read


def _load(options: Options) -> FaceDetector:
    from detector.inference.load import load_detector

    return load_detector(
        options.model or SHIPPED,
        max_side=options.max_side,
        score_threshold=options.min_score,
        device=options.device,
        threads=options.threads,
        speed=options.speed,
    )


def _trained_on(
    detector: FaceDetector, names: list[str], images: dict[str, Path]
) -> dict[str, Any] | None:
    """Which of the images the model has learned from; see `training_pictures.report_seen`."""
    from detector.training_pictures import pictures_of, report_seen, seen_sentence

    artifact = detector.artifact
    if artifact is None:
        return None
    found = report_seen(pictures_of(artifact.pictures, artifact.provenance), images, names)
    if found["seen"]:
        logger.warning("%s", seen_sentence(found))
    return found


def _detect(
    detector: FaceDetector, names: list[str], images: dict[str, Path], options: Options
) -> dict[str, NDArray[np.float64]]:
    from detector.data.submission import scored_boxes, write_submission
    from faces.images.read import read_image

    found = {}
    for name in _bar(options, names, "detecting"):
        detections = detector.detect(read_image(images[name]))
        found[name] = scored_boxes(detections)
        if options.save_detections is not None:
            write_submission(options.save_detections, name, detections)
    return found


def _scale(resize: Resize) -> tuple[str, int | None]:
    """In words, and the longest side in pixels if it is of that kind, at which images are seen."""
    if resize.mode == "square":
        return f"squeezed to {resize.side}x{resize.side} px", None
    return _fit(resize.side), resize.side


def _fit(side: int) -> str:
    return f"longest side {side} px" if side else "original size"


def _bar(options: Options, items: Iterable, what: str) -> Iterable:
    from tqdm import tqdm

    items = list(items)
    # disable=None: no bar where stderr is no terminal.
    return tqdm(items, desc=what, unit="image", disable=True if options.quiet else None)
