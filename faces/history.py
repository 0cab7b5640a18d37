"""The history of a run: one JSON line an epoch, and the plot drawn from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from faces.errors import UserError
from faces.files import atomic_write, atomic_write_text, read_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIMINGS = ("seconds", "valid_seconds", "images_per_second", "data_wait", "memory_mb")
"""Fields of a line that depend on the machine; all others repeat exactly."""


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write one JSON line an epoch, replacing the file whole."""
    atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in history))


def read_history(run: Path) -> list[dict[str, Any]]:
    """The lines of a run folder's history.jsonl, or of such a file itself.

    Raises UserError for a missing file or a damaged line, which is named.
    """
    path = run / "history.jsonl" if run.is_dir() else run
    lines = []
    for number, line in enumerate(read_lines(path), 1):
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


def is_best(
    line: Mapping[str, Any], before: Sequence[Mapping[str, Any]], by: Literal["ap", "loss"]
) -> bool:
    """Whether an epoch is better than all ``before`` it.

    By ``ap``, one in which AP50 was measured is better than one without, and of equals that with
    the lower validation loss; so the loss decides where there is no AP at all. One whose validation
    loss is not finite is never the best.
    """

    def worth(line: Mapping[str, Any]) -> tuple[float, float]:
        loss, ap = line["valid"]["loss"], ap_of(line)
        if not math.isfinite(loss):
            return -math.inf, -math.inf
        return -1.0 if by == "loss" or ap is None else ap, -loss

    return math.isfinite(line["valid"]["loss"]) and all(worth(line) > worth(old) for old in before)


def ap_of(line: Mapping[str, Any]) -> float | None:
    """AP50 (0..1) after an epoch of a detector, TAR after one of an embedder; None where it was not
    measured, as in runs from before it was."""
    ap = line.get("tar", line.get("ap50"))
    return ap if isinstance(ap, int | float) and math.isfinite(ap) else None


def _figure(line: Mapping[str, Any]) -> str:
    return f"TAR at FAR {line.get('far', 0):g}" if "tar" in line else "AP50"


def best_line(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line of the epoch that best.pt holds: the last that says ``best`` of itself.

    Without such a line, as in runs from before there was that word, it is the one with the lowest
    validation loss, the first of equals; one that is not finite loses. Raises ValueError for an
    empty history.
    """

    def loss(line: dict[str, Any]) -> float:
        value = line["valid"]["loss"]
        return value if math.isfinite(value) else math.inf

    marked = [line for line in history if line.get("best")]
    return marked[-1] if marked else min(history, key=loss)


def describe(line: Mapping[str, Any]) -> str:
    """The figures that an epoch is judged by, in words: "AP50 0.812, validation loss 0.6543"."""
    ap, loss = ap_of(line), f"validation loss {line['valid']['loss']:.4f}"
    return loss if ap is None else f"{_figure(line)} {ap:.3f}, {loss}"


def plot_histories(histories: Mapping[str, Sequence[dict[str, Any]]]) -> Figure:
    """Training and validation loss, AP50 and the learning rate of one or more runs, as a figure.

    A run has one color: validation is a full line with a ring at its best epoch, training a
    dashed one. Where no run has an AP50 there is no panel for it. Of a single run the parts of the
    validation loss are shown too, and the drops of the learning rate, but not the epochs of a
    steady fall, go through all panels.

    Args:
        histories: name -> lines as `read_history` gives them, none empty.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    single = len(histories) == 1
    columns = 3 if single else 2
    rows = 3 if single else -(-(len(histories) + 2) // columns)
    measured = any(ap_of(line) is not None for history in histories.values() for line in history)
    heights = [4, 2, 1] if measured else [4, 1]
    figure = Figure(figsize=(9.5, 1 + sum(heights) * 0.8 + 0.22 * rows), layout="constrained")
    panels = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    losses, rates = panels[0], panels[-1]
    marker = "." if max(map(len, histories.values())) < 40 else None
    for i, (name, history) in enumerate(histories.items()):
        color = f"C{i % 10}"
        epochs = [line["epoch"] for line in history]
        valid = [line["valid"]["loss"] for line in history]
        best = best_line(history)
        ap = ap_of(best)
        figures = f"{best['valid']['loss']:.3f}"
        if ap is not None:
            figures += f", {_figure(best)} {ap:.3f}"
        note = f"best {figures} (epoch {best['epoch']})"
        losses.plot(
            epochs, valid, color=color, marker=marker, lw=2,
            label=f"validation, {note}" if single else f"{name}: {note}",
        )  # fmt: skip
        losses.plot(
            best["epoch"], best["valid"]["loss"], "o", color=color, ms=10, mfc="none", mew=1.5
        )
        train = [line["train"]["loss"] for line in history]
        losses.plot(
            epochs, train, color=color, marker=marker, ls="--", alpha=0.7,
            label="training" if single else None,
        )  # fmt: skip
        rates.plot(
            epochs, [line["lr"] for line in history], color=color, marker=marker,
            drawstyle="steps-mid",
        )  # fmt: skip
        if measured:
            _plot_ap(panels[1], history, best, color, marker)
    if single:
        [(name, history)] = histories.items()
        _plot_parts(losses, history)
        _mark_drops(panels, history)
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
    for axes in panels:
        axes.grid(alpha=0.3)
    handles = losses.get_legend_handles_labels()[0]
    if not single:
        handles.append(Line2D([], [], color="gray", lw=2, label="validation"))
        handles.append(Line2D([], [], color="gray", ls="--", label="training"))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9)
    return figure


def _plot_ap(
    axes: Axes,
    history: Sequence[dict[str, Any]],
    best: dict[str, Any],
    color: str,
    marker: str | None,
) -> None:
    points = [(line["epoch"], ap) for line in history if (ap := ap_of(line)) is not None]
    # A single point has no line, and with epochs left out the points say which were measured.
    if len(points) < 2 or len(points) < len(history):
        marker = "."
    axes.plot(*zip(*points, strict=True) if points else ([], []), color=color, marker=marker, lw=2)
    ap = ap_of(best)
    if ap is not None:
        axes.plot(best["epoch"], ap, "o", color=color, ms=10, mfc="none", mew=1.5)
    axes.set_ylabel(f"validation {_figure(best)}")
    axes.set_ylim(bottom=0)


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
