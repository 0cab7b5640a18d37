"""Speed "fast": of the quicker ways to run an ONNX file, the one that is fastest here, or none.

There are two: int8 by ONNX Runtime, from the file that `faces export --formats int8` puts beside it
(fpn.int8.onnx for fpn.onnx; that of the shipped detector ships), and bfloat16 by OpenVINO, where
that is installed. Names and flags of processors do not tell what they gain: AVX512-BF16 makes
bfloat16 1.7 times as fast on an AMD EPYC and gains nothing on an Intel Xeon, which needs AMX;
without instructions for it, it is emulated and three times slower; and int8 needs VNNI or ARM's
dot products. So each is measured against normal when the file is opened (docs/export.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.inference.detect import Arithmetic, Network
from detector.inference.onnx_backend import OnnxNetwork, open_onnx
from detector.inference.resize import Resize
from detector.shipped import find_int8
from faces.errors import UserError
from faces.files import file_digest

log = logging.getLogger(__name__)

GAIN = 0.9
"""Largest share of the time of "normal" that "fast" may take: then the gain is beyond the noise of
the measurement, and worth the accuracy that it loses (docs/export.md)."""

ROUNDS = 5


def fast_network(
    path: Path,
    normal: Network,
    resize: Resize,
    score_threshold: float,
    nms_threshold: float,
    threads: int | None = None,
) -> tuple[Network, Arithmetic]:
    """The network to run at speed "fast", and what it computes in: ``normal`` itself in float32,
    with a warning, where nothing is faster.

    Args:
        normal: the same file as ONNX Runtime runs it.
        resize: all are timed on pictures that this makes of a landscape of 640x480.
        score_threshold, nms_threshold, threads: see `detector.inference.load.load_detector`.

    Takes one to three seconds. Raises UserError where there is nothing to measure: no int8 file and
    no OpenVINO.
    """
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    pixels = resize(noise).pixels
    best: tuple[Network, Arithmetic] = (normal, "float32")
    least, reasons = GAIN, []
    for way in _ways(path, score_threshold, nms_threshold, threads):
        if isinstance(way, str):
            reasons.append(way)
            continue
        network, arithmetic = way
        share = time_share(network, normal, pixels)
        told = f"{arithmetic} takes {share:.2f} of the time of normal here"
        log.info('speed "fast": %s', told)
        reasons.append(told)
        if share <= least:
            best, least = way, share
    if best[0] is normal:
        why = "; ".join(reasons)
        log.warning('speed "fast" would not be faster, so it is normal that runs: %s', why)
    return best


def _ways(
    path: Path, score_threshold: float, nms_threshold: float, threads: int | None
) -> Iterator[tuple[Network, Arithmetic] | str]:
    """The networks to choose from, or why one is none."""
    from detector.inference.openvino_backend import (
        OpenVinoNetwork,
        has_bfloat16,
        open_openvino,
    )

    small = find_int8(path)
    if small is not None:
        session, artifact = open_onnx(small, "cpu", None, threads)
        if artifact.int8_of == file_digest(path):
            yield OnnxNetwork(session, score_threshold, nms_threshold), "int8"
        else:
            why = f"{small} was made of another {path.name}: export both again"
            log.warning("%s", why)
            yield why
    try:
        known = has_bfloat16()
    except UserError as error:  # OpenVINO is not installed
        if small is None:
            raise UserError(
                f'{path} has nothing to run at speed "fast": make an int8 file of it (faces export '
                f"CHECKPOINT --formats int8 --calibrate PHOTOS). Or bfloat16: {error}"
            ) from error
        return
    if not known:
        yield "this processor does not compute in bfloat16"
        return
    try:
        yield (
            OpenVinoNetwork(open_openvino(path, threads), score_threshold, nms_threshold),
            "bfloat16",
        )
    except UserError as error:
        yield str(error)


def time_share(fast: Network, normal: Network, pixels: NDArray[np.uint8]) -> float:
    """How much of normal's time ``fast`` takes, once for one picture and once for as many as
    `FaceDetector.lanes` lets several threads do at once; the worse of the two.

    The shortest of several alternating runs counts, which other work on the machine disturbs least.
    """
    lanes = getattr(normal, "lanes", 1)
    one = pixels[None]
    with ThreadPoolExecutor(lanes) as pool:
        pairs: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
            (lambda: fast(one), lambda: normal(one))
        ]
        if lanes > 1:
            several = [one] * lanes
            # OpenVINO's network does one after the other.
            spread = pool.map if getattr(fast, "lanes", 1) > 1 else map
            pairs.append((lambda: [*spread(fast, several)], lambda: [*pool.map(normal, several)]))
        return max(_least(a) / _least(b) for a, b in map(_alternate, pairs))


def _alternate(
    pair: tuple[Callable[[], Any], Callable[[], Any]],
) -> tuple[list[float], list[float]]:
    laps: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for call, times in zip(pair, laps, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return laps


def _least(laps: list[float]) -> float:
    """Without the first, which prepares kernels."""
    return min(laps[1:])
