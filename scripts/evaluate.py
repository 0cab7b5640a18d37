"""`faces evaluate`: how good a detector is, by the rules of WIDER FACE, PASCAL VOC and COCO."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro

from faces.errors import UserError
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, progress

logger = logging.getLogger(__name__)

DESCRIPTION = """Evaluate a detector, or a folder of detections in the WIDER FACE submission format,
on annotated images: average precision by three protocols, precision, recall and false positives,
recall by face size, crowd and attribute, precision-recall curves, and a sheet of the worst
errors."""

EXAMPLES = """\
faces evaluate --wider data/widerface --image-path data/wider/val/images
faces evaluate model.onnx --wider data/widerface --max-side 0
faces evaluate runs/fpn/best.pt --image-path photos --annotation-dir xml --max-side 1024
faces evaluate --image-path photos --annotation-dir xml --hardest 50   # labels to look at first
faces evaluate runs/fpn/best.pt --data photos
faces evaluate --detections theirs --wider data/widerface --out theirs/report
faces evaluate model.onnx --wider data/widerface --by skin-tone.csv --threshold 0.6"""


@dataclass(frozen=True)
class Options:
    """What to evaluate, on what, and how."""

    model: tyro.conf.Positional[Path | None] = None
    """Checkpoint, TorchScript or ONNX file; left out, it is the shipped detector."""
    detections: Path | None = None
    """Evaluate this folder of detections instead: EVENT/IMAGE.txt with the image's name, the number
    of faces, and a line 'x y width height score' for each."""
    data: Path | None = None
    """Data as `faces train --data` takes it: its validation part, or what the run that made the
    checkpoint kept of it to validate on."""
    split: Path | None = None
    """With --data: what the run in this folder kept; for models that are no checkpoint of it."""
    part: Literal["val", "test"] = "val"
    """With --data: its part to validate on, or its part to test."""
    wider: Path | None = None
    """Or: WIDER FACE as `faces prepare download` or its authors' files leave it: the official lists
    wider_{face,easy,medium,hard}_val.mat in eval_ground_truth or eval_tools.zip, and the images in
    WIDER_val/images or at --image-path. Any part of the images will do."""
    annotation_dir: Path | None = None
    """Or: PASCAL VOC annotations (.xml), flat or mirroring the image folder."""
    image_path: Path | None = None
    """The folder of images, searched recursively; may be left out with --detections."""
    classes: tuple[str, ...] = ()
    """Object names that are faces; none given: those that the model was trained with, or every
    object."""
    missing: Literal["refuse", "empty", "skip"] = "refuse"
    """Images without a file in --detections: refuse to evaluate, take them as without detections,
    or leave them out, which makes every figure one of a smaller set."""
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
    """Score from which a detection counts in precision, recall, false positives and pictures."""
    hardest: int = 0
    """Also write hardest.csv and hardest.png: so many images on which detector and labels disagree
    most, the worst first, with the faces to look at: labeled but not found, found but not labeled,
    boxed differently. What is wrong may be the detector or the label."""
    resamples: int = 1000
    """How often the images are drawn again for the 95 % intervals."""
    seed: int = 0
    """Random seed of these draws."""
    device: str = "auto"
    """`auto` (CUDA, else CPU), `cpu`, `cuda`, `cuda:1`, `mps`."""
    threads: int | None = None
    """CPU threads for the model; its runtime chooses if not given."""
    speed: Literal["normal", "fast"] = "normal"
    """`fast` runs an ONNX file in int8, or with OpenVINO in bfloat16 (pip install 'faces[fast]'),
    whichever is the fastest here, which is measured first: 1.5 to 1.9 times as fast. The int8 file
    of the shipped detector ships; `faces export --formats int8` makes one of yours."""
    json: bool = False
    """Print the report as JSON instead of a table."""
    quiet: bool = False
    """Warnings only, and no progress bar."""


def main(argv: Sequence[str]) -> int:
    """Parse, evaluate, write the report and its pictures, print the table."""
    options: Options = parse(Options, argv, "faces evaluate", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)  # its table repeats ours
    from detector.evaluation.evaluate import evaluate
    from detector.evaluation.hardest import write_hardest
    from faces.files import check_writable

    def bar(items: Sequence[Any], what: str) -> Iterable[Any]:
        return progress(items, what, "image", options.quiet)

    if options.hardest < 0:
        raise UserError(f"--hardest must not be negative, got {options.hardest}")
    check_writable(options.out)
    ours = ("out", "json", "quiet", "hardest")  # the rest are arguments of the function
    arguments = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in ours}
    result = evaluate(**arguments, progress=bar)
    written = result.save(options.out)
    if options.hardest:
        written += write_hardest(result, options.out, options.hardest)
    print(json.dumps(result.report, indent=1, allow_nan=False) if options.json else result)
    for path in written:
        logger.info("written: %s", path)
    return 0


if __name__ == "__main__":
    run_program("scripts.evaluate")
