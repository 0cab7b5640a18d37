"""`faces export-liveness`: MiniFASNet's published weights as one ONNX file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from faces.errors import UserError
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, needed, parse

logger = logging.getLogger(__name__)

DESCRIPTION = """Make one ONNX file of the published weights of MiniFASNet, from the project
Silent-Face-Anti-Spoofing (Apache-2.0), for --liveness. It is written only when it gives the
scores of the originals."""

EXAMPLES = """\
faces export-liveness 2.7_80x80_MiniFASNetV2.pth 4_0_0_80x80_MiniFASNetV1SE.pth
faces export-liveness 2.7_80x80_MiniFASNetV2.pth --out models/liveness.onnx"""


@dataclass(frozen=True)
class Options:
    """What to convert, and where to."""

    weights: Annotated[tyro.conf.Positional[tuple[Path, ...]], needed("FILE [FILE ...]")] = ()
    """Published files with their published names, which begin with the scale of the crop."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("liveness.onnx")
    """The ONNX file."""
    quiet: bool = False
    """Warnings only."""

    def __post_init__(self) -> None:
        if not self.weights:
            raise UserError("give the published files of weights (.pth)")


def main(argv: Sequence[str]) -> int:
    """Parse, convert, compare, write; prints the file's name."""
    options: Options = parse(Options, argv, "faces export-liveness", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    from pipeline.liveness.export import export_liveness

    logger.info("converting, which can take a minute")
    difference = export_liveness(options.weights, options.out)
    logger.info("scores differ by at most %.1g from the originals", difference)
    print(options.out)
    return 0


if __name__ == "__main__":
    run_program("scripts.export_liveness")
