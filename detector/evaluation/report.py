"""The evaluation of a detector on a data set, as JSON and as a table.

The report is a dictionary of sections. Each section has its figures and, so that no figure travels
without them, ``protocol``, ``scale`` (and ``max_side`` in pixels, None for another kind of scale),
``images`` and ``of_images`` (of the whole set, None if it has no fixed size).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluation import coco, wider
from detector.evaluation.breakdown import (
    CONFIDENCE,
    attribute_groups,
    crowd_groups,
    height_groups,
    recall_by,
)
from detector.evaluation.curves import PROTOCOL as VOC
from detector.evaluation.curves import Curve, at_threshold, threshold_for, voc_curve
from detector.evaluation.figures import Error, draw_curves, draw_errors, worst_errors
from detector.evaluation.matching import ImageFaces, Matches, match
from detector.evaluation.points import PROTOCOL, points_errors
from detector.training_pictures import seen_sentence
from faces.files import atomic_write_text
from faces.text import text_table

log = logging.getLogger(__name__)

FALSE_POSITIVE_RATES = (0.01, 0.1, 1.0)
MATCHING = "Faces found with IoU 0.5 (PASCAL VOC matching)"


@dataclass(frozen=True)
class Setup:
    """What was evaluated, and how."""

    source: str  # the model's file or the folder of detections
    scale: str  # the size at which the network saw the images, in words
    max_side: int | None  # the longest side in pixels, if the scale is of that kind
    threshold: float = 0.5  # score from which a detection counts in the figures at one threshold
    # how many images the whole set has, when only a part may have been evaluated
    of_images: int | None = None
    # resamples, seed: of the bootstrap intervals
    resamples: int = 1000
    seed: int = 0
    # how many of the images the model has learned from, from `training_pictures.report_seen`; None
    # where the model is unknown
    trained_on: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The report, and what its pictures are drawn from; printed it is a table for people."""

    report: dict[str, Any]  # plain values for `json`, each section with its protocol and scale
    curves: dict[str, Curve]  # precision and recall by protocol
    matches: Matches  # which detection is which face
    errors: list[Error]  # the worst ones
    setup: Setup  # what was evaluated, and how
    # the images' files by name, for the sheet of errors; empty where none are at hand
    images: Mapping[str, Path] = field(default_factory=dict)

    def __str__(self) -> str:
        return format_report(self.report)

    def __repr__(self) -> str:
        ap = _share(self.report["voc"]["ap50"])
        return f"Evaluation({self.setup.source}: AP50 {ap}, {_images(self.report)})"

    def save(self, folder: str | Path) -> list[Path]:
        """Write report.json, curves.png and, where there are errors and images, errors.png.

        Returns the files. Raises OSError when they cannot be written.
        """
        folder = Path(folder)
        written = [folder / "report.json", folder / "curves.png"]
        text = json.dumps(self.report, indent=1, allow_nan=False)
        atomic_write_text(written[0], text + "\n")
        title = f"{self.setup.source}: {self.setup.scale}, {self.report['images']:,} images"
        if "wider_face" in self.report:
            title += "\nWIDER FACE protocol; dashed: PASCAL VOC AP50 of all valid faces"
        draw_curves(written[1], self.curves, title)
        sheet = folder / "errors.png"
        if draw_errors(sheet, self.errors, self.matches, self.images, self.setup.threshold):
            written.append(sheet)
        elif self.errors:
            log.warning("no sheet of errors: the images are needed for its pictures")
        return written


