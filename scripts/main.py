"""The `faces` command: finds the sub-command's file and hands it the arguments.

Nothing heavy is imported here, so that `faces --help` answers at once.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

COMMANDS = {
    "prepare": "Download WIDER FACE, convert it to PASCAL VOC, check and repair VOC folders",
    "train": "Train a detector from images and VOC annotations; resume a run",
    "detect": "Find the faces in images, folders and videos; mark, list or blur them",
    "export": "Write a checkpoint as ONNX and TorchScript files that agree with it",
    "evaluate": "Evaluate a detector by the rules of WIDER FACE, PASCAL VOC and COCO",
    "fit": "Train a classifier head, or the network itself, on the enrolled people",
    "calibrate": "Measure the thresholds of names, or the score calibration of a detector",
    "evaluate-recognizer": "Evaluate how well faces are told apart and named, also by group",
    "enroll": "Remember people by photos of them, so that their faces get names",
    "people": "List, rename, merge, remove, export and import the people who are known",
    "recognize": "Put names to the faces of photos, of people who are enrolled",
    "index": "Look at many photos and films once, on one machine or many",
    "run": "Find, follow and name the faces of a video: who is in it, and when",
    "webcam": "Show a camera or stream with boxes and names, as it happens",
    "serve": "Let other programs detect, recognize, enroll: as a child process or over HTTP",
    "keys": "Make, list and revoke the keys of programs that may ask a server",
    "audit": "Check and show the record of who was enrolled and removed through a server",
    "library": "Who is in the photos of an index: group, name, search, export, forget",
    "export-liveness": "Make one ONNX file of MiniFASNet's published weights, for --liveness",
    "evaluate-liveness": "Measure how often photos and screens pass, and people are refused",
    "pretrain-embedder": "Train the small network that turns a face into a vector",
    "export-embedder": "Write an embedding network as ONNX, which runs without torch",
    "benchmark": "Compare models with each other and with other detectors: time, memory, AP",
    "plot": "Redraw and compare the loss curves of runs",
    "demo": "Walk through everything on a small embedded data set",
}

EXAMPLES = """\
examples:
  faces demo
  faces prepare wider ../shared/data/widerface --out data/wider
  faces train --image-path data/wider/train/images --train-ann-dir data/wider/train/annotations \\
              --valid-path data/wider/val/images --valid-ann-dir data/wider/val/annotations
  faces train --resume runs/fpn
  faces COMMAND --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit code (0 fine, 1 some inputs failed, or the results
    could not be written, 2 bad input)."""
    return _printing(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def _printing(work: Callable[[], int]) -> int:
    """Do what prints its results; returns its exit code, or that of results nobody can have."""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name that the terminal cannot show must not end a run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()
    except OSError as error:
        # That of a file says which; to look costs an empty line in the results.
        problem = None if error.filename is not None else _output_problem()
        if problem is None:
            raise
        # What is still to be written would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(problem, BrokenPipeError):  # head and less may leave early: that is no error
            return 0
        print(f"faces: the results cannot be written: {problem.strerror}", file=sys.stderr)
        return 1


def _open_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr empty ones in their places:
    else the first files that it opens would be taken for them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the lowest free number is the one that is missing
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"faces {version('faces')}")
        return 0
    name, arguments = argv[0], argv[1:]
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean `faces {close[0]}`?" if close else ""
        print(f"faces: there is no command {name!r}.{hint} See `faces --help`.", file=sys.stderr)
        return 2
    return run_command(f"scripts.{name.replace('-', '_')}", arguments)


def run_command(module: str, arguments: Sequence[str]) -> int:
    """Import ``module`` and call its ``main(arguments)``, turning expected ends into exit codes."""
    from faces.errors import UserError

    command = None
    try:
        command = importlib.import_module(module)
        return command.main(arguments) or 0
    except UserError as error:
        from scripts.options.command_line import with_flags

        message = str(error) if command is None else with_flags(str(error), command)
        print(f"faces: {message}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        from faces.extras import advice

        missing = advice(error)
        if missing is None:
            raise
        print(f"faces: {missing}", file=sys.stderr)
        return 2
    except FileNotFoundError:
        if _is_somewhere():
            raise
        print("faces: the current folder was deleted: go into another one", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("faces: stopped.", file=sys.stderr)
        return 130


def run_program(module: str) -> NoReturn:
    """A command as a program of its own: ``python -m scripts.train``."""
    sys.exit(_printing(lambda: run_command(module, sys.argv[1:])))


def _output_problem() -> OSError | None:
    """Why our results cannot be written; None when they can."""
    try:
        print(flush=True)
    except OSError as error:
        return error
    return None


def _is_somewhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: faces COMMAND [options]",
            "",
            "Train a face detector, run it, and put names to the faces it finds.",
            "",
            "commands:",
            *lines,
            "",
            EXAMPLES,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
