"""`faces keys`: who may ask a server of `faces serve --http`, and for what."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from faces.errors import UserError
from faces.text import aligned
from scripts.main import run_program
from scripts.options.command_line import arg, parse

if TYPE_CHECKING:
    from pipeline.http.keys import Key

DESCRIPTION = """Keys of the programs that may ask `faces serve --http`. Only their hashes are
stored: a key is shown once, when it is made. A running server sees every change within a
second."""

EXAMPLES = """\
faces keys create camera --scopes detect recognize
faces keys create office --scopes detect recognize enroll admin --days 90
faces keys list
faces keys revoke 1f0c2d5b"""

MAX_DAYS = 36_500  # a hundred years; far beyond, days cannot be written as a date any more

Scope = Literal["detect", "recognize", "enroll", "admin", "metrics"]
FileOption = Annotated[Path, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class Create:
    """Make a key and print it."""

    name: tyro.conf.Positional[str]
    """What it is for; shown in the list."""
    scopes: tuple[Scope, ...] = ("detect", "recognize")
    """detect: find faces. recognize: vectors, names, comparisons. enroll: learn people and list
    them. admin: rename and forget people, train. metrics: figures for Prometheus."""
    days: Annotated[float | None, arg("it does not expire")] = None
    """After which it expires."""
    keys: FileOption = Path("keys.json")
    """The file of keys."""

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > 100:
            raise UserError("a key's name has 1 to 100 printable characters")
        if not self.scopes:
            raise UserError("--scopes: name at least one")
        if self.days is not None and not (math.isfinite(self.days) and 0 < self.days <= MAX_DAYS):
            raise UserError(
                f"--days must be above 0 and at most {MAX_DAYS}; leave it out for a key that does "
                "not expire"
            )


@dataclass(frozen=True)
class List:
    """Show all keys, without what makes them keys."""

    json: bool = False
    """Print JSON in place of the table."""
    keys: FileOption = Path("keys.json")
    """The file of keys."""


@dataclass(frozen=True)
class Revoke:
    """Make a key worthless."""

    id: tyro.conf.Positional[str]
    """The first column of the list."""
    keys: FileOption = Path("keys.json")
    """The file of keys."""


Command = Create | List | Revoke


def main(argv: Sequence[str]) -> int:
    """Do what the sub-command says."""
    options: Command = parse(Command, argv, "faces keys", DESCRIPTION, EXAMPLES)
    from pipeline.http.keys import KeyFile

    file = KeyFile(options.keys)
    if isinstance(options, Create):
        token = file.create(options.name, options.scopes, options.days)
        print("This key is shown only now; keep it where only its program can read it:",
              file=sys.stderr)  # fmt: skip
        print(token)
    elif isinstance(options, Revoke):
        file.revoke(options.id)
        print(f"revoked {options.id}")
    elif options.json:
        print(json.dumps([_entry(key) for key in file.all()], indent=1))
    else:
        print(_table(file.all()))
    return 0


def _entry(key: Key) -> dict[str, object]:
    return {
        "id": key.id, "name": key.label, "scopes": key.scopes, "state": _state(key),
        "created": _day(key.created), "expires": _day(key.expires), "revoked": _day(key.revoked),
    }  # fmt: skip


def _table(keys: Sequence[Key]) -> str:
    if not keys:
        return "there are no keys; make one with `faces keys create NAME`"
    rows = [("id", "name", "state", "created", "expires", "scopes")]
    for key in keys:
        expires = _day(key.expires) or "never"
        scopes = " ".join(key.scopes)
        rows.append((key.id, key.label, _state(key), _day(key.created) or "", expires, scopes))
    return aligned(rows)


def _state(key: Key) -> str:
    if key.revoked is not None:
        return "revoked"
    return "valid" if key.valid else "expired"


def _day(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):  # infinite or too far away, by the system
        return "no date"


if __name__ == "__main__":
    run_program("scripts.keys")
