"""The trained detector that comes with the package, known everywhere by the name "shipped".

There are three files. fpn.onnx is run: with it torch is never imported, which would be most of a
cold start. fpn.int8.onnx is the same in int8, for speed "fast". fpn.pt is the checkpoint they were
made of, to fine-tune and to export. Making the others from it on first use would cost every user a
minute, and torch; so they are shipped.
"""

from __future__ import annotations

from pathlib import Path

from faces.errors import UserError
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

    Raises UserError as `find_model` does, and for a folder.
    """
    path = shipped_file(FOLDER, CHECKPOINT) if str(name) == SHIPPED else Path(name)
    refuse_folder(path)
    return path


def refuse_folder(path: Path) -> None:
    """Raise UserError for a folder in place of a detector's file."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the file, {path / 'best.pt'} for a run folder")


def find_int8(path: Path) -> Path | None:
    """The int8 file that lies beside an ONNX file; None where there is none.

    Raises UserError as `find_model` does, where ``path`` is the shipped one.
    """
    if path == FOLDER / NETWORK:
        return shipped_file(FOLDER, path.with_suffix(INT8).name)
    small = path.with_suffix(INT8)
    return small if small.is_file() else None
