"""The results of a comparison as Markdown, JSON and a scatter of AP against time."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from detector.benchmark.contestants import FAST_RUNTIMES, Contestant
from detector.benchmark.timing import ContestantFailed, Timing
from detector.evaluation.wider import PROTOCOL, SETTINGS
from faces.history import save_figure
from faces.text import counted

PACKAGES = ("torch", "torchvision", "onnxruntime", "facenet-pytorch", "numpy", "pillow")


@dataclass(frozen=True)
class Result:
    """What is known of one contestant."""

    contestant: Contestant  # who
    # its times, one for each image, and its memory; or why there are none
    timing: Timing | ContestantFailed
    # easy, medium and hard AP (None for a setting without a face); None when not asked for or not
    # possible; or why there is none
    ap: dict[str, float | None] | ContestantFailed | None = None
    parameters: int | None = None  # how many numbers it learned; None where that could not be told
    file_bytes: int | None = None  # the size of its weights on the disk; None without a file

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Its times, one for each image; empty when it failed."""
        return np.array(self.timing.seconds if isinstance(self.timing, Timing) else (), np.float64)

    @property
    def fell_back(self) -> bool:
        """Whether it should have run at speed "fast", which was no gain on this processor."""
        return isinstance(self.timing, Timing) and (
            self.contestant.speed == "fast" and self.timing.arithmetic == "float32"
        )

    @property
    def runtime(self) -> str:
        """What ran it."""
        if self.contestant.speed == "fast" and isinstance(self.timing, Timing):
            return FAST_RUNTIMES.get(self.timing.arithmetic, self.contestant.runtime)
        return self.contestant.runtime

    @property
    def failures(self) -> list[str]:
        """Why it has no time, or no AP."""
        return [str(part) for part in (self.timing, self.ap) if isinstance(part, ContestantFailed)]


@dataclass(frozen=True)
class Setup:
    """Under what conditions."""

    images: int  # how many were timed; ap_images: how many were evaluated, None without AP
    max_side: int  # longest side in pixels that everyone got; 0 is each image's own
    threads: int  # CPU threads of each runtime
    repeats: int  # counted looks at each image
    threshold: float  # lowest score asked for while time was taken
    busy: float  # share of the machine's processors (0..1) that others used just before
    machine: dict[str, str]  # see `machine`
    ap_images: int | None = None


def machine() -> dict[str, str]:
    """Processor, system, versions of what matters, and the date."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "processors": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": platform.platform(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Median, 10th and 90th percentile."""
    middle, low, high = np.percentile(values, [50, 10, 90])
    return float(middle), float(low), float(high)


def ratios(one: Result, other: Result) -> tuple[float, float, float] | None:
    """How many times as long ``one`` takes as ``other``, image by image; see `spread`."""
    if not len(one.seconds) or not len(other.seconds):
        return None
    return spread(one.seconds / other.seconds)


