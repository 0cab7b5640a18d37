"""`faces export-embedder`: an embedding network becomes an ONNX file that gives what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scripts.main import run_program
from scripts.options.command_line import arg, log_to_stderr, parse

DESCRIPTION = """Write an embedding network as ONNX, which runs without torch and, on a CPU, faster.
It is compared with the network first, on faces of several batch sizes: a file that differs is not
written. The file can be given wherever an embedder is asked for."""

EXAMPLES = """\
faces export-embedder runs/mini/last.pt
faces export-embedder inception --out inception.onnx
faces export-embedder inception --embedder-weights vggface2.pt --out inception.onnx"""


@dataclass(frozen=True)
class Options:
    """What to export and where to."""

    embedder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT|inception")]
    """A checkpoint of `faces pretrain-embedder`, or inception."""
    embedder_weights: Annotated[Path | None, arg("from the cache or the network")] = None
    """State dict of InceptionResnetV1."""
    out: Annotated[Path | None, arg("beside the checkpoint", aliases=["-o"])] = None
    """The file to write."""


def main(argv: Sequence[str]) -> int:
    """Export and print how the file compares."""
    options: Options = parse(Options, argv, "faces export-embedder", DESCRIPTION, EXAMPLES)
    log_to_stderr()
    from recognizer.embedders.export import export_embedder, open_network

    network = open_network(options.embedder, options.embedder_weights)
    out = options.out or network.default_file
    difference = export_embedder(network, out)
    size = out.stat().st_size / 2**20
    print(f"{out} ({size:.1f} MB): {network.identity}, largest difference {difference:.1e}")
    return 0


if __name__ == "__main__":
    run_program("scripts.export_embedder")
