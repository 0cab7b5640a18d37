"""Fitting a head in a process of its own, with low priority and one thread.

A process, because NumPy's many small steps would take the interpreter from the loop's thread again
and again (`benchmarks/teach.py` measures both). It is given vectors and gives back a head; it knows
of no store and no file.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from recognizer.gallery import Gallery, Head
from recognizer.training.background import draw_background, read_spreads, with_strangers
from recognizer.training.fit import HeadOptions, Stopped, fit_head

logger = logging.getLogger(__name__)

FEW = 20
"""People from which on strangers can be drawn as the known people are spread."""

POLL = 0.05
"""Seconds between two questions whether to stop."""

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""What keeps NumPy from taking all cores, whatever it was built with."""


Vectors = NDArray[np.float32]
Fit = Callable[[Gallery, Head | None, Callable[[], bool], Vectors | None], Head | None]
"""Teaches a head: see `fit_here`, whose arguments it has."""


class FitError(Exception):
    """The process that fits has died, with its last words."""


def fit_here(
    gallery: Gallery,
    start: Head | None,
    stop: Callable[[], bool],
    strangers: Vectors | None = None,
) -> Head | None:
    """Fine-tune a head for everybody in the gallery, in this thread.

    ``strangers`` are faces that were said to be somebody and are not, (M, D). Raises Stopped soon
    after ``stop()`` is true. None when it is the first one, few people are known, and nothing is
    known of how strangers look to this embedder: such a head would call strangers by their names.
    """
    if start is None and not strangers_known(gallery):
        return None
    background = with_strangers(draw_background(gallery), strangers)
    return fit_head(gallery, background, HeadOptions(), start=start, stop=stop)


def strangers_known(gallery: Gallery) -> bool:
    """Whether strangers can be drawn that look like strangers."""
    return len(gallery.people) >= FEW or bool(read_spreads(gallery.fingerprint))


def fit_apart(
    gallery: Gallery,
    start: Head | None,
    stop: Callable[[], bool],
    strangers: Vectors | None = None,
    command: Sequence[str] = (sys.executable, "-P", "-m", "pipeline.teaching.fit_process"),
) -> Head | None:
    """As `fit_here`, in a process of low priority. Raises FitError when it dies.

    It runs nothing that lies in the current folder (``-P``), which may be anybody's.
    """
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
    ) as process:
        try:
            _step_back(process.pid)
            out, err = _talk(process, _packed(gallery, start, strangers), stop)
        finally:
            process.kill()  # nothing happens to one that has ended
    if process.returncode != 0:
        last = err.decode(errors="replace").strip().splitlines() or ["without a word"]
        raise FitError(f"the training has died ({process.returncode}): {last[-1]}")
    _, head, _ = _unpacked(out)
    return head


def _talk(
    process: subprocess.Popen[bytes], data: bytes, stop: Callable[[], bool]
) -> tuple[bytes, bytes]:
    # Not communicate() with a timeout, over and over: after the first one it writes no more.
    with ThreadPoolExecutor(1) as pool:
        talk = pool.submit(process.communicate, data)
        while True:
            try:
                return talk.result(POLL)
            except TimeoutError:
                if stop():
                    process.kill()  # so that the talk ends
                    raise Stopped from None


def _step_back(process: int) -> None:
    """Everybody else goes first."""
    import psutil

    try:
        lowest = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)  # the former on Windows only
        psutil.Process(process).nice(lowest)
    except psutil.Error as error:  # it only takes more than its share then
        logger.debug("the training keeps its priority: %s", error)


def _packed(
    gallery: Gallery, head: Head | None, strangers: Vectors | None = None
) -> bytes:  # fmt: skip
    text = {
        "contract": gallery.fingerprint,
        "names": gallery.names,
        "classes": None if head is None else head.names,
    }
    arrays = {"text": np.array(json.dumps(text)), "embeddings": gallery.embeddings}
    if strangers is not None:
        arrays |= {"strangers": strangers}
    if head is not None:
        arrays |= {"weight": head.weight, "bias": head.bias}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # it takes every keyword for a flag
    return buffer.getvalue()


def _unpacked(data: bytes) -> tuple[Gallery, Head | None, Vectors | None]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        text = json.loads(str(arrays["text"]))
        gallery = Gallery(text["contract"], tuple(text["names"]), arrays["embeddings"])
        strangers = arrays.get("strangers")
        if text["classes"] is None:
            return gallery, None, strangers
        classes = tuple(text["classes"])
        head = Head(text["contract"], classes, arrays["weight"], arrays["bias"])
        return gallery, head, strangers


def main() -> None:
    """The other process: a gallery and a head from stdin, a head to stdout."""
    gallery, start, strangers = _unpacked(sys.stdin.buffer.read())
    head = fit_here(gallery, start, lambda: False, strangers)
    nobody = Gallery.empty(gallery.fingerprint, gallery.embeddings.shape[1])
    sys.stdout.buffer.write(_packed(nobody, head))


if __name__ == "__main__":
    main()
