"""What `faces demo` says at its end, read from what its commands wrote."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faces.text import counted
from scripts.demo_parts.film import LINES, NAMED, REPORT, STRIP, Seen


@dataclass(frozen=True)
class Portrait:
    """What became of one of the two photographs."""

    name: str
    detections: int
    found: bool


def summary(out: Path, seconds: float, seen: Sequence[Seen]) -> str:
    """What was learned, what was found, where everything is, and what to do next."""
    run, film = out / "run", out / "film"
    history = [
        json.loads(line)
        for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    first, last = history[0]["valid"]["loss"], history[-1]["valid"]["loss"]
    epochs = f"{counted(len(history), 'epoch')} ({counted(history[-1]['step'], 'step')})"
    lines = [
        f"Done in {seconds / 60:.1f} minutes.",
        "",
        f"Validation loss: {first:.3f} after the first epoch, {last:.3f} after {epochs}.",
    ]
    portraits = read_portraits(out / "detected" / "detections.jsonl")
    for portrait in portraits:
        verdict = "found" if portrait.found else "NOT found"
        count = counted(portrait.detections, "detection")
        lines.append(f"{portrait.name}: the face was {verdict} ({count}).")
    same = same_faces(out / "detected", out / "detected-onnx")
    lines += [
        f"The ONNX file, without torch, finds {'the same' if same else 'something ELSE'} in them.",
        *parity_lines(out / "exported"),
        evaluated(out / "evaluation" / "report.json"),
        "In the film:",
        *(f"  {person}" for person in seen),
        "",
        "What to make of it: the network began as the detector that comes with the project, so it",
        "knew faces; two epochs on painted scenes with 80 small faces teach it those scenes, and",
        "nothing about photographs. It is the way that counts: the same commands on your own",
        "photographs, from these weights (minutes) or ImageNet's (hours), make your detector.",
        "The film shows the very photographs that two people were introduced by, which is easy;",
        "docs/recognizer-card.md says how it goes with other photographs of the same people.",
        "",
        "Look at",
        f"  {out / 'check' / 'sample.png'}  the scenes with their boxes",
        f"  {run / 'loss.png'}  the losses",
        f"  {run / 'samples.png'}  validation scenes: truth and detections",
        f"  {out / 'detected'}  the portraits and what was found in them",
        f"  {out / 'evaluation'}  precision-recall curves, the worst errors, every figure",
        f"  {run / 'best.pt'}  the detector",
        f"  {out / 'exported' / 'best.onnx'}  the same detector for any program",
        f"  {film / NAMED}  the film with boxes and names",
        f"  {film / LINES}  the same as JSON, a line for each frame",
        f"  {film / REPORT / 'timeline.png'}  who was there when",
        f"  {film / STRIP}  both in one picture",
        "Go on with",
        f"  faces train --resume {shlex.quote(str(run))} --epochs 20",
        f"  faces detect PHOTO.jpg --model {shlex.quote(str(out / 'exported' / 'best.onnx'))}",
        "  faces webcam",
        "  faces prepare download --out data",
    ]
    return "\n".join(lines)


def read_portraits(path: Path) -> list[Portrait]:
    """How the detections in a file of JSON lines compare with the known faces."""
    from detector.data.portraits import PORTRAIT_FACES
    from faces.boxes import iou

    result = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        name = Path(record["path"]).stem
        boxes = [face["box"] for face in record["faces"]]
        found = bool((iou(boxes, PORTRAIT_FACES[name]) >= 0.5).any())
        result.append(Portrait(name.replace("_", " ").title(), len(boxes), found))
    return result


def same_faces(first: Path, second: Path) -> bool:
    """Whether two results of `faces detect` hold the same boxes, but for the last digit written."""
    records = [
        [json.loads(line) for line in (folder / "detections.jsonl").open(encoding="utf-8")]
        for folder in (first, second)
    ]
    numbers = [
        [number for record in part for face in record["faces"] for number in face["box"]]
        for part in records
    ]
    counts = [[len(record["faces"]) for record in part] for part in records]
    return counts[0] == counts[1] and all(abs(a - b) < 0.02 for a, b in zip(*numbers, strict=True))


def parity_lines(folder: Path) -> list[str]:
    """For each exported file how far it is, at most, from the checkpoint."""
    lines = []
    for path in sorted(folder.glob("*.parity.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        cases = report["cases"]
        box = max(case["box_error"] for case in cases)
        score = max(case["score_error"] for case in cases)
        faces = sum(case["faces"] for case in cases)
        lines.append(
            f"{report['file']}: within {box:.4f} px and {score:.0e} in score of the checkpoint, "
            f"{faces:,} boxes in {len(cases)} cases."
        )
    return lines


def evaluated(path: Path) -> str:
    """The two average precisions in a report of `faces evaluate`."""
    report = json.loads(path.read_text(encoding="utf-8"))
    return (
        f"On {report['images']} validation scenes, {report['scale']}: PASCAL VOC AP50 "
        f"{report['voc']['ap50']:.3f}, COCO AP {report['coco']['ap']:.3f}."
    )
