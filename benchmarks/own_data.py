"""Does a small set of one's own go further from the shipped detector than from ImageNet weights?

    python -m benchmarks.own_data --image-path ../shared/data/facemask/images \\
        --annotation-dir ../shared/data/facemask/annotations \\
        --backbone-weights ../shared/data/weights/mobilenet_v2_imagenet.pth --work runs/own-data

Every third picture is kept back. Two runs of `faces train` learn from the others for the same
number of epochs, which takes the same time: `--init shipped`, and the ImageNet weights. The shipped
detector as it is and both results are judged by `faces evaluate` on the pictures kept back (PASCAL
VOC AP at an overlap of one half, and COCO's mean over stricter ones). Everything goes below --work;
a call that was stopped goes on from there: delete it to begin again. Ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fine_tune import faces
from detector.data.voc.folder import usable_pairs
from faces.folders import atomic_folder
from faces.history import read_history
from faces.text import text_table

WAYS = {
    "shipped": ["--init", "shipped", "--learning-rate", "3e-4"],
    "imagenet": ["--learning-rate", "1e-3"],
}


def split(images: Path, annotations: Path, work: Path) -> None:
    """Copy two thirds of the pictures and their annotations to train/, the rest to valid/.

    Both appear when they are complete, train/ last: `main` splits again while it is missing.
    """
    with atomic_folder(work / "train") as most, atomic_folder(work / "valid") as rest:
        for number, (image, xml) in enumerate(usable_pairs(images, annotations)):
            part = rest if number % 3 == 2 else most
            place = image.relative_to(images)
            for target, source in (
                (part / "images" / place, image),
                (part / "annotations" / place.with_suffix(".xml"), xml),
            ):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def train(way: str, options: argparse.Namespace) -> Path:
    """The run's best checkpoint; what was trained before is not trained again."""
    run = options.work / way
    if not (run / "best.pt").is_file() or len(read_history(run)) < options.epochs:
        where = ["--resume" if (run / "last.pt").is_file() else "--run", str(run)]
        faces("train", *where, *WAYS[way], *setup(options))
    return run / "best.pt"


def setup(options: argparse.Namespace) -> list[str]:
    """What both runs share."""
    parts = {
        "--image-path": "train/images", "--train-ann-dir": "train/annotations",
        "--valid-path": "valid/images", "--valid-ann-dir": "valid/annotations",
    }  # fmt: skip
    shared = [word for flag, part in parts.items() for word in (flag, str(options.work / part))]
    shared += ["--epochs", str(options.epochs), "--cooldown", "1.0"]
    return [*shared, "--backbone-weights", options.backbone_weights]


def judge(name: str, model: Sequence[str], work: Path) -> dict[str, float]:
    """The figures of `faces evaluate` on the pictures kept back."""
    out = work / f"evaluate-{name}"
    faces(
        "evaluate", *model, "--image-path", str(work / "valid/images"), "--annotation-dir",
        str(work / "valid/annotations"), "--out", str(out), "--quiet",
    )  # fmt: skip
    report = json.loads((out / "report.json").read_text("utf-8"))
    return {"ap50": report["voc"]["ap50"], "ap": report["coco"]["ap"]}


def main(arguments: Sequence[str]) -> int:
    """Split, train twice, judge three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--image-path", type=Path, required=True)
    parser.add_argument("--annotation-dir", type=Path, required=True)
    parser.add_argument("--backbone-weights", default="imagenet")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--work", type=Path, default=Path("runs/own-data"))
    options = parser.parse_args(arguments)
    if not (options.work / "train").is_dir():
        split(options.image_path, options.annotation_dir, options.work)
    rows = []
    figures = judge("as-it-is", [], options.work)
    rows.append(["shipped, as it is", "-", f"{figures['ap50']:.3f}", f"{figures['ap']:.3f}"])
    for way in WAYS:
        best = train(way, options)
        figures = judge(way, [str(best)], options.work)
        seconds = sum(line["seconds"] for line in read_history(options.work / way))
        rows.append(
            [f"from {way}", f"{seconds:.0f}", f"{figures['ap50']:.3f}", f"{figures['ap']:.3f}"]
        )
    print("\n".join(text_table(["start", "seconds", "AP50", "AP 0.50:0.95"], rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
