"""The part of `faces calibrate` that is for detectors."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from faces.errors import UserError
from faces.words import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector.calibrate import ScoreCalibration
    from detector.evaluation.matching import ImageFaces

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreOptions:
    """For a detector: on which pictures, for how many false positives."""

    image_path: Annotated[
        Path | None, tyro.conf.arg(help_behavior_hint="(needed with MODEL.pt)", metavar="DIR")
    ] = None
    """Folder of pictures, searched recursively."""
    annotation_dir: Annotated[
        Path | None, tyro.conf.arg(help_behavior_hint="(needed with MODEL.pt)", metavar="DIR")
    ] = None
    """Folder of their PASCAL VOC annotations (.xml), flat or mirroring the pictures."""
    classes: Annotated[
        tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: as it was trained)")
    ] = ()
    """Object names that are faces."""
    false_positives: float = 0.1
    """Wanted number of false positives a picture, at most, at the default threshold."""
    max_side: Annotated[
        int | None, tyro.conf.arg(help_behavior_hint="(default: as it was validated)")
    ] = None
    """Longest side in pixels to which pictures are shrunk; 0 keeps their own size."""
    device: str = "auto"
    """Where the detector runs: `auto` (CUDA, else CPU), `cpu`, `cuda`, `cuda:1`, `mps`."""
    out: Annotated[
        Path | None, tyro.conf.arg(help_behavior_hint="(default: MODEL.pt itself)", metavar="FILE")
    ] = None
    """Write the calibrated checkpoint to this file. Without it the checkpoint is replaced, and kept
    beside it as MODEL.uncalibrated.pt."""

    def __post_init__(self) -> None:
        """Raises UserError for values that cannot work."""
        if not self.false_positives > 0:
            raise UserError("--false-positives must be positive")
        if self.max_side is not None and self.max_side < 0:
            raise UserError("--max-side must not be negative")


def calibrate_detector(
    model: Path, options: ScoreOptions, threads: int | None, quiet: bool
) -> ScoreCalibration:
    """Detect, measure, store, say what was found."""
    if options.image_path is None or options.annotation_dir is None:
        raise UserError("a detector needs --image-path DIR and --annotation-dir DIR")
    from detector.calibrate import calibrate_scores, check_calibrates, store_calibration
    from detector.checkpoint import checkpoint_config, load_checkpoint
    from detector.evaluation.matching import match
    from detector.evaluation.truth import read_voc_truth
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
    truth, images = read_voc_truth(options.annotation_dir, options.image_path, classes)
    found = calibrate_scores(
        match(truth, _plain_scores(path, truth, images, options, threads, quiet)),
        options.false_positives,
    )
    kept = store_calibration(path, options.out, found)
    print(_summary(found, config.model.half, options.out or path, kept))
    return found


def _plain_scores(
    path: Path, truth: list[ImageFaces], images: dict[str, Path], options: ScoreOptions,
    threads: int | None, quiet: bool,
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """The detections by image, with the scores that the network gives without calibration."""
    from tqdm import tqdm

    from detector.calibrate import LOWEST
    from detector.data.submission import scored_boxes
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
    network.roi_heads.shift = 0.0
    network.roi_heads.score_thresh = LOWEST
    resize = inference_resize(artifact.config.model, artifact.config.data, options.max_side)
    detector = FaceDetector(TorchNetwork(network, pick_device(options.device)), resize, LOWEST)
    bar = tqdm(truth, desc="detecting", unit="image", disable=True if quiet else None)
    return {
        image.name: scored_boxes(detector.detect(read_image(images[image.name]))) for image in bar
    }


def _summary(found: ScoreCalibration, before: float, out: Path, kept: Path | None) -> str:
    low, high = found.interval
    lines = [
        f"judged:           {counted(found.images, 'picture')} with {counted(found.faces, 'face')}",
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
