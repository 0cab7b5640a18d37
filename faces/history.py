"""The history of a run: one JSON line an epoch, and the plot drawn from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from faces.files import atomic_write, atomic_write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def best_line(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line with the lowest validation loss, the first of equals; one that is not finite loses.

    Raises ValueError for an empty history.
    """

    def loss(line: dict[str, Any]) -> float:
        value = line["valid"]["loss"]
        return value if math.isfinite(value) else math.inf

    return min(history, key=loss)


def plot_histories(histories: Mapping[str, Sequence[dict[str, Any]]]) -> Figure:
    """Training and validation loss, and the learning rate, of one or more runs, as a figure.

    A run has one colour: validation is a full line with a ring at its best epoch, training a
    dashed one. Of a single run the parts of the validation loss are shown too, and the drops of
    the learning rate, but not the epochs of a steady fall, go through both panels.

    Args:
        histories: name -> lines as `read_history` gives them, none empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    single = len(histories) == 1
    columns = 3 if single else 2
    rows = 3 if single else -(-(len(histories) + 2) // columns)
    figure = Figure(figsize=(9.5, 5 + 0.22 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    marker = "." if max(map(len, histories.values())) < 40 else None
    for i, (name, history) in enumerate(histories.items()):
        colour = f"C{i % 10}"
        epochs = [line["epoch"] for line in history]
        valid = [line["valid"]["loss"] for line in history]
        best = best_line(history)
        note = f"best {best['valid']['loss']:.3f} (epoch {best['epoch']})"
        losses.plot(
            epochs, valid, color=colour, marker=marker, lw=2,
            label=f"validation, {note}" if single else f"{name}: {note}",
        )  # fmt: skip
        losses.plot(
            best["epoch"], best["valid"]["loss"], "o", color=colour, ms=10, mfc="none", mew=1.5
        )
        train = [line["train"]["loss"] for line in history]
        losses.plot(
            epochs, train, color=colour, marker=marker, ls="--", alpha=0.7,
            label="training" if single else None,
        )  # fmt: skip
        rates.plot(
            epochs, [line["lr"] for line in history], color=colour, marker=marker,
            drawstyle="steps-mid",
        )  # fmt: skip
    if single:
        [(name, history)] = histories.items()
        _plot_parts(losses, history)
        _mark_drops([losses, rates], history)
    losses.set_title(f"Losses of {name}" if single else f"{len(histories)} runs compared")
    losses.set_ylabel("loss")
    # A wild first epoch must not flatten the rest into a line.
    values = [
        line[part]["loss"] for lines in histories.values() for line in lines
        for part in ("train", "valid")
    ]  # fmt: skip
    every = sorted(filter(math.isfinite, values)) or [1.0]
    losses.set_ylim(0, 1.05 * min(every[-1], 3 * every[len(every) // 2]))
    rates.set_ylabel("learning rate")
    rates.set_yscale("log")
    rates.set_xlabel("epoch")
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, rates):
        axes.grid(alpha=0.3)
    handles = losses.get_legend_handles_labels()[0]
    if not single:
        handles.append(Line2D([], [], color="grey", lw=2, label="validation"))
        handles.append(Line2D([], [], color="grey", ls="--", label="training"))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9)
    return figure


def _plot_parts(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    epochs = [line["epoch"] for line in history]
    for i, part in enumerate(key for key in history[0]["valid"] if key != "loss"):
        values = [line["valid"].get(part, math.nan) for line in history]
        label = f"validation: {part.removeprefix('loss_').replace('_', ' ')}"
        axes.plot(epochs, values, color=f"C{i + 1}", lw=1, alpha=0.8, label=label)


def _mark_drops(panels: Sequence[Axes], history: Sequence[dict[str, Any]]) -> None:
    label = "learning rate lowered"
    pairs = list(pairwise(history))
    falls = [False, *(after["lr"] < 0.999 * before["lr"] for before, after in pairs), False]
    for i, (before, line) in enumerate(pairs, 1):
        # A cooldown lowers it in every epoch: a slope in the lower panel, not a line each.
        if falls[i] and not (falls[i - 1] or falls[i + 1]):
            middle = (before["epoch"] + line["epoch"]) / 2
            for axes in panels:
                axes.axvline(middle, color="0.35", lw=1, ls=":", label=label)
            label = ""  # one line of the legend stands for all


def figure_format(path: Path) -> str:
    """The format of a figure with this name: its suffix, PNG without one.

    Raises UserError for a suffix that matplotlib does not write.
    """
    from matplotlib.figure import Figure

    suffix = path.suffix.lstrip(".").lower() or "png"
    supported = Figure().canvas.get_supported_filetypes()
    if suffix not in supported:
        raise UserError(
            f"{path}: a picture cannot be a .{suffix}; take {', '.join(sorted(supported))}"
        )
    return suffix


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; raises UserError as `figure_format` does."""
    suffix = figure_format(path)
    with atomic_write(path) as file:
        figure.savefig(file, format=suffix, dpi=120)
