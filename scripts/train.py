"""`faces train`: images and VOC annotations in, a run folder with a trained detector out."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from detector.config import TrainConfig
from detector.tasks import base_config
from faces.errors import UserError
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse

DESCRIPTION = """Train a face detector from images and PASCAL VOC annotations, or go on with a run.
The defaults shown are those of the chosen --arch; --config FILE.toml changes them, flags have the
last word."""

EXAMPLES = """\
faces train --data data/wider
faces train --data roboflow-export/data.yaml
faces train --image-path data/wider/train/images --train-ann-dir data/wider/train/annotations \\
            --valid-path data/wider/val/images --valid-ann-dir data/wider/val/annotations
faces train --resume runs/fpn
faces train --init runs/fpn/best.pt --run runs/mine --learning-rate 3e-4 --image-path ...
faces train --config mine.toml --run runs/second --epochs 60
faces train --arch reference -b 10 -i 224 -e 40 -w 4 -l 0.0001 -m model.pt --image_path IMAGES \\
            --valid_path VALID --train_ann_dir XML --valid_ann_dir VALID_XML --fig_path loss.png
torchrun --nproc-per-node 2 -m scripts.train -- --image-path ...
torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
         --max-restarts 3 -m scripts.train -- --data data/wider --run runs/wide --resume auto"""


def main(argv: Sequence[str]) -> int:
    """Parse, train, and say where everything is."""
    config = read_arguments(argv)
    log_to_stderr()
    from tqdm.contrib.logging import logging_redirect_tqdm

    from detector.training.distributed import leave_world
    from detector.training.train import fit
    from faces.history import best_line, describe

    try:
        with logging_redirect_tqdm():
            result = fit(config)
    finally:
        leave_world()
    if result.stopped_by is not None:
        print(f"Stopped and saved. Go on with: faces train --resume {result.run}", file=sys.stderr)
        return 128 + result.stopped_by
    if not result.main:
        return 0
    best = best_line(result.history)
    if not math.isfinite(best["valid"]["loss"]):
        raise UserError(
            f"no epoch of {result.run} had a finite validation loss, so there is no best.pt; look "
            "at the validation pictures with `faces prepare check`"
        )
    print(f"best epoch:  {best['epoch']} ({describe(best)})")
    print(f"checkpoint:  {result.run / 'best.pt'}")
    print(f"history:     {result.run / 'history.jsonl'}")
    print(f"loss plot:   {result.run / 'loss.png'}")
    print(f"samples:     {result.run / 'samples.png'}")
    return 0


def read_arguments(argv: Sequence[str]) -> TrainConfig:
    """Default of the architecture < --config file < flags; a resumed run starts from its own."""
    flags = ("--resume", "--arch", "--run", "--config")
    base = base_config(*(_peek(argv, flag) for flag in flags))
    config = parse(TrainConfig, argv, "faces train", DESCRIPTION, EXAMPLES, base)
    if config.model_file is not None and config.model_file.suffix in (".onnx", ".pt2"):
        raise UserError(
            f"--model {config.model_file}: training writes a checkpoint (.pt); make the other "
            "formats from it with `faces export`"
        )
    return config


def _peek(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag, before the parser that depends on it is built."""
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(flag + "="):
            return argument.split("=", 1)[1]
    return None


if __name__ == "__main__":
    run_program("scripts.train")
