"""The trained detector that comes with the package, known everywhere by the name "shipped".

There are two files. fpn.onnx is run: with it torch is never imported, which would be most of a
cold start. fpn.pt is the checkpoint it was made of, to fine-tune and to export. Making the first
from the second on first use would cost every user a minute, and torch; so it is shipped.
"""

from __future__ import annotations

from pathlib import Path

from faces.networks.shipped import shipped_file

SHIPPED = "shipped"
FOLDER = Path(__file__).parent / "weights"
CHECKPOINT = "fpn.pt"
NETWORK = "fpn.onnx"


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
