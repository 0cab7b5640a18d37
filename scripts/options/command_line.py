"""What every sub-command shares: a parser made from a dataclass, and a configuration file.

The order is: default, then ``--config file.toml``, then flags.
"""

from __future__ import annotations

import ast
import inspect
import io
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from itertools import pairwise
from types import ModuleType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import tyro

from faces.errors import UserError
from faces.settings import dataclasses_in as _dataclasses
from faces.settings import read_config as read_config
from faces.settings import unchecked as _unchecked

T = TypeVar("T")
_STYLE = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.DisallowNone,  # an optional flag is left out to say None; the help reads better so
)
_POSITIONAL = get_args(tyro.conf.Positional[str])[1]
_LEFT_OUT = tyro.conf.arg(
    help_behavior_hint=lambda value: f"(default: {value if value not in ('', 'None') else 'none'})"
)


def parse(
    options: Any,
    arguments: Sequence[str],
    prog: str,
    description: str,
    examples: str,
    default: T | None = None,
) -> T:
    """Build a frozen options dataclass (or a union of them, one per sub-command) from flags.

    Args:
        options: the dataclass, or a union of one for each sub-command, which has its name; the
            docstrings of its fields are the help. Nested dataclasses group the flags in the help;
            their names do not become prefixes.
        arguments: the flags, without the program's name; ``--batch-size`` and ``--batch_size`` are
            the same.
        description: one or two sentences at the top of ``--help``.
        examples: command lines, one a line, shown at the end of ``--help``.
        default: a ready instance whose values replace the dataclass's defaults.

    When the options have a field ``config`` and the flags set it, that TOML file is read (see
    `read_config`) and its values take the place of the defaults. Whether values go together is only
    checked (by ``__post_init__``) when all of them are known.

    What a list of names or files takes may stand in several places, with flags in between.

    A mistake in the flags prints what is wrong and exits with 2; ``--help`` exits with 0. Raises
    UserError for a mistake in the configuration file.
    """
    read = partial(
        tyro.cli,
        options,
        args=list(arguments),
        prog=prog,
        description=_flowing(description),
        config=_STYLE,
    )

    def build(default: Any) -> Any:
        given = {} if default is None else {"default": default}
        try:
            with redirect_stderr(io.StringIO()):
                result, left = read(return_unknown_args=True, **given)
        except (SystemExit, UserError) as error:
            if isinstance(error, SystemExit) and error.code == 0:  # --help
                raise
            # What an unknown flag leaves behind may have been taken for something else.
            if _has_unknown_flag(partial(read, **given)):
                return read(**given)
            return read(return_unknown_args=True, **given)[0]
        if not left:
            return result
        with_them = _append(result, left)
        return read(**given) if with_them is None else with_them  # which says what is wrong

    for kind in _dataclasses(options):
        _document(kind)

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
            print(f"\nexamples:\n{textwrap.indent(examples.strip(), '  ')}")
        raise


def _has_unknown_flag(read: Callable[[], Any]) -> bool:
    """Whether a strict reading ends at a flag that there is not."""
    said = io.StringIO()
    with suppress(SystemExit, UserError), redirect_stderr(said):
        read()
    found = re.search(r"Unrecognized options: (.*)", said.getvalue())
    return found is not None and any(map(_is_flag, re.split(r"[ ,]+", found[1])))


def _is_flag(argument: str) -> bool:
    return argument.startswith("-") and argument != "-"


def _append(options: Any, left: Sequence[str]) -> Any | None:
    """The options with what stands behind a flag at the end of their list of names or files; None
    for options without such a list, or where a flag is among ``left``."""
    if any(map(_is_flag, left)):
        return None
    types = get_type_hints(type(options), include_extras=True)
    for owner in fields(options):
        kind = types[owner.name]
        marks = getattr(kind, "__metadata__", ())
        item, *more = get_args(kind.__origin__ if marks else kind) or (None,)
        if _POSITIONAL in marks and more == [...]:
            own = (*getattr(options, owner.name), *map(item, left))
            return replace(options, **{owner.name: own})
    return None


