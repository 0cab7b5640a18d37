"""The trained detector that comes with the package, known everywhere by the name "shipped"."""

from __future__ import annotations

import hashlib
from pathlib import Path

from common.errors import UserError

SHIPPED = "shipped"
FILE = Path(__file__).parent / "weights" / "fpn.pt"
DIGEST_FILE = FILE.with_suffix(".sha256")


def find_model(name: str | Path) -> Path:
    """``name`` as a path; "shipped" is the detector that comes with the package.

    Raises UserError when the shipped file is missing or is not the one that was shipped.
    """
    if str(name) != SHIPPED:
        return Path(name)
    remedy = "install the project anew, or name a model of your own"
    try:
        wanted = DIGEST_FILE.read_text(encoding="ascii").split()[0]
        found = hashlib.sha256(FILE.read_bytes()).hexdigest()
    except (OSError, IndexError) as error:
        raise UserError(f"the shipped detector {FILE} cannot be read: {remedy}") from error
    if found != wanted:
        raise UserError(f"the shipped detector {FILE} is damaged: {remedy}")
    return FILE
