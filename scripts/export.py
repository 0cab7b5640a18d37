"""`faces export`: a checkpoint becomes ONNX, TorchScript and OpenVINO files that give the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from detector.shipped import SHIPPED
from faces.errors import UserError
from scripts.main import run_program
from scripts.options.command_line import arg, log_to_stderr, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DESCRIPTION = """Write a checkpoint as files that run elsewhere: ONNX (any language, no torch)
and TorchScript, and where asked for int8 (for --speed fast) and OpenVINO's .xml and .bin (pip
install 'faces[fast]'). Each is compared with the checkpoint on many sizes first, int8 on photos;
one that differs is not written. A report (.parity.json) lies beside each file."""

EXAMPLES = """\
faces export
faces export runs/fpn/best.pt
faces export runs/fpn/best.pt --formats onnx --out release
faces export runs/fpn/best.pt --formats openvino
faces export runs/fpn/best.pt --formats int8 --calibrate photos
faces export runs/fpn/best.pt --images photos"""

MOST_IMAGES = 100


@dataclass(frozen=True)
class Options:
    """What to export and where to."""

    checkpoint: Annotated[
        tyro.conf.Positional[Path], arg("the shipped detector", metavar="[CHECKPOINT]")
    ] = Path(SHIPPED)
    """A checkpoint of `faces train`, such as runs/fpn/best.pt."""
    out: Annotated[
        Path | None, arg("beside the checkpoint; exported/ for the shipped one", aliases=["-o"])
    ] = None
    """Folder for the files, which take the checkpoint's name."""
    formats: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="{onnx,int8,torchscript,openvino} [...]")
    ] = (
        "onnx",
        "torchscript",
    )
    """Which files to write; `int8` is .onnx and, for --speed fast, .int8.onnx beside it."""
    images: Annotated[Path | None, arg("none")] = None
    """Also compare on the images in this folder (the first 100), brought to size as usual."""
    calibrate: Annotated[Path | None, arg("none")] = None
    """For `int8`: a folder of photos of the kind that the detector is for, of which it takes 48,
    spread evenly. Their faces need no labels."""


def main(argv: Sequence[str]) -> int:
    """Export, print how each file compares, and where it is."""
    options: Options = parse(Options, argv, "faces export", DESCRIPTION, EXAMPLES)
    log_to_stderr()
    from detector.export.parity import table
    from detector.tasks import export

    pictures = [] if options.images is None else read_pictures(options.images)
    photos = [] if options.calibrate is None else calibration_photos(options.calibrate)
    for exported in export(options.checkpoint, options.out, options.formats, pictures, photos):
        size = exported.path.stat().st_size / 2**20
        nearly = "" if exported.agreement is None else "nearly "
        print(f"{exported.path} ({size:.1f} MB) gives {nearly}what {options.checkpoint} gives:")
        print(exported.agreement or table(exported.outcomes))
        print(f"report: {exported.report}\n")
    return 0


def read_pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """The first images of a folder."""
    from detector.benchmark.pictures import read_those
    from faces.images.find import find_images

    files = find_images(folder)[:MOST_IMAGES]
    if not files:
        raise UserError(f"--images {folder}: there are no images in it")
    return read_those(files)


def calibration_photos(folder: Path) -> list[NDArray[np.uint8]]:
    """As many photos of a folder as int8 takes."""
    from detector.benchmark.pictures import some_pictures
    from detector.export.quantize import MOST

    return some_pictures(folder, MOST)


if __name__ == "__main__":
    run_program("scripts.export")
