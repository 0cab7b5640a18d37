"""Settings from a TOML file or keyword arguments, as changes of a dataclass and those in it."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from faces.errors import UserError

T = TypeVar("T")
_UNIONS = (typing.Union, types.UnionType)


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
    with unchecked(type(base)):
        return with_settings(base, values, f"{path}: ")


def with_settings(base: T, values: Mapping[str, Any], where: str = "") -> T:
    """``base`` with other values, flat or nested, by the names of its fields and of those in it.

    Args:
        base: a dataclass instance, possibly with others in it.
        values: texts become paths, lists tuples, and whole numbers floats, where a field takes one.
        where: the values come from, at the start of messages.

    Raises UserError for an unknown name (with a "did you mean") and a value of the wrong kind.
    """
    fields = dataclasses.fields(base)  # type: ignore[arg-type]  # an instance of one
    groups = {
        f.name: getattr(base, f.name)
        for f in fields
        if dataclasses.is_dataclass(getattr(base, f.name))
    }
    own = {f.name for f in fields} - set(groups)
    owner = {f.name: name for name, group in groups.items() for f in dataclasses.fields(group)}
    hints = typing.get_type_hints(type(base))
    changes: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    renamed = {
        f.metadata["old_name"]: f.name
        for part in (base, *groups.values())
        for f in dataclasses.fields(part)
        if "old_name" in f.metadata
    }
    for raw_key, value in values.items():
        key = raw_key.replace("-", "_")
        key = renamed.get(key, key)
        if key in groups:
            if isinstance(value, type(groups[key])):
                groups[key] = changes[key] = value
                continue
            if isinstance(value, str | Path) and f"{key}_dir" in owner:  # as its flag is called
                nested.setdefault(owner[f"{key}_dir"], {})[f"{key}_dir"] = value
                continue
            if not isinstance(value, dict):
                raise UserError(f"{where}{key} cannot be {value!r}; it is a table, [{key}]")
            nested.setdefault(key, {}).update(value)
        elif key in own:
            changes[key] = _coerce(hints[key], value, key, where)
        elif key in owner:
            nested.setdefault(owner[key], {})[key] = value
        else:
            close = difflib.get_close_matches(key, [*own, *owner, *groups], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(f"{where}unknown key {raw_key!r}{hint}")
    for name, group_values in nested.items():
        changes[name] = with_settings(groups[name], group_values, where)
    try:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}{error}") from error


def _coerce(hint: Any, value: Any, key: str, where: str) -> Any:
    """``value`` as the type that the field's annotation names."""
    allowed = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    for kind in allowed:
        origin = typing.get_origin(kind) or kind
        if origin is typing.Literal and value in typing.get_args(kind):
            return value
        if kind is type(None) and value is None:
            return None
        if hasattr(kind, "from_text") and isinstance(value, str):
            return kind.from_text(value)
        if origin is Path and isinstance(value, str | Path):
            return Path(value)
        if origin is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if origin is tuple and isinstance(value, list | tuple):
            items = typing.get_args(kind)
            if items[1:] == (...,):
                items = items[:1] * len(value)
            if len(items) == len(value):
                return tuple(_coerce(*pair, key, where) for pair in zip(items, value, strict=True))
        if origin in (bool, int, float, str) and type(value) is origin:
            return value
    raise UserError(f"{where}{key} cannot be {value!r}; it takes {_name(hint)}")


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


@contextmanager
def unchecked(options: Any) -> Iterator[None]:
    """Let dataclasses of options be made without their checks, ``__post_init__``."""
    checked = [kind for kind in dataclasses_in(options) if hasattr(kind, "__post_init__")]
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


def dataclasses_in(hint: Any) -> set[Any]:
    """Those in a type: itself, a union's, an annotation's, and those of their fields."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return {hint}.union(*map(dataclasses_in, typing.get_type_hints(hint).values()))
    return set().union(*map(dataclasses_in, typing.get_args(hint)))
