"""`faces export`: a checkpoint becomes ONNX, TorchScript and OpenVINO files that give the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from detector.shipped import SHIPPED
from faces.errors import UserError
from scripts.options.command_line import log_to_stderr, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DESCRIPTION = """Write a checkpoint as files that run elsewhere: ONNX (any language, no torch)
and TorchScript, and where asked for OpenVINO's .xml and .bin (pip install 'faces[fast]'). Each is
compared with the checkpoint on many sizes first; one that differs is not written. A report
(.parity.json) lies beside each file."""

EXAMPLES = """\
faces export
faces export runs/fpn/best.pt
faces export runs/fpn/best.pt --formats onnx --out release
faces export runs/fpn/best.pt --formats openvino
faces export runs/fpn/best.pt --images photos"""

MOST_IMAGES = 100


@dataclass(frozen=True)
class Options:
    """What to export and where to."""

    checkpoint: Annotated[
        tyro.conf.Positional[Path],
        tyro.conf.arg(metavar="[CHECKPOINT]", help_behavior_hint="(default: the shipped detector)"),
    ] = Path(SHIPPED)
    """A checkpoint of `faces train`, such as runs/fpn/best.pt."""
    out: Annotated[
        Path | None,
        tyro.conf.arg(
            aliases=["-o"],
            help_behavior_hint="(default: beside the checkpoint; exported/ for the shipped one)",
        ),
    ] = None
    """Folder for the files, which take the checkpoint's name."""
    formats: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="{onnx,torchscript,openvino} [...]")
    ] = (
        "onnx",
        "torchscript",
    )
    """Which files to write."""
    images: Annotated[Path | None, tyro.conf.arg(help_behavior_hint="(default: none)")] = None
    """Also compare on the images in this folder (the first 100), brought to size as usual."""


def main(argv: Sequence[str]) -> int:
    """Export, print how each file compares, and where it is."""
    options: Options = parse(Options, argv, "faces export", DESCRIPTION, EXAMPLES)
    log_to_stderr()
    from detector.export.parity import table
    from detector.tasks import export

    pictures = [] if options.images is None else read_pictures(options.images)
    for exported in export(options.checkpoint, options.out, options.formats, pictures):
        size = exported.path.stat().st_size / 2**20
        print(f"{exported.path} ({size:.1f} MB) gives what {options.checkpoint} gives:")
        print(table(exported.outcomes))
        print(f"report: {exported.report}\n")
    return 0


def read_pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """The first images of a folder."""
    from faces.images.find import find_images
    from faces.images.read import read_image

    files = find_images(folder)[:MOST_IMAGES]
    if not files:
        raise UserError(f"--images {folder}: there are no images in it")
    return [read_image(file) for file in files]


if __name__ == "__main__":
    from scripts.main import run_command

    sys.exit(run_command("scripts.export", sys.argv[1:]))