def evaluate_detections(
    truth: Sequence[ImageFaces],
    detections: Mapping[str, NDArray[np.float64]],
    setup: Setup,
    attributes: Mapping[str, Sequence[str]] | None = None,
    progress: Callable[[str], None] = lambda step: None,
    points: Mapping[str, NDArray[np.float32]] | None = None,
) -> Evaluation:
    """Evaluate the detections by every protocol that the truth allows.

    Args:
        truth, detections: see `matching.match`. With the lists of WIDER FACE in the truth, easy,
            medium and hard AP come first.
        attributes: further groups, each with a value for every face, see `by_file`.
        points: of the detections, in their order, (N, 5, 2); None where the detector finds none.
    """
    common = {
        "scale": setup.scale,
        "max_side": setup.max_side,
        "images": len(truth),
        "of_images": setup.of_images,
    }
    matches = match(truth, detections)
    ignored = int(matches.face_ignored.sum())
    report: dict[str, Any] = {
        "source": setup.source,
        **common,
        "faces": len(matches.face_ignored) - ignored,
        "ignored_faces": ignored,
        "detections": len(matches.score),
    }
    if setup.trained_on is not None:
        report["trained_on"] = dict(setup.trained_on)
    curves: dict[str, Curve] = {}
    if truth and truth[0].listed:
        progress("WIDER FACE")
        curves |= wider.evaluate(truth, detections)
        figures = {name: {"ap": c.ap, "faces": c.faces} for name, c in curves.items()}
        report["wider_face"] = {"protocol": wider.PROTOCOL, **common, **figures}
    progress("PASCAL VOC")
    curves["VOC"] = voc_curve(matches)
    faces = {"faces": curves["VOC"].faces}
    report["voc"] = {"protocol": VOC, **common, "ap50": curves["VOC"].ap, **faces}
    progress("COCO")
    report["coco"] = {
        "protocol": coco.PROTOCOL,
        **common,
        **coco.coco_ap(truth, detections),
        **faces,
    }
    report["at_threshold"] = {
        "protocol": MATCHING,
        **common,
        **at_threshold(matches, setup.threshold).to_json(),
    }
    report["at_false_alarms"] = {
        "protocol": f"{MATCHING}; lowest threshold with at most so many false positives an image",
        **common,
        "points": [_point(matches, rate) for rate in FALSE_POSITIVE_RATES],
    }
    errors_of_points = points and points_errors(truth, points, matches, setup.threshold)
    if errors_of_points:
        about = {"protocol": PROTOCOL, **common, "threshold": setup.threshold}
        report["landmarks"] = {**about, **errors_of_points}
    progress("recall by group")
    heights, by_height = height_groups(matches)
    crowds, by_crowd = crowd_groups(matches)
    groups = {"height": heights, "in the image": crowds, **attribute_groups(truth)}
    orders: dict[str, Sequence[str]] = {
        "height": by_height, "in the image": by_crowd, **wider.LABELS,
    }  # fmt: skip

    def breakdown(values: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        return {
            name: recall_by(
                matches,
                column,
                setup.threshold,
                order=orders.get(name, ()),
                resamples=setup.resamples,
                seed=setup.seed,
            )
            for name, column in values.items()
        }

    about = {
        "protocol": f"{MATCHING}; {CONFIDENCE:.0%} bootstrap intervals over images, "
        f"{setup.resamples:,} resamples, seed {setup.seed}",
        **common,
        "threshold": setup.threshold,
    }
    report["recall_by"] = {**about, "groups": breakdown(groups)}
    if attributes is not None:
        report["recall_by_file"] = {**about, "groups": breakdown(attributes)}
    errors = worst_errors(matches, setup.threshold)
    report["worst_errors"] = {
        "protocol": MATCHING,
        **common,
        "threshold": setup.threshold,
        "errors": [asdict(error) for error in errors],
    }
    return Evaluation(report, curves, matches, errors, setup)


def _point(matches: Matches, rate: float) -> dict[str, Any]:
    """The figures at the lowest threshold with at most ``rate`` false positives an image."""
    threshold = threshold_for(matches, rate)
    if threshold is None:
        return {"allowed": rate, "threshold": None, "recall": 0.0, "precision": None}
    at = at_threshold(matches, threshold)
    return {
        "allowed": rate,
        "threshold": threshold,
        "recall": at.recall,
        "precision": at.precision,
    }


def format_report(report: Mapping[str, Any]) -> str:
    """The report as text for people, figures with their protocols beside them."""
    lines = [
        report["source"],
        f"  {_images(report)}, {report['scale']}, {report['faces']:,} faces "
        f"(and {report['ignored_faces']:,} ignored), {report['detections']:,} detections",
    ]
    sentence = seen_sentence(report["trained_on"]) if "trained_on" in report else ""
    if sentence:
        lines.append(f"  NOTE: {sentence}")
    if "wider_face" in report:
        section = report["wider_face"]
        rows = [
            [name, _share(section[name]["ap"]), f"{section[name]['faces']:,}"]
            for name in wider.SETTINGS
        ]
        lines += _section(section, ["setting", "AP", "faces"], rows)
    lines += _section(report["voc"], ["", ""], [["AP50", _share(report["voc"]["ap50"])]])
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar")
    lines += _section(
        report["coco"],
        [name.replace("_", " ").upper() for name in names],
        [[_share(report["coco"][name]) for name in names]],
    )
    at = report["at_threshold"]
    rows = [
        [
            f"score >= {at['threshold']:g}",
            _share(at["precision"]),
            _share(at["recall"]),
            f"{at['false_alarms_per_image']:.3f}",
        ]
    ]
    rows += [
        [
            "none" if point["threshold"] is None else f"score >= {point['threshold']:.3f}",
            _share(point["precision"]),
            _share(point["recall"]),
            f"at most {point['allowed']:g}",
        ]
        for point in report["at_false_alarms"]["points"]
    ]
    lines += _section(at, ["threshold", "precision", "recall", "false positives an image"], rows)
    if "landmarks" in report:
        section = report["landmarks"]
        values = [_share(section[name]) for name in ("mean", "median", "p95")]
        faces = f"{section['faces']:,} of {section['annotated_faces']:,}"
        header = ["points", "mean error", "median", "95th percentile"]
        lines += _section(section, header, [[f"{faces} faces", *values]])
    for key, by in (
        ("recall_by", "size, crowd and attribute"),
        ("recall_by_file", "the file's columns"),
    ):
        if key in report:
            lines += _breakdown(report[key], by)
    return "\n".join(lines)


def _breakdown(section: Mapping[str, Any], by: str) -> list[str]:
    columns = ["faces", "images", "recall", "95 % interval", "gap", "95 % interval"]
    above = f"Recall by {by}, score >= {section['threshold']:g}. "
    lines = _heading(section, above)
    for i, (name, groups) in enumerate(section["groups"].items()):
        lines += [""] * (i > 0) + text_table([name, *columns], [_group(group) for group in groups])
    return lines


def _group(group: Mapping[str, Any]) -> list[str]:
    return [
        group["group"],
        f"{group['faces']:,}",
        f"{group['images']:,}",
        _share(group["recall"]),
        _range(group["interval"], ".3f"),
        "-" if group["gap"] is None else f"{group['gap']:+.3f}",
        _range(group["gap_interval"], "+.3f"),
    ]


def _section(section: Mapping[str, Any], header: list[str], rows: list[list[str]]) -> list[str]:
    return [*_heading(section), *text_table(header, rows)]


def _heading(section: Mapping[str, Any], above: str = "") -> list[str]:
    return ["", f"{above}{section['protocol']}; {section['scale']}, {_images(section)}"]


def _images(section: Mapping[str, Any]) -> str:
    of = f" of {section['of_images']:,}" if section["of_images"] else ""
    return f"{section['images']:,}{of} images"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _range(interval: Sequence[float] | None, style: str) -> str:
    return "-" if interval is None else f"{interval[0]:{style}} .. {interval[1]:{style}}"