def markdown(results: Sequence[Result], setup: Setup) -> str:
    """The table, with what was measured and how; others are compared to the first result."""
    first = results[0]
    lines = [
        f"| detector | runtime | ms an image | time : `{first.contestant.name}` | peak memory, MB "
        "| parameters | file, MB | AP easy | medium | hard |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [" | ".join(["", *_cells(result, first), ""]).strip() for result in results]
    return "\n".join([*lines, "", *_sentences(results, setup), *_notes(results)]) + "\n"


def _cells(result: Result, first: Result) -> list[str]:
    contestant, timing = result.contestant, result.timing
    name = f"**{contestant.name}**" if contestant.kind == "ours" else contestant.name
    cells = [name, result.runtime]
    if isinstance(timing, Timing):
        middle, low, high = (1000 * value for value in spread(result.seconds))
        cells.append(f"{middle:.1f} ({low:.1f}-{high:.1f})")
        ratio = ratios(result, first)
        cells.append("-" if ratio is None else "{:.2f} ({:.2f}-{:.2f})".format(*ratio))
        own = timing.peak_bytes - timing.bare_bytes
        cells.append(f"{timing.peak_bytes / 2**20:.0f} ({own / 2**20:.0f} its own)")
    else:
        cells += ["failed", "-", "-"]
    cells.append("-" if result.parameters is None else _millions(result.parameters))
    cells.append("-" if result.file_bytes is None else f"{result.file_bytes / 1e6:.1f}")
    return cells + _ap_cells(result)


def _ap_cells(result: Result) -> list[str]:
    if isinstance(result.ap, ContestantFailed):
        return ["failed", "-", "-"]
    if result.contestant.kind == "backbone":
        return ["no boxes", "-", "-"]
    if not result.contestant.trained:
        return ["not trained", "-", "-"]
    if result.ap is None:
        return ["-", "-", "-"]
    values = [result.ap[setting] for setting in SETTINGS]
    return ["-" if value is None else f"{value:.3f}" for value in values]


def _sentences(results: Sequence[Result], setup: Setup) -> list[str]:
    size = f"shrunk to {setup.max_side} pixels" if setup.max_side else "of their own size"
    looks = "one look" if setup.repeats == 1 else f"the median of {setup.repeats} looks"
    lines = [
        f"{setup.images} images, longest side {size} for everyone, "
        f"{counted(setup.threads, 'thread')}. Times are medians over the images of {looks} at "
        "each after an uncounted one, the whole call with its own preparation of the picture, "
        f"scores from {setup.threshold:g} (10th-90th percentile); ratios are taken image by image. "
        "Memory is the peak of the contestant's own process, and what it had above Python and "
        f"NumPy. {setup.machine['processor']}, {setup.machine['processors']} processors, "
        f"{setup.busy:.0%} busy before; {setup.machine['date'][:10]}."
    ]
    if setup.ap_images is not None:
        lines.append(f"AP: {PROTOCOL}; {setup.ap_images} images of the same size, all scores.")
    for floor in results:
        if floor.contestant.kind == "backbone":
            for ours in results:
                ratio = ratios(ours, floor)
                if ours.contestant.kind == "ours" and ratio is not None:
                    middle, low, high = ratio
                    lines.append(
                        f"`{ours.contestant.name}` takes {middle:.2f} ({low:.2f}-{high:.2f}) times "
                        "as long as the backbone alone."
                    )
    return [line for sentence in lines for line in (sentence, "")]


def _notes(results: Sequence[Result]) -> list[str]:
    notes = [
        f"- {result.contestant.name}: {result.contestant.note}."
        for result in results
        if result.contestant.note
    ]
    notes += [
        f'- {result.contestant.name}: speed "fast" is no gain here, so it ran as normal.'
        for result in results
        if result.fell_back
    ]
    notes += [
        f"- {result.contestant.name} failed: {reason}"
        for result in results
        for reason in result.failures
    ]
    return notes


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count < 10e6 else f"{count / 1e6:.1f} M"


def to_json(results: Sequence[Result], setup: Setup) -> dict[str, Any]:
    """Everything that was measured, image by image."""

    def one(result: Result) -> dict[str, Any]:
        contestant, timing, ap = result.contestant, result.timing, result.ap
        values: dict[str, Any] = {
            **asdict(contestant),
            "path": None if contestant.path is None else str(contestant.path),
            "parameters": result.parameters,
            "file_bytes": result.file_bytes,
            "ap": None if isinstance(ap, ContestantFailed) else ap,
            "failures": result.failures,
        }
        if isinstance(timing, Timing):
            middle, low, high = spread(result.seconds)
            values |= {"median_s": middle, "p10_s": low, "p90_s": high, **asdict(timing)}
            values["runtime"] = result.runtime
            ratio = ratios(result, results[0])
            values["ratio_to_first"] = None if ratio is None else ratio[0]
        return values

    return {"setup": asdict(setup), "contestants": [one(result) for result in results]}


def draw_scatter(path: Path, results: Sequence[Result], setup: Setup) -> bool:
    """AP against time for the three settings (PNG); whether there was anything to draw.

    Contestants that have a time but no AP are vertical lines.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    timed = [result for result in results if len(result.seconds)]
    if not any(isinstance(result.ap, dict) for result in timed):
        return False
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(1, len(SETTINGS), sharex=True, sharey=True)
    for axes, setting in zip(panels, SETTINGS, strict=True):
        for i, result in enumerate(timed):
            middle, low, high = (1000 * value for value in spread(result.seconds))
            color, name = f"C{i % 10}", result.contestant.name
            ap = result.ap.get(setting) if isinstance(result.ap, dict) else None
            if ap is None:
                axes.axvline(middle, color=color, ls=":", lw=1.5, label=f"{name} (time only)")
                continue
            ours = result.contestant.kind == "ours"
            axes.errorbar(
                middle, ap, xerr=[[middle - low], [high - middle]], color=color, capsize=2,
                fmt="*" if ours else "o", ms=15 if ours else 8, label=name,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(setting)
        axes.set_xlabel("ms an image")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("average precision")
    panels[0].set_ylim(0, 1)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    threads = counted(setup.threads, "thread")
    size = f"longest side {setup.max_side} px" if setup.max_side else "original size"
    figure.suptitle(
        f"WIDER FACE validation, {setup.ap_images} images, {size}, {threads}", fontsize=10
    )
    save_figure(figure, path)
    return True
