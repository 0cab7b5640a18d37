"""`faces audit`: the record of who was enrolled and removed through `faces serve`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import tyro

from faces.errors import UserError
from faces.text import counted
from scripts.main import run_program
from scripts.options.command_line import arg, parse

DESCRIPTION = """The record that `faces serve` keeps of enrollments, renames and removals. Each line
vouches for those before it. People are pseudonyms there: only with the log's key and a name can
somebody be looked for."""

EXAMPLES = """\
faces audit verify
faces audit verify team.db.audit.jsonl --expect 5f0c7d9a31b2e846...
faces audit show --person "Anna Lind\""""

LogOption = Annotated[
    tyro.conf.Positional[Path],
    tyro.conf.arg(metavar="FILE"),
]
CODE = re.compile(r"[0-9a-fA-F]{16,64}\.*")
DEFAULT = Path("people.db.audit.jsonl")


@dataclass(frozen=True)
class Verify:
    """Check that nothing was changed, taken out or put in; exit code 1 when something was."""

    log: LogOption = DEFAULT
    """The log."""
    expect: Annotated[str | None, arg("none", metavar="CODE")] = None
    """A code that an earlier verification printed, or its first 16 digits or more: it must still be
    there. Only so can be seen that the end was not cut off."""

    def __post_init__(self) -> None:
        # An empty one, of a file that is missing, is the beginning of every code.
        if self.expect is not None and not CODE.fullmatch(self.expect):
            raise UserError(
                "--expect takes a code that `faces audit verify` has printed, or at least its "
                f"first 16 digits; got {self.expect!r}"
            )


@dataclass(frozen=True)
class Show:
    """Print the entries as JSON lines."""

    log: LogOption = DEFAULT
    """The log."""
    person: Annotated[str | None, arg("everybody", metavar="NAME")] = None
    """Only what was done to this person."""


Command = Verify | Show


def main(argv: Sequence[str]) -> int:
    """0: the log is in order; 1: it is not."""
    options: Command = parse(Command, argv, "faces audit", DESCRIPTION, EXAMPLES)
    from pipeline.service.audit import START, entries, verify
    from recognizer.names import clean_name

    verdict = verify(options.log)
    if verdict.problem is not None:
        print(f"faces: {options.log}: {verdict.problem}", file=sys.stderr)
        print(f"in order before it: {counted(verdict.lines, 'line')}", file=sys.stderr)
        return 1
    if isinstance(options, Show):
        # The log holds names as they are stored.
        person = None if options.person is None else clean_name(options.person)
        for entry in entries(options.log, person):
            print(json.dumps(entry))
        return 0
    if options.expect is not None:
        # What an empty log was said to end with is before all its lines.
        codes = chain([START], (entry["code"] for entry in entries(options.log)))
        wanted = options.expect.rstrip(".").lower()
        if not any(code.startswith(wanted) for code in codes):
            print(f"faces: {options.log}: the entry {wanted} is gone: the end was cut off",
                  file=sys.stderr)  # fmt: skip
            return 1
    print(f"{counted(verdict.lines, 'entry')}, all in order; the last one is {verdict.last}")
    if verdict.unfinished:
        print("after them stands an unfinished line, as a power cut may leave")
    return 0


if __name__ == "__main__":
    run_program("scripts.audit")
