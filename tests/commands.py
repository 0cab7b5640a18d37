"""What a command makes of its flags, without doing anything."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any
from unittest import mock


class _Parsed(Exception):
    """Carries what a command understood, instead of doing it."""


def parse_only(name: str, arguments: Sequence[str]) -> Any:
    """The options of ``faces NAME ARGUMENTS``, from the command's own parser.

    Raises SystemExit or UserError as the command does for a mistake.
    """
    module = importlib.import_module(f"scripts.{name.replace('-', '_')}")
    real = module.parse

    def parse(*args: Any, **kwargs: Any) -> None:
        raise _Parsed(real(*args, **kwargs))

    with mock.patch.object(module, "parse", parse):
        try:
            module.main(list(arguments))
        except _Parsed as parsed:
            return parsed.args[0]
    raise AssertionError(f"faces {name} did something without parsing its flags")
