"""`faces export-embedder`: an embedding network becomes an ONNX file that gives what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from faces.errors import UserError
from scripts.main import run_program
from scripts.options.command_line import arg, log_to_stderr, parse

DESCRIPTION = """Write an embedding network as ONNX, which runs without torch and, on a CPU, faster.
It is compared with the network first: a file that differs is not written. The file can be given
wherever an embedder is asked for. Somebody else's ONNX file becomes an embedder, too, if its
network takes faces that are aligned as ArcFace's are; its threshold is not known then, so
`faces calibrate` comes next."""

EXAMPLES = """\
faces export-embedder runs/mini/last.pt
faces export-embedder inception --out inception.onnx
faces export-embedder inception --embedder-weights vggface2.pt --out inception.onnx
faces export-embedder w600k_r50.onnx --out r50.onnx    # insightface's: 127.5 and 127.5, red first
faces export-embedder theirs.onnx --mean 123.7 116.3 103.5 --std 58.4 57.1 57.4 --out ours.onnx"""


@dataclass(frozen=True)
class Options:
    """What to export and where to."""

    embedder: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT|FILE.onnx|inception")
    ]
    """A checkpoint of `faces pretrain-embedder`, somebody else's ONNX file, or inception."""
    embedder_weights: Annotated[Path | None, arg("from the cache or the network")] = None
    """State dict of InceptionResnetV1."""
    out: Annotated[Path | None, arg("beside the checkpoint", aliases=["-o"])] = None
    """The file to write."""
    mean: tuple[float, ...] = (127.5,)
    """For somebody else's file: what its network wants taken from pixels of 0 to 255; one number,
    or one each for red, green and blue."""
    std: tuple[float, ...] = (127.5,)
    """And what the rest is divided by."""
    bgr: bool = False
    """Its network takes blue first."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, 3):
                raise UserError(f"--{name} takes one number or three")


def main(argv: Sequence[str]) -> int:
    """Export and print how the file compares."""
    options: Options = parse(Options, argv, "faces export-embedder", DESCRIPTION, EXAMPLES)
    log_to_stderr()
    from recognizer.embedders.export import export_embedder, open_network

    if Path(options.embedder).suffix.lower() == ".onnx":
        return _adopt(options)
    network = open_network(options.embedder, options.embedder_weights)
    out = options.out or network.default_file
    difference = export_embedder(network, out)
    size = out.stat().st_size / 2**20
    print(f"{out} ({size:.1f} MB): {network.identity}, largest difference {difference:.1e}")
    return 0


def _adopt(options: Options) -> int:
    """Make an embedder of somebody else's ONNX file."""
    from recognizer.embedders.foreign import adopt_onnx

    source = Path(options.embedder)
    if not source.is_file():
        raise UserError(f"there is no file {source}")
    out = options.out or source.with_name(f"{source.stem}.faces.onnx")
    if out.exists() and out.samefile(source):
        raise UserError(f"--out {out} would replace the original: name another file")
    mean, std = (values * (3 // len(values)) for values in (options.mean, options.std))
    identity = adopt_onnx(source, out, mean, std, bgr=options.bgr)
    print(f"{out} ({out.stat().st_size / 2**20:.1f} MB): {identity}")
    print(f"measure its threshold next: faces calibrate --embedder {out} --folders PEOPLE")
    return 0


if __name__ == "__main__":
    run_program("scripts.export_embedder")
