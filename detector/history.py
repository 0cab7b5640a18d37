"""The history of a run: one JSON line an epoch, and the plot drawn from it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.errors import UserError
from detector.files import atomic_write, atomic_write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIMINGS = ("seconds", "images_per_second", "data_wait", "memory_mb")
"""Fields of a line that depend on the machine; all others repeat exactly."""


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write one JSON line an epoch, replacing the file whole."""
    atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in history))


def read_history(run: Path) -> list[dict[str, Any]]:
    """The lines of a run folder's history.jsonl, or of such a file itself.

    Raises UserError for a missing file or a damaged line, which is named.
    """
    path = run / "history.jsonl" if run.is_dir() else run
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the history {path}: {error}") from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            values = json.loads(line)
            _ = values["epoch"], values["train"]["loss"], values["valid"]["loss"], values["lr"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number} is not a line of history: {line[:60]}"
            ) from error
        lines.append(values)
    if not lines:
        raise UserError(f"{path} is empty: the run has not finished an epoch yet")
    return lines


def plot_histories(histories: dict[str, Sequence[dict[str, Any]]]) -> Figure:
    """Training and validation loss of one or more runs against the epoch, as a figure.

    With one run the four parts of the validation loss are shown too; learning-rate drops are
    vertical lines, the best epoch a dot.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    colours = [f"C{i}" for i in range(10)]
    for i, (name, history) in enumerate(histories.items()):
        colour = colours[i % 10]
        epochs = [line["epoch"] for line in history]
        valid = [line["valid"]["loss"] for line in history]
        marker = "." if len(epochs) < 40 else None
        axes.plot(epochs, valid, color=colour, marker=marker, label=f"{name}: validation")
        train = [line["train"]["loss"] for line in history]
        axes.plot(
            epochs,
            train,
            color=colour,
            ls="--",
            marker=marker,
            alpha=0.7,
            label=f"{name}: training",
        )
        best = min(range(len(valid)), key=lambda k: valid[k] if math.isfinite(valid[k]) else 1e30)
        axes.plot(epochs[best], valid[best], "o", color=colour, ms=9, mfc="none", mew=2)
        axes.annotate(
            f"{valid[best]:.3f}",
            (epochs[best], valid[best]),
            textcoords="offset points",
            xytext=(0, -16),
            ha="center",
            color=colour,
        )
        for k in range(1, len(history)):
            if history[k]["lr"] < history[k - 1]["lr"] * 0.999:
                axes.axvline(epochs[k] - 0.5, color=colour, lw=1, ls=":", alpha=0.8)
                axes.annotate(
                    f"lr {history[k]['lr']:.1e}",
                    (epochs[k] - 0.5, 0.98),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    va="top",
                    ha="right",
                    fontsize=8,
                    color=colour,
                )
        if len(histories) == 1:
            for part in [key for key in history[0]["valid"] if key != "loss"]:
                axes.plot(
                    epochs,
                    [line["valid"][part] for line in history],
                    lw=1,
                    alpha=0.7,
                    label=f"validation: {part.removeprefix('loss_').replace('_', ' ')}",
                )
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title("Training and validation loss" if len(histories) == 1 else "Runs compared")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; the format follows the suffix, PNG without one.

    Raises UserError for a suffix that matplotlib does not write.
    """
    suffix = path.suffix.lstrip(".").lower() or "png"
    supported = figure.canvas.get_supported_filetypes()
    if suffix not in supported:
        raise UserError(
            f"{path}: a picture cannot be a .{suffix}; take {', '.join(sorted(supported))}"
        )
    with atomic_write(path) as file:
        figure.savefig(file, format=suffix, dpi=120)
