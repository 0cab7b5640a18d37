"""`python -m scripts.ship CHECKPOINT`: make a run's checkpoint the detector that is shipped.

For maintainers, so it is no command of `faces`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Write the weights in half precision into detector/weights, with their digest."""
    import torch

    from common.files import atomic_write_text
    from detector.checkpoint import load_checkpoint, save_checkpoint
    from detector.shipped import DIGEST_FILE, FILE

    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        raise UserError("usage: python -m scripts.ship CHECKPOINT")
    payload = load_checkpoint(Path(argv[0]))
    del payload["format"], payload["version"]
    payload.pop("training", None)
    payload["weights"] = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in payload["weights"].items()
    }
    for folder in ("image_path", "train_ann_dir", "valid_path", "valid_ann_dir"):
        payload["config"]["data"][folder] = None  # of the machine that trained it
    payload["config"] |= {"run": None, "model_file": None, "fig_path": None, "init": None}
    payload["config"]["model"]["backbone_weights"] = "none"
    save_checkpoint(FILE, payload)
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    atomic_write_text(DIGEST_FILE, f"{digest}  {FILE.name}\n")
    print(f"{FILE} ({FILE.stat().st_size / 2**20:.1f} MB), sha256 {digest}")
    return 0


if __name__ == "__main__":
    from scripts.main import run_command

    sys.exit(run_command("scripts.ship", sys.argv[1:]))
