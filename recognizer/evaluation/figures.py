"""Pictures of an evaluation: curves, histograms, confusions, groups, and the worst errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faces.history import save_figure
from recognizer.error_rates import FAILED, Roc, Scores
from recognizer.evaluation.all_pairs import Wrong
from recognizer.evaluation.identification import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CONFUSED = 30
COLUMNS = 4


def draw_roc(path: Path, curves: Mapping[str, Roc], counts: Mapping[str, int], title: str) -> bool:
    """TAR over FAR (PNG), FAR on a log axis from the rate of one false match on.

    Args:
        counts: impostor pairs of each.

    Returns whether there was a curve to draw.
    """
    if not curves:
        return False
    figure = _figure(6.4, 5.2)
    axes = figure.add_subplot()
    lowest = min(1 / counts[name] for name in curves)
    for name, curve in curves.items():
        x = np.maximum(curve.fmr, lowest)
        # Millions of points make no better line.
        keep = np.unique(np.searchsorted(x, np.geomspace(lowest, 1, 2000), "right") - 1)
        axes.step(x[keep], 1 - curve.fnmr[keep], where="post", label=name)
    # Left of it there are fewer than ten false matches, and the line is made of single pairs.
    axes.axvline(10 * lowest, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="false accept rate (FAR, FMR)", ylabel="true accept rate (TAR)")
    axes.set(xlim=(lowest, 1), ylim=(0, 1.005))
    axes.set_title(f"{title}\nleft of the dotted line: fewer than 10 false matches", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(figure, path)
    return True


def draw_cosines(path: Path, scores: Scores, threshold: float, title: str) -> bool:
    """Histograms (PNG) of genuine and impostor cosines, each with area 1; failed pairs left out.

    Returns whether there was a pair to draw.
    """
    kinds = {"genuine": scores.genuine, "impostor": scores.impostor}
    shown = {name: values[values > FAILED] for name, values in kinds.items()}
    if not any(len(values) for values in shown.values()):
        return False
    figure = _figure(6.4, 4)
    axes = figure.add_subplot()
    low = min(values[0] for values in shown.values() if len(values))
    bins = np.linspace(min(low, threshold), 1, 101)
    for name, values in shown.items():
        if len(values):
            label = f"{name} ({len(values):,} pairs)"
            axes.hist(values, bins.tolist(), density=True, alpha=0.55, label=label)
    axes.axvline(threshold, color="0.2", linewidth=1, label=f"threshold {threshold:.3f}")
    axes.set(xlabel="cosine", ylabel="density")
    axes.set_title(title, fontsize=9)
    axes.legend()
    save_figure(figure, path)
    return True


def draw_identification(path: Path, searches: Mapping[str, Search], title: str) -> None:
    """FNIR and FPIR over the threshold, and FNIR over FPIR (PNG)."""
    figure = _figure(10.5, 4.6)
    left, right = figure.subplots(1, 2)
    threshold = np.linspace(-0.2, 1, 601)
    for i, (name, found) in enumerate(searches.items()):
        fnir, fpir = found.fnir(threshold), found.fpir(threshold)
        left.plot(threshold, fnir, color=f"C{i}", label=f"{name}: FNIR")
        left.plot(threshold, fpir, color=f"C{i}", linestyle="--", label=f"{name}: FPIR")
        seen = fpir > 0
        right.plot(fpir[seen], fnir[seen], color=f"C{i}", label=name)
    left.set(xlabel="threshold (cosine)", ylabel="rate", ylim=(0, 1.005))
    right.set(xlabel="FPIR: strangers who get a name", ylabel="FNIR: people without their own")
    right.set(ylim=(0, 1.005))
    if any(np.isfinite(line.get_xydata()).all(axis=1).any() for line in right.lines):
        right.set(xscale="log")
        right.legend()
    else:  # a log axis of nothing raises ValueError
        mated = np.concatenate([found.mated for found in searches.values()])
        missing = "probes of enrolled people" if not mated.any() else "named strangers"
        missing = "probes of strangers" if mated.all() else missing
        right.text(0.5, 0.5, f"no {missing}", ha="center", transform=right.transAxes)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


def draw_confusion(
    path: Path, people: Sequence[str], matrix: NDArray[np.int64], title: str
) -> None:
    """The confusion matrix (PNG) of the people with most errors, at most 30, and "unknown"."""
    own = np.diag(matrix)[:-1]
    mixed = matrix[:-1, :-1].sum(axis=0) + matrix[:-1].sum(axis=1) - 2 * own
    # Then those whose name strangers get most often.
    order = np.lexsort((-matrix[-1, :-1], -mixed))[:MOST_CONFUSED]
    chosen = np.append(np.sort(order), len(people))
    part = matrix[np.ix_(chosen, chosen)]
    names = [*(people[i] for i in chosen[:-1]), "unknown"]
    side = 3 + 0.28 * len(chosen)
    figure = _figure(side + 0.8, side)
    axes = figure.add_subplot()
    share = part / np.maximum(part.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(part), strict=True):
        color = "white" if share[i, j] > 0.5 else "black"
        axes.text(j, i, str(part[i, j]), ha="center", va="center", fontsize=6, color=color)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlabel="named", ylabel="is")
    of = f", the {len(order)} of {len(people):,} people with most errors"
    axes.set_title(f"{title}{of if len(order) < len(people) else ''}", fontsize=9)
    save_figure(figure, path)


def draw_groups(path: Path, section: Mapping[str, Any]) -> None:
    """FNMR and FMR of every group with their intervals (PNG), from the report's section."""
    rows = [(kind["kind"], group) for kind in section["kinds"] for group in kind["groups"]]
    figure = _figure(9, 1.6 + 0.3 * len(rows))
    for axes, key in zip(figure.subplots(1, 2, sharey=True), ("fnmr", "fmr"), strict=True):
        for y, (_, group) in enumerate(rows):
            if group[key] is not None:
                axes.plot(group[key], y, "o", color="C0")
                if group[f"{key}_interval"] is not None:
                    axes.plot(group[f"{key}_interval"], (y, y), color="C0")
        axes.set(xlabel=key.upper(), ylim=(len(rows) - 0.5, -0.5))
        axes.set_yticks(range(len(rows)), [f"{kind}: {group['group']}" for kind, group in rows])
        axes.grid(alpha=0.3)
    figure.suptitle(
        f"threshold {section['threshold']:.3f}; lines: 95 % intervals over people", fontsize=9
    )
    save_figure(figure, path)


