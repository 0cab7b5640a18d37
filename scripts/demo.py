"""`faces demo`: the whole way from pictures with boxes to an ONNX file, on an embedded set."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from scripts.cli import parse

DESCRIPTION = """Walk through everything on a small data set that needs no download: real faces that
come with packages this project depends on, painted into 200 scenes. Every step shows the command
that you would type for your own data. Takes a few minutes on two CPU cores."""

EXAMPLES = """\
faces demo
faces demo --out /tmp/demo --epochs 10"""

DEFAULT_OUT = Path("runs/demo")


@dataclass(frozen=True)
class Options:
    """Where to, and for how long."""

    out: Path | None = None
    """A new folder for everything [default: runs/demo, or runs/demo-2, ... when it is taken]."""
    epochs: int = 2
    """Passes over the training scenes; each takes about a minute on two cores."""


@dataclass(frozen=True)
class Step:
    """One command of the walk: what it is for, and its words from `faces` on."""

    title: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Portrait:
    """What became of one of the two photographs."""

    name: str
    detections: int
    found: bool


def main(argv: Sequence[str]) -> int:
    """Run all steps; the first that fails ends the walk with its exit code."""
    options: Options = parse(
        Options, argv, prog="faces demo", description=DESCRIPTION, examples=EXAMPLES
    )
    out = options.out if options.out is not None else _free(DEFAULT_OUT)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name a new folder with --out, or remove it")
    start = time.monotonic()
    steps = walk(out, options.epochs)
    total = len(steps) + 1
    print(f"[1/{total}] Paint 200 scenes with real faces, laid out as WIDER FACE is")
    print("      (it stands in for: faces prepare download --out data)", flush=True)
    write_pictures(out)
    for number, step in enumerate(steps, 2):
        print(f"\n[{number}/{total}] {step.title}\n{shown(step.command)}\n", flush=True)
        code = run(step.command)
        if code:
            print(
                f"\nfaces demo: step {number} of {total} ended with {code}; its message is above."
            )
            return code
    print()
    print(summary(out, time.monotonic() - start))
    return 0


def walk(out: Path, epochs: int) -> list[Step]:
    """The commands, in order."""
    scenes, portraits = out / "wider", out / "portraits"
    voc, check, run, exported = out / "voc", out / "check", out / "run", out / "exported"
    data = [
        *("--image-path", voc / "train" / "images"),
        *("--train-ann-dir", voc / "train" / "annotations"),
        *("--valid-path", voc / "val" / "images"),
        *("--valid-ann-dir", voc / "val" / "annotations"),
    ]
    # The shipped detector only has to get used to the scenes: small steps, a short average.
    settings = (
        f"--epochs {epochs} --batch-size 4 --image-size 256 --face-sizes 16 120 --num-workers 1 "
        "--init shipped --learning-rate 2e-4 --warmup-steps 10 --ema 0.95"
    ).split()
    steps: list[tuple[str, tuple[object, ...]]] = [
        ("Convert the annotations to PASCAL VOC", ("prepare", "wider", scenes, "--out", voc)),
        (
            "Look for boxes and pictures that would spoil the training",
            ("prepare", "check", voc, "--report", check),
        ),
        (
            f"Fine-tune the shipped detector on the scenes, {epochs} short epochs",
            ("train", *data, "--run", run, *settings),
        ),
        ("Draw the losses again", ("plot", run)),
        (
            "Look for faces in two real photographs",
            ("detect", portraits, "--model", run / "best.pt", "--out", out / "detected"),
        ),
        (
            "Export the detector, each file compared with the checkpoint before it gets its name",
            ("export", run / "best.pt", "--out", exported),
        ),
        (
            "Judge the ONNX file on the validation scenes",
            (
                *("evaluate", exported / "best.onnx"),
                *("--image-path", voc / "val" / "images"),
                *("--annotation-dir", voc / "val" / "annotations", "--out", out / "evaluation"),
            ),
        ),
        (
            "Look at the photographs again, now with the ONNX file and without torch",
            (
                *("detect", portraits, "--model", exported / "best.onnx"),
                *("--out", out / "detected-onnx"),
            ),
        ),
    ]
    return [Step(title, ("faces", *map(str, words))) for title, words in steps]


def write_pictures(out: Path) -> None:
    """The scenes and the two portraits."""
    from PIL import Image

    from common.files import atomic_write
    from detector.scenes import make_scenes, portraits

    make_scenes(out / "wider")
    for name, image in portraits().items():
        with atomic_write(out / "portraits" / f"{name}.png") as file:
            Image.fromarray(image).save(file, "PNG")


def run(command: Sequence[str]) -> int:
    """Run a ``faces`` command in a process of its own; returns its exit code.

    Ctrl-C reaches that process too, which may have something to save: wait for it.
    """
    process = subprocess.Popen([sys.executable, "-m", "scripts.main", *command[1:]])
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def shown(command: Sequence[str], width: int = 96) -> str:
    """A command as one types it, over several lines where it is long."""
    parts: list[str] = []  # a flag stays on a line with its values
    for word in map(shlex.quote, command):
        if word.startswith("--") or not parts:
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    lines = [f"  $ {parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + len(" ") + len(" \\") > width:
            lines[-1] += " \\"
            lines.append("     ")
        lines[-1] += f" {part}"
    return "\n".join(lines)


def summary(out: Path, seconds: float) -> str:
    """What was learned, what was found, where everything is, and what to do next."""
    run = out / "run"
    history = [
        json.loads(line)
        for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    first, last = history[0]["valid"]["loss"], history[-1]["valid"]["loss"]
    epochs = f"{len(history)} epochs ({history[-1]['step']} steps)"
    lines = [
        f"Done in {seconds / 60:.1f} minutes.",
        "",
        f"Validation loss: {first:.3f} after the first epoch, {last:.3f} after {epochs}.",
    ]
    portraits = read_portraits(out / "detected" / "detections.jsonl")
    for portrait in portraits:
        verdict = "found" if portrait.found else "NOT found"
        count = "1 detection" if portrait.detections == 1 else f"{portrait.detections} detections"
        lines.append(f"{portrait.name}: the face was {verdict} ({count}).")
    same = same_faces(out / "detected", out / "detected-onnx")
    lines += [
        f"The ONNX file, without torch, finds {'the same' if same else 'something ELSE'} in them.",
        *parity_lines(out / "exported"),
        judged(out / "evaluation" / "report.json"),
        "",
        "What to make of it: the network began as the detector that comes with the project, so it",
        "knew faces; two epochs on painted scenes with 80 small faces teach it those scenes, and",
        "nothing about photographs. It is the way that counts: the same commands on your own",
        "photographs, from these weights (minutes) or ImageNet's (hours), make your detector.",
        "",
        "Look at",
        f"  {out / 'check' / 'sample.png'}  the scenes with their boxes",
        f"  {run / 'loss.png'}  the losses",
        f"  {run / 'samples.png'}  validation scenes: truth and detections",
        f"  {out / 'detected'}  the portraits and what was found in them",
        f"  {out / 'evaluation'}  precision-recall curves, the worst errors, every figure",
        f"  {run / 'best.pt'}  the detector",
        f"  {out / 'exported' / 'best.onnx'}  the same detector for any program",
        "Go on with",
        f"  faces train --resume {shlex.quote(str(run))} --epochs 20",
        f"  faces detect PHOTO.jpg --model {shlex.quote(str(out / 'exported' / 'best.onnx'))}",
        "  faces prepare download --out data",
    ]
    return "\n".join(lines)


def read_portraits(path: Path) -> list[Portrait]:
    """How the detections in a file of JSON lines compare with the known faces."""
    from detector.scenes import PORTRAIT_FACES

    result = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        name = Path(record["path"]).stem
        boxes = [face["box"] for face in record["faces"]]
        found = any(_iou(box, PORTRAIT_FACES[name]) >= 0.5 for box in boxes)
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


def judged(path: Path) -> str:
    """The two average precisions in a report of `faces evaluate`."""
    report = json.loads(path.read_text(encoding="utf-8"))
    return (
        f"On {report['images']} validation scenes, {report['scale']}: PASCAL VOC AP50 "
        f"{report['voc']['ap50']:.3f}, COCO AP {report['coco']['ap']:.3f}."
    )


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _free(path: Path) -> Path:
    """``path``, or the first of path-2, path-3, ... that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


if __name__ == "__main__":
    from scripts.main import run_command

    sys.exit(run_command("scripts.demo", sys.argv[1:]))
