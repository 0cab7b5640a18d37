"""The networks that come with the package, in `recognizer/weights`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from common.errors import UserError

FOLDER = Path(__file__).parent / "weights"
DIGESTS = "SHA256SUMS"


def shipped_file(name: str) -> Path:
    """The path of a file that comes with the package.

    Raises UserError when it is missing or is not the one that was shipped.
    """
    remedy = "install the project anew"
    path = FOLDER / name
    try:
        lines = (FOLDER / DIGESTS).read_text(encoding="ascii").splitlines()
        wanted = {line.split()[1]: line.split()[0] for line in lines}[name]
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, IndexError, KeyError) as error:
        raise UserError(f"the shipped network {path} cannot be read: {remedy}") from error
    if found != wanted:
        raise UserError(f"the shipped network {path} is damaged: {remedy}")
    return path