def draw_worst(
    path: Path,
    pairs: Sequence[Wrong],
    crops: Mapping[int, NDArray[np.uint8]],
    names: Sequence[str],
    threshold: float,
) -> bool:
    """The worst pairs side by side (PNG), as the network saw them; whether there was any.

    Args:
        crops: RGB uint8 (S, S, 3) of each photo in a pair.
    """
    if not pairs:
        return False
    rows = -(-len(pairs) // COLUMNS)
    figure = _figure(COLUMNS * 3, rows * 2 + 0.5)
    for axes in (grid := figure.subplots(rows, COLUMNS, squeeze=False)).flat:
        axes.set_axis_off()
    for axes, pair in zip(grid.flat, pairs, strict=False):
        both = [crops[pair.first], crops[pair.second]]
        gap = np.full((len(both[0]), max(2, len(both[0]) // 28), 3), 255, np.uint8)
        axes.imshow(np.concatenate([both[0], gap, both[1]], axis=1))
        kind = "false non-match" if pair.same else "false match"
        captions = [_short(names[i]) for i in (pair.first, pair.second)]
        axes.set_title(f"{kind} {pair.cosine:.3f}\n{captions[0]}\n{captions[1]}", fontsize=6)
    figure.suptitle(f"the worst pairs at threshold {threshold:.3f}", fontsize=9)
    save_figure(figure, path)
    return True


def _short(name: str, most: int = 44) -> str:
    # A dollar sign would start a formula.
    return ("..." + name[-most:] if len(name) > most else name).replace("$", r"\$")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