def progress(
    items: Any, what: str, unit: str, quiet: bool = False, total: int | None = None
) -> Any:
    """tqdm over ``items``, or to be updated by hand where that is None."""
    from tqdm import tqdm

    # disable=None: no bar where stderr is no terminal.
    return tqdm(items, what, total, unit=unit, disable=True if quiet else None)


@contextmanager
def writing_results() -> Iterator[None]:
    """A disk that is full is the user's to mend; that whoever reads our output has left is not."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the results cannot be written: {error}") from error


def confirm(question: str, yes: bool, refusal: str) -> None:
    """Ask on a terminal, unless ``yes``; without one nobody is asked. Raises UserError for a no."""
    if not yes and sys.stdin is not None and sys.stdin.isatty():
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
            raise UserError(refusal)


def arg(default: str, **settings: Any) -> Any:
    """A flag whose default is told in words; for use in `Annotated`."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})", **settings)


def needed(metavar: str, when: str = "", **settings: Any) -> Any:
    """What must be given, though it has a default, so that we can say why; for `Annotated`."""
    hint = f"(required{when})"
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint, **settings)


@cache
def _document(kind: Any) -> None:
    """Hand tyro the docstrings of a dataclass's fields, as their metadata "help".

    It reads them by itself, but breaks the lines of the help where the source breaks them. Empty
    lines still part paragraphs. Of a field that is left out by default the help says "none" instead
    of "None" or nothing, unless its `arg` has other words.
    """
    types = get_type_hints(kind, include_extras=True)
    for left_out in fields(kind):
        if left_out.default in (None, ()):
            annotation = types[left_out.name]
            own = getattr(annotation, "__metadata__", ())  # whose words come last and so count
            plain = annotation.__origin__ if own else annotation
            kind.__annotations__[left_out.name] = Annotated[(plain, _LEFT_OUT, *own)]
    for owner in reversed(kind.__mro__):  # fields may be inherited
        if "__dataclass_fields__" not in vars(owner):
            continue
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for declared, text in pairwise(tree.body):
            if (
                isinstance(declared, ast.AnnAssign)
                and isinstance(declared.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                field = kind.__dataclass_fields__[declared.target.id]
                field.metadata = {**field.metadata, "help": _flowing(str(text.value.value))}


def _flowing(text: str) -> str:
    """Without the line breaks of the source, but for those between paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def with_flags(message: str, module: ModuleType) -> str:
    """A message of the library with the flags of a command for the arguments that it names.

    Taken for an argument is what is called like an option in ``module`` and has an underscore, or
    is followed by ``=True`` or by what such messages say of one, and at the start of a message, or
    after "or" and "either", what is followed by ``=`` and a value. Paths stay as they are.
    """
    names: set[str] = set()
    for kind in vars(module).values():
        if isinstance(kind, type) and is_dataclass(kind):
            with suppress(NameError):  # one that holds what is imported when it is needed: no flags
                names |= {
                    name for one in _dataclasses(kind) for field in fields(one)
                    for name in (field.name, _own_name(one, field.name))
                }  # fmt: skip
    long = [name for name in names if "_" in name]
    if not long:
        return message
    said = r"(?:=True\b|(?= must\b| was\b| and patience must\b| is needed\b))"
    pattern = rf"(?<![-\w./\\'])(?:({'|'.join(names)}){said}|({'|'.join(long)})(?![-\w/\\'=]|\.\w))"
    message = re.sub(
        rf"(?:^|(?<= or )|(?<= either ))({'|'.join(names)})=(?!True\b)(?=\S)",
        lambda found: f"--{found[1]} ".replace("_", "-"),
        message,
    )
    return re.sub(pattern, lambda found: f"--{found[1] or found[2]}".replace("_", "-"), message)


def _own_name(kind: type, field: str) -> str:
    """What the flag of a field is called where that is something else."""
    hint = get_type_hints(kind, include_extras=True)[field]
    given = [getattr(own, "name", None) for own in getattr(hint, "__metadata__", ())]
    return next((name for name in given if name), field)


def log_to_stderr(quiet: bool = False) -> None:
    """Send the packages' log records to stderr, plain; warnings only when ``quiet``."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING if quiet else logging.INFO,
        format="%(message)s",
        force=True,
    )
