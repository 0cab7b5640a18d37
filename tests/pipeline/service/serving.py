"""`faces serve` with fake models, as a process of its own.

python -m tests.pipeline.service.serving stdio|http FOLDER [seconds-per-image] [noise]
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.service.runtime.logs import JsonFormatter
from recognizer.store.people import Store
from tests.pipeline.service.fakes import FakeDetector, make_service


class NoisyDetector(FakeDetector):
    """Writes to stdout in every way that a library may."""

    def detect_batch(self, images: Any) -> Any:
        print("print")
        os.write(1, b"os.write\n")
        ctypes.CDLL(None).printf(b"printf\n")
        ctypes.CDLL(None).fflush(None)
        os.system("echo child")
        return super().detect_batch(images)


def fit(store: Store, progress: Any) -> dict[str, Any]:
    """Three steps."""
    for i in range(3):
        progress(i / 3, f"step {i}")
        time.sleep(0.05)
    return {"people": len(store.people())}


def main(mode: str, folder: str, seconds: str = "0", noise: str = "") -> int:
    """Serve until told to end."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    detector = (NoisyDetector if noise else FakeDetector)(float(seconds))
    if mode == "stdio":
        from pipeline.stdio.server import run_stdio

        return run_stdio(lambda: make_service(Path(folder), detector=detector, fit=fit))
    service = make_service(Path(folder), detector=detector, fit=fit)
    from pipeline.http.options import HttpOptions
    from pipeline.http.server import run_http

    keys = Path(folder) / "keys.json"
    options = HttpOptions(keys=keys if keys.exists() else None, rate_per_address="none")
    return run_http(
        service, "127.0.0.1", 0, options, lambda url: print(url, file=sys.stderr, flush=True)
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
