"""The networks that come with the package, in `recognizer/weights`."""

from __future__ import annotations

from pathlib import Path

from faces.networks import shipped

FOLDER = Path(__file__).parent / "weights"


def shipped_file(name: str) -> Path:
    """The path of a file that comes with the package; see `faces.networks.shipped.shipped_file`."""
    return shipped.shipped_file(FOLDER, name)
