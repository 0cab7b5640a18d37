"""How long `faces detect one.jpg` takes from the shell to the written result, in a new process.

    python benchmarks/cold_start.py
    python benchmarks/cold_start.py model.onnx
    python benchmarks/cold_start.py model.onnx --image photo.jpg --runs 9
    sudo .venv/bin/python benchmarks/cold_start.py model.onnx --drop-caches

Exit code 0: the median is under 2.5 s, and an ONNX file ran without torch; 1: not so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from detector.benchmark.pictures import some_pictures
from detector.inference.load import file_kind
from detector.shipped import FOLDER, NETWORK


def command(model: Path, image: Path, out: Path) -> list[str]:
    """What a user types: the installed `faces`, or the module where there is none."""
    folder = Path(sys.executable).parent
    installed = [folder / name for name in ("faces", "faces.exe") if (folder / name).is_file()]
    start = [str(installed[0])] if installed else [sys.executable, "-m", "scripts.main"]
    return [*start, "detect", str(image), "--model", str(model), "--out", str(out)]


def once(model: Path, image: Path) -> float:
    """Seconds of one run. Raises RuntimeError when it fails or writes no picture."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        start = time.perf_counter()
        result = subprocess.run(
            command(model, image, out), capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
        written = [path for path in out.rglob("*") if path.is_file()]
        if result.returncode != 0 or len(written) < 2:  # the picture and detections.jsonl
            raise RuntimeError(f"faces detect failed, or wrote only {written}:\n{result.stderr}")
        return seconds


def imports_torch(model: Path, image: Path) -> bool:
    """Whether that command imports torch."""
    with tempfile.TemporaryDirectory() as name:
        arguments = command(model, image, Path(name) / "out")
        arguments = arguments[arguments.index("detect") :]
        code = (
            "import sys; from scripts.main import main; main(sys.argv[1:]); "
            "print('torch' in sys.modules, file=sys.stderr)"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        return result.stderr.rstrip().endswith("True")


def drop_caches() -> None:
    """Forget every file that the system holds in memory (Linux, as root)."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def main(argv: Sequence[str] | None = None) -> int:
    """Run it several times and print the median."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    shipped = FOLDER / NETWORK
    parser.add_argument(
        "model", nargs="?", type=Path, default=shipped, help="an exported ONNX file [shipped]"
    )
    parser.add_argument("--image", type=Path, help="a photo [a portrait]")
    parser.add_argument("--runs", type=int, default=7, help="[7]")
    parser.add_argument("--limit", type=float, default=2.5, help="most seconds [2.5]")
    parser.add_argument("--drop-caches", action="store_true", help="before every run; Linux, root")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        image = options.image
        if image is None:
            image = Path(name) / "portrait.jpg"
            Image.fromarray(some_pictures(None)[0]).save(image, quality=92)
        seconds = []
        for _ in range(options.runs):
            if options.drop_caches:
                drop_caches()
            seconds.append(once(options.model, image))
        torch = imports_torch(options.model, image)
    median = statistics.median(seconds)
    fine = median < options.limit and not (torch and file_kind(options.model) == "onnx")
    print(
        f"{options.runs} runs: median {median:.2f} s, first {seconds[0]:.2f}, "
        f"{min(seconds):.2f}-{max(seconds):.2f}; "
        f"{'under' if median < options.limit else 'NOT under'} {options.limit} s; "
        f"torch is {'' if torch else 'not '}imported"
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
