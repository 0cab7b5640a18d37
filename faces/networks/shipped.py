"""Networks that come with a package: files in its ``weights`` folder, each with a digest."""

from __future__ import annotations

from pathlib import Path

from faces.errors import UserError
from faces.files import file_digest

DIGESTS = "SHA256SUMS"


def shipped_file(folder: Path, name: str) -> Path:
    """The path of a file of ``folder``, once its SHA-256 is the one that was shipped.

    Raises UserError when it is missing or another.
    """
    path = folder / name
    remedy = "install the project again, or name a file of your own"
    try:
        lines = (folder / DIGESTS).read_text(encoding="ascii").splitlines()
        wanted = {line.split()[1]: line.split()[0] for line in lines}[name]
        found = file_digest(path)
    except (UserError, OSError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"the shipped network {path} cannot be read: {remedy}") from error
    if found != wanted:
        raise UserError(f"the shipped network {path} is damaged: {remedy}")
    return path
