"""Work on many files: folders that appear at once, copies and links, threads."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from tqdm import tqdm

from faces.run import Threads, interrupt_between, result_of

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a hidden, empty folder that takes the name ``path`` when the block ends without error.

    A folder that already has that name is replaced. Thousands of small files get their safety from
    one rename and one flush of the disk's cache, where a flush for each would take minutes on a
    spinning disk. What a killed process left behind is removed by the next one, which first gives
    the old folder its name back where that one was killed between two renames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.part")
    old = path.with_name(f".{path.name}.old")
    _restore(old, path)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        if hasattr(os, "sync"):  # not on Windows
            os.sync()
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        _restore(old, path)  # Windows renames no folder in which a scanner has a file open
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _restore(old: Path, path: Path) -> None:
    """Undo the renaming of ``path`` to ``old`` when nothing else took its place."""
    if old.exists() and not path.exists():
        old.rename(path)


def in_threads(
    function: Callable[[T], R], items: Sequence[T], *, description: str, unit: str = "file"
) -> Iterator[R]:
    """``map`` in a few threads with a progress bar on stderr (none when that is no terminal).

    Results come in the order of ``items``. When the loop over them is left early, by an error or
    by Ctrl-C, what has not begun yet is dropped.
    """
    # More threads than cores: they mostly wait for the disk.
    pool = Threads(min(8, (os.cpu_count() or 1) + 4))
    with interrupt_between() as check:
        try:
            results = deque(pool.submit(partial(function, item)) for item in items)
            with tqdm(total=len(items), desc=description, unit=unit, disable=None) as bar:
                while results:
                    check()
                    yield result_of(results.popleft(), check)
                    bar.update()
        finally:
            pool.close(check)


def write_stream(file: IO[bytes], destination: Path) -> None:
    """Copy to ``destination``, whole or not at all, but without a flush of the disk for each."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    # Short, since a name may be as long as the file system allows, and the same each time, so that
    # the next call overwrites what a killed one left.
    digest = hashlib.sha256(os.fsencode(destination.name)).hexdigest()
    part = destination.with_name(f".part-{digest[:16]}")
    try:
        with part.open("wb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
        part.replace(destination)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def copy_file(source: Path, destination: Path) -> None:
    """The bytes of ``source``, written as `write_stream` does."""
    with source.open("rb") as file:
        write_stream(file, destination)


def link_file(source: Path, destination: Path) -> str:
    """Make a symbolic link, or a hard link where those are not allowed, or a copy; says which.

    What is at ``destination`` is replaced.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.unlink(missing_ok=True)
    try:  # relative, so that both may move together (into a container, to another disk)
        target = os.path.relpath(source, destination.parent.resolve())
    except ValueError:  # two drives of Windows
        target = str(source)
    try:
        destination.symlink_to(target)
        return "linked"
    except OSError:  # Windows without the developer mode, or a file system that has none
        pass
    try:
        destination.hardlink_to(source)
        return "hard linked"
    except OSError:
        copy_file(source, destination)
        return "copied"


def place_file(source: Path, destination: Path, *, link: bool) -> str:
    """See `link_file`, or `copy_file`; says how it came there."""
    if link:
        return link_file(source.resolve(), destination)
    copy_file(source, destination)
    return "copied"
