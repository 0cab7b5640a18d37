"""The one exception that means "the input is wrong, not the program"."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Bad input: the message names the file, line or index and says what to do.

    The command line prints the message alone and exits with code 2. Every other exception is
    a bug and keeps its traceback.

    >>> import faces
    >>> try:
    ...     faces.read_image("nowhere.jpg")
    ... except faces.UserError as error:
    ...     print(error)
    nowhere.jpg: there is no such file
    """


def require(rules: Iterable[tuple[bool, str]]) -> None:
    """Raise a UserError with the message of the first rule, (whether it holds, message), that
    does not hold."""
    for holds, message in rules:
        if not holds:
            raise UserError(message)
