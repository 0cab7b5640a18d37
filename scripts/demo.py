"""`faces demo`: the whole way from pictures with boxes to names in a film, on embedded pictures."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faces.errors import UserError
from scripts.demo_parts.film import FILM, LINES, NAMED, REPORT, compare, draw_strip, make_film
from scripts.demo_parts.summary import summary
from scripts.main import run_program
from scripts.options.command_line import parse

DESCRIPTION = """Walk through everything on a small data set that needs no download: real faces that
come with packages this project depends on, painted into 200 scenes, and at the end a short film in
which two of three people are known. Every step shows the command that you would type for your own
data. Takes about two minutes on two CPU cores; ends with 1 when the film's people were not told
apart."""

EXAMPLES = """\
faces demo
faces demo --out /tmp/demo --epochs 10"""

DEFAULT_OUT = Path("runs/demo")
ENROLLED = {"Eileen Collins": "eileen_collins.png", "Grace Hopper": "grace_hopper.png"}


@dataclass(frozen=True)
class Options:
    """Where to, and for how long."""

    out: Path | None = None
    """A new folder for everything [default: runs/demo, or runs/demo-2, ... when it is taken]."""
    epochs: int = 2
    """Passes over the training scenes; each takes about half a minute on two cores."""


@dataclass(frozen=True)
class Step:
    """One command of the walk: what it is for, and its words from `faces` on."""

    title: str
    command: tuple[str, ...]


def main(argv: Sequence[str]) -> int:
    """Run all steps; the first that fails ends the walk with its exit code."""
    options: Options = parse(Options, argv, "faces demo", DESCRIPTION, EXAMPLES)
    out = options.out if options.out is not None else free_path(DEFAULT_OUT)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name a new folder with --out, or remove it")
    start = time.monotonic()
    steps = walk(out, options.epochs)
    total = len(steps) + 1
    print(f"[1/{total}] Paint 200 scenes with real faces, laid out as WIDER FACE is")
    print("      (it stands in for: faces prepare download --out data)")
    print("      and a film of three photographs on a wall", flush=True)
    write_pictures(out)
    for number, step in enumerate(steps, 2):
        print(f"\n[{number}/{total}] {step.title}\n{shown(step.command)}\n", flush=True)
        code = run(step.command)
        if code:
            print(
                f"\nfaces demo: step {number} of {total} ended with {code}; its message is above."
            )
            return code
    seen = compare(out / "film", ENROLLED)
    draw_strip(out / "film")
    print()
    print(summary(out, time.monotonic() - start, seen))
    return 0 if all(person.fine for person in seen) else 1


def walk(out: Path, epochs: int) -> list[Step]:
    """The commands, in order."""
    scenes, portraits = out / "wider", out / "portraits"
    voc, check, run, exported = out / "voc", out / "check", out / "run", out / "exported"
    film = out / "film"
    people = ("--gallery", film / "people.db", "--embedder", "mini")
    data = [
        *("--image-path", voc / "train" / "images"),
        *("--train-ann-dir", voc / "train" / "annotations"),
        *("--valid-path", voc / "val" / "images"),
        *("--valid-ann-dir", voc / "val" / "annotations"),
    ]
    # The shipped detector only has to get used to the scenes: small steps, a short average.
    settings = (
        f"--epochs {epochs} --batch-size 4 --image-size 256 --face-sizes 16 120 --num-workers 1 "
        "--init shipped --learning-rate 2e-4 --ema 0.95"
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
            "Evaluate the ONNX file on the validation scenes",
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
        *(
            (
                f"Introduce {name}, by one photograph",
                ("enroll", name, portraits / photo, *people),
            )
            for name, photo in ENROLLED.items()
        ),
        (
            "Name who is in a film of both and of a third, with the detector that is shipped",
            (
                *("run", film / FILM, *people, "--out", film / NAMED),
                *("--json", film / LINES, "--report", film / REPORT),
            ),
        ),
    ]
    return [Step(title, ("faces", *map(str, words))) for title, words in steps]


def write_pictures(out: Path) -> None:
    """The scenes, the two portraits and the film."""
    from PIL import Image

    from detector.data.portraits import portraits
    from faces.files import atomic_write
    from scripts.demo_parts.scenes import make_scenes

    make_scenes(out / "wider")
    for name, image in portraits().items():
        with atomic_write(out / "portraits" / f"{name}.png") as file:
            Image.fromarray(image).save(file, "PNG")
    make_film(out / "film")


def run(command: Sequence[str]) -> int:
    """Run a ``faces`` command in a process of its own; returns its exit code.

    Ctrl-C reaches that process too, which may have something to save: wait for it.
    """
    process = subprocess.Popen([sys.executable, "-P", "-m", "scripts.main", *command[1:]])
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


def free_path(path: Path) -> Path:
    """``path``, or the first of path-2, path-3, ... that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


if __name__ == "__main__":
    run_program("scripts.demo")
