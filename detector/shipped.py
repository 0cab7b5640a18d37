"""The trained detector that comes with the package, known everywhere by the name "shipped".

There are three files. fpn.onnx is run: with it torch is never imported, which would be most of a
cold start. fpn.int8.onnx is the same in int8, for speed "fast". fpn.pt is the checkpoint they were
made of, to fine-tune and to export. Making the others from it on first use would cost every user a
minute, and torch; so they are shipped.
"""

from __future__ import annotations

from pathlib import Path

from faces.networks.shipped import shipped_file

SHIPPED = "shipped"
FOLDER = Path(__file__).parent / "weights"
CHECKPOINT = "fpn.pt"
NETWORK = "fpn.onnx"
INT8 = ".int8.onnx"
"""In place of .onnx: the name of the int8 file that belongs to an ONNX file."""


def find_model(name: str | Path) -> Path:
    """``name`` as a path to run; "shipped" is the ONNX file that comes with the package.

    Raises UserError when that is missing or is not the one that was shipped.
    """
    return shipped_file(FOLDER, NETWORK) if str(name) == SHIPPED else Path(name)


def find_checkpoint(name: str | Path) -> Path:
    """``name`` as a path to train or export from; "shipped" is the checkpoint of the package.

    Raises UserError as `find_model` does.
    """
    return shipped_file(FOLDER, CHECKPOINT) if str(name) == SHIPPED else Path(name)


def find_int8(path: Path) -> Path | None:
    """The int8 file that lies beside an ONNX file; None where there is none.

    Raises UserError as `find_model` does, where ``path`` is the shipped one.
    """
    if path == FOLDER / NETWORK:
        return shipped_file(FOLDER, path.with_suffix(INT8).name)
    small = path.with_suffix(INT8)
    return small if small.is_file() else None
