"""The digests of shipped networks, which loading them checks."""

from __future__ import annotations

from pathlib import Path

from faces.files import atomic_write_text, file_digest
from faces.networks.shipped import DIGESTS


def write_digests(folder: Path) -> list[Path]:
    """List the digests of all networks, and lists that go with them; returns their paths."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".onnx", ".pt", ".gz"))
    lines = [f"{file_digest(path)}  {path.name}\n" for path in files]
    atomic_write_text(folder / DIGESTS, "".join(lines))
    return files
