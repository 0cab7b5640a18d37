"""What every sub-command shares: a parser made from a dataclass, and a configuration file.

The order is: default, then ``--config file.toml``, then flags.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import tyro

from faces.settings import dataclasses_in as _dataclasses
from faces.settings import read_config as read_config
from faces.settings import unchecked as _unchecked

T = TypeVar("T")
_STYLE = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.DisallowNone,  # an optional flag is left out to say None; the help reads better so
)


def parse(
    options: Any,
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
    examples: str,
    default: T | None = None,
) -> T:
    """Build a frozen options dataclass (or a union of them, one per sub-command) from flags.

    Args:
        options: the dataclass, or ``Annotated[A, tyro.conf.subcommand("a")] | ...``; the
            docstrings of its fields are the help. Nested dataclasses group the flags in the help;
            their names do not become prefixes.
        arguments: the flags, without the program's name; ``--batch-size`` and ``--batch_size`` are
            the same.
        prog: as typed, "faces train".
        description: one or two sentences at the top of ``--help``.
        examples: command lines, one a line, shown at the end of ``--help``.
        default: a ready instance whose values replace the dataclass's defaults.

    When the options have a field ``config`` and the flags set it, that TOML file is read (see
    `read_config`) and its values take the place of the defaults. Whether values go together is only
    checked (by ``__post_init__``) when all of them are known.

    A mistake in the flags prints what is wrong and exits with 2; ``--help`` exits with 0. Raises
    UserError for a mistake in the configuration file.
    """

    def build(default: Any) -> Any:
        with _flowing_docstrings():
            return tyro.cli(
                options,
                args=list(arguments),
                prog=prog,
                description=description,
                config=_STYLE,
                **({} if default is None else {"default": default}),
            )

    try:
        if not any("config" in kind.__dataclass_fields__ for kind in _dataclasses(options)):
            return build(default)
        with _unchecked(options):
            result = build(default)
        config = getattr(result, "config", None)
        # The flags come last: they are read once more, over the values of the file, and checked.
        return build(read_config(config, result) if config else default)
    except SystemExit as stop:
        if stop.code == 0:  # --help was printed; tyro has no place of its own for examples
            print(f"\nexamples:\n{_indent(examples)}")
        raise


@contextmanager
def _flowing_docstrings() -> Iterator[None]:
    """Let tyro wrap the docstrings of fields itself.

    It keeps the line breaks before indented lines, which are those of the source file: the help
    would break where the source does. Empty lines still part paragraphs.
    """
    import docstring_parser

    parse_from_object = docstring_parser.parse_from_object

    def flowing(component: Any) -> Any:
        docstring = parse_from_object(component)
        for part in docstring.params:
            text = inspect.cleandoc(part.description or "")
            part.description = re.sub(r"(?<!\n)\n(?!\n)", " ", text) or None
        return docstring

    docstring_parser.parse_from_object = flowing  # type: ignore[assignment]
    try:
        yield
    finally:
        docstring_parser.parse_from_object = parse_from_object


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def log_to_stderr(quiet: bool = False) -> None:
    """Send the packages' log records to stderr, plain; warnings only when ``quiet``."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING if quiet else logging.INFO,
        format="%(message)s",
        force=True,
    )
