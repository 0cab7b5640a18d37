"""`faces plot`: redraw the losses of a run from its history, or compare several runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from faces.errors import UserError
from faces.text import counted
from scripts.main import run_program
from scripts.options.command_line import arg, needed, parse

DESCRIPTION = """Draw training and validation loss, AP50 and the learning rate of one run, or of
several in one picture. Only history.jsonl is read, so it works while a run goes on, and years
later."""

EXAMPLES = """\
faces plot runs/fpn
faces plot runs/fpn runs/reference --out compare.png
faces plot runs/fpn/history.jsonl --out losses.svg"""


@dataclass(frozen=True)
class Options:
    """Which runs, and where to draw them."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], needed("RUN [RUN ...]")]
    """Run folders of `faces train`, or their history.jsonl."""
    out: Annotated[
        Path | None, arg("RUN/loss.png; compare.png for several", aliases=["-o"], metavar="FILE")
    ] = None
    """The picture; .png, .svg and .pdf work."""


def main(argv: Sequence[str]) -> int:
    """Parse, read the histories, draw."""
    options: Options = parse(Options, argv, "faces plot", DESCRIPTION, EXAMPLES)
    if not options.runs:
        raise UserError("no run was given: faces plot RUN [RUN ...]")
    from faces.history import best_line, describe, plot_histories, read_history, save_figure

    runs = list(dict.fromkeys(options.runs))
    for run in runs:
        if not run.exists():
            raise UserError(f"there is no run {run}")
        if run.is_dir() and not (run / "history.jsonl").is_file():
            raise UserError(
                f"{run} has no history.jsonl: it is no run folder of `faces train`, or its first "
                "epoch has not ended yet"
            )
    histories = dict(zip(run_names(runs), map(read_history, runs), strict=True))
    out = options.out or default_picture(runs)
    try:
        save_figure(plot_histories(histories), out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from error
    for name, history in histories.items():
        best = best_line(history)
        print(
            f"{name}: {counted(len(history), 'epoch')}, best {describe(best)} "
            f"(epoch {best['epoch']})"
        )
    print(f"picture: {out}")
    return 0


def run_names(runs: Sequence[Path]) -> list[str]:
    """A short name for each run: its folder's, with as many parents as it takes to differ."""
    folders = [
        Path(os.path.abspath(run if run.is_dir() else run.parent))  # noqa: PTH100
        for run in runs
    ]
    for length in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in runs]


def default_picture(runs: Sequence[Path]) -> Path:
    """Beside the history of one run; in the current folder for several."""
    if len(runs) > 1:
        return Path("compare.png")
    return (runs[0] if runs[0].is_dir() else runs[0].parent) / "loss.png"


if __name__ == "__main__":
    run_program("scripts.plot")
