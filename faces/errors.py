"""The one exception that means "the input is wrong, not the program"."""

from __future__ import annotations

import errno
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


class CannotWrite(OSError, UserError):
    """A file cannot be written, for the disk is full or takes no changes: no fault of the program.

    It is an OSError as well, with ``errno``, ``strerror`` and ``filename``, for those who expect
    one where a file is written.
    """

    ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

    def __str__(self) -> str:
        full = "the disk is full" if self.errno == errno.ENOSPC else self.strerror
        return f"cannot write {self.filename}: {full}"


def require(rules: Iterable[tuple[bool, str]]) -> None:
    """Raise a UserError with the message of the first rule, (whether it holds, message), that
    does not hold."""
    for holds, message in rules:
        if not holds:
            raise UserError(message)
