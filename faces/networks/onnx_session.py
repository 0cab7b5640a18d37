"""ONNX Runtime sessions with the settings that every network here runs with.

The package itself is imported here and nowhere else: from 1.31 on its wheels for Linux and macOS
report to Microsoft, and leave an identity of the machine and a database in the home folder, as soon
as they are imported. Nothing of ours calls anywhere, so that is switched off before.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, while the package is imported
import onnxruntime

from faces.errors import UserError

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

MOST_LANES = 8
"""Each lane of a `SharedSession` holds the memory of a run."""


def open_session(
    path: Path, device: str = "auto", providers: Sequence[str] | None = None,
    threads: int | None = None, content: bytes | None = None,
) -> onnxruntime.InferenceSession:  # fmt: skip
    """A session for an ONNX file; ``threads`` None leaves their number to ONNX Runtime.

    ``content`` is what the file held, where it has been read.

    Raises UserError for a damaged file, and for a device or provider that is absent or that the
    session does not have once it is open: what was asked for is used or refused. With ``auto`` a
    GPU that cannot be used gives way to the CPU, with a warning.
    """
    chosen = pick_providers(device, providers)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings of the optimizer are of no use to anyone
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    # A plan of the memory is kept for every input shape that was ever seen: never freed, so memory
    # would grow with the sizes of the images (https://github.com/microsoft/onnxruntime/issues/11118).
    options.enable_mem_pattern = False
    # Threads that wait for the next operation keep a core busy. Within a run that saves time; after
    # it they would take the core from decoding and from everything else this process does.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if chosen == [CPU]:
        return _start(path, content, options, chosen)
    try:
        session = _start(path, content, options, chosen)
        problem = _missing(session, chosen)
    except UserError as error:
        session = _start(path, content, options, [CPU])  # else it is the file
        problem = _first_line(error.__cause__ or error)
    if problem is None:
        return session
    if device == "auto" and providers is None:
        log.warning("ONNX Runtime cannot use the GPU, so it takes the CPU: %s", problem)
        return session
    asked = f"device={device}" if providers is None else f"providers {', '.join(providers)}"
    raise UserError(
        f"{asked}: ONNX Runtime {onnxruntime.__version__} cannot use it ({problem}): do its driver "
        "and its libraries fit, and is there such a device? Else take auto or cpu"
    )


def _start(
    path: Path, content: bytes | None, options: onnxruntime.SessionOptions, chosen: list[Any]
) -> onnxruntime.InferenceSession:
    try:
        # Without ONNX Runtime's own fallback, which takes another device and prints so to stdout.
        return onnxruntime.InferenceSession(
            content or path, options, providers=chosen, enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime has a class of its own for every status
        raise UserError(
            f"{path} is damaged, cut short or no ONNX file that this version of ONNX Runtime "
            f"({onnxruntime.__version__}) can run: {_first_line(error)}"
        ) from error


def _missing(session: onnxruntime.InferenceSession, chosen: list[Any]) -> str | None:
    """What of the chosen providers an open session lacks. ONNX Runtime leaves out without an error
    what it cannot load."""
    there = session.get_provider_options()
    for one in chosen:
        name, wanted = one if isinstance(one, tuple) else (one, {})
        if name not in there:
            return f"the session runs without {name}"
        for key, value in wanted.items():
            if str(there[name].get(key, value)) != str(value):
                return f"{name} has {key} {there[name][key]}, not {value}"
    return None


class SharedSession:
    """A network that several threads may run at once; it has what we need of `InferenceSession`.

    A run that begins while no other runs gets all threads. One that begins beside others gets one,
    for runs that each spread over all cores get in each other's way (docs/benchmarks.md). The
    second session that this takes is opened when it is first needed.

    Args:
        open_with: opens a session with so many threads (None: as many as it likes).
        threads: None or at least 1.
    """

    def __init__(
        self,
        open_with: Callable[[int | None], onnxruntime.InferenceSession],
        threads: int | None = None,
    ) -> None:
        self._open_with = open_with
        self._wide = open_with(threads)
        self._narrow: onnxruntime.InferenceSession | None = None
        self._running = 0
        self._lock = threading.Lock()
        on_cpu = self._wide.get_providers()[0] == CPU
        self.lanes = min(MOST_LANES, threads or os.cpu_count() or 1) if on_cpu else 1
        """How many threads should run it at once to get the most done."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an open network cannot be copied or sent to another process: have each process open "
            "its own, by load_detector or load_embedder, once (the initializer of a pool)"
        )

    def run(self, outputs: Sequence[str] | None, feed: dict[str, Any]) -> list[Any]:
        with self._lock:
            alone = self._running == 0 or self.lanes == 1
            if not alone and self._narrow is None:
                self._narrow = self._open_with(1)
            session = self._wide if alone else self._narrow
            self._running += 1
        assert session is not None
        try:
            return session.run(outputs, feed)
        finally:
            with self._lock:
                self._running -= 1

    @property
    def outputs(self) -> list[str]:
        """The names of the network's outputs."""
        return [output.name for output in self._wide.get_outputs()]

    def get_modelmeta(self) -> Any:
        return self._wide.get_modelmeta()

    def get_session_options(self) -> onnxruntime.SessionOptions:
        """As `InferenceSession.get_session_options`: those of a run that is alone."""
        return self._wide.get_session_options()


def pick_providers(device: str, providers: Sequence[str] | None) -> list[Any]:
    """ONNX Runtime execution providers for a device, or those asked for, if they are installed."""
    available = onnxruntime.get_available_providers()
    if providers is not None:
        for name in providers:
            if name not in available:
                raise UserError(
                    f"this ONNX Runtime has no provider {name!r}, only {', '.join(available)}"
                )
        return list(providers)
    if device == "auto":
        return [CUDA, CPU] if CUDA in available else [CPU]
    if device == "cpu":
        return [CPU]
    kind, _, number = device.partition(":")
    if kind == "cuda" and (number.isdecimal() or not number):
        if CUDA in available:
            return [(CUDA, {"device_id": int(number or 0)}), CPU]
        raise UserError(
            f"device={device}: this ONNX Runtime runs on the CPU only; install onnxruntime-gpu, "
            "or take auto or cpu"
        )
    raise UserError(f"device={device}: for an ONNX file take auto, cpu, cuda or cuda:N")


def quantization() -> Any:
    """The package that makes int8 files; only making them takes the second it needs to load."""
    from onnxruntime import quantization as tools

    return tools


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
