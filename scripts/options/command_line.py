"""What every sub-command shares: a parser made from a dataclass, and a configuration file.

The order is: default, then ``--config file.toml``, then flags.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import logging
import re
import sys
import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import tyro

from faces.errors import UserError

T = TypeVar("T")
_UNIONS = (typing.Union, types.UnionType)
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
def _unchecked(options: Any) -> Iterator[None]:
    """Let dataclasses of options be made without their checks, ``__post_init__``."""
    checked = [kind for kind in _dataclasses(options) if hasattr(kind, "__post_init__")]
    own = {kind: vars(kind).get("__post_init__") for kind in checked}
    for kind in checked:
        kind.__post_init__ = lambda self: None
    try:
        yield
    finally:
        for kind, check in own.items():
            if check is None:
                del kind.__post_init__  # it is inherited
            else:
                kind.__post_init__ = check


def _dataclasses(hint: Any) -> set[Any]:
    """Those in a type: itself, a union's, an annotation's, and those of their fields."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return {hint}.union(*map(_dataclasses, typing.get_type_hints(hint).values()))
    return set().union(*map(_dataclasses, typing.get_args(hint)))


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


def read_config(path: Path, base: T) -> T:
    """``base`` (a dataclass instance, possibly nested) with the values of a UTF-8 TOML file.

    The file's keys are the fields' names, flat or under a table named as the nested dataclass. They
    are not checked by ``__post_init__``: flags may come over them.

    Raises UserError for a file that cannot be read, an unknown key (with a "did you mean") or a
    value of the wrong kind.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from error
    for key in ("resume", "config"):  # what they would do is decided before the file is read
        if key in values:
            raise UserError(f"{path}: {key} cannot stand in a configuration; give it as --{key}")
    with _unchecked(type(base)):
        return _merge(base, values, path)


def _merge(base: Any, values: dict[str, Any], path: Path) -> Any:
    groups = {
        f.name: getattr(base, f.name)
        for f in dataclasses.fields(base)
        if dataclasses.is_dataclass(getattr(base, f.name))
    }
    own = {f.name for f in dataclasses.fields(base)} - set(groups)
    owner = {f.name: name for name, group in groups.items() for f in dataclasses.fields(group)}
    hints = typing.get_type_hints(type(base))
    changes: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for raw_key, value in values.items():
        key = raw_key.replace("-", "_")
        if key in groups:
            if not isinstance(value, dict):
                raise UserError(f"{path}: {key} cannot be {value!r}; it is a table, [{key}]")
            nested.setdefault(key, {}).update(value)
        elif key in own:
            changes[key] = _coerce(hints[key], value, key, path)
        elif key in owner:
            nested.setdefault(owner[key], {})[key] = value
        else:
            close = difflib.get_close_matches(key, [*own, *owner, *groups], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(f"{path}: unknown key {raw_key!r}{hint}")
    for name, group_values in nested.items():
        changes[name] = _merge(groups[name], group_values, path)
    try:
        return dataclasses.replace(base, **changes)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error


def _coerce(hint: Any, value: Any, key: str, path: Path) -> Any:
    """``value`` from TOML as the type that the field's annotation names."""
    allowed = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    for kind in allowed:
        origin = typing.get_origin(kind) or kind
        if origin is typing.Literal and value in typing.get_args(kind):
            return value
        if origin is Path and isinstance(value, str):
            return Path(value)
        if origin is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if origin is tuple and isinstance(value, list):
            items = typing.get_args(kind)
            if items[1:] == (...,):
                items = items[:1] * len(value)
            if len(items) == len(value):
                return tuple(_coerce(*pair, key, path) for pair in zip(items, value, strict=True))
        if origin in (bool, int, float, str) and type(value) is origin:
            return value
    raise UserError(f"{path}: {key} cannot be {value!r}; it takes {_name(hint)}")


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def log_to_stderr(quiet: bool = False) -> None:
    """Send the packages' log records to stderr, plain; warnings only when ``quiet``."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING if quiet else logging.INFO,
        format="%(message)s",
        force=True,
    )
