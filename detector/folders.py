"""Whole folders that appear at once, and work on many files in threads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a hidden, empty folder that takes the name ``path`` when the block ends without error.

    A folder that already has that name is replaced. Thousands of small files get their safety from
    one rename and one flush of the disk's cache, where a flush for each would take minutes on a
    spinning disk. What a killed process left behind is removed by the next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.part")
    old = path.with_name(f".{path.name}.old")
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
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def in_threads(
    function: Callable[[T], R], items: Sequence[T], *, description: str, unit: str = "file"
) -> Iterator[R]:
    """``map`` in a few threads with a progress bar on stderr (none when that is no terminal).

    Results come in the order of ``items``. When the loop over them is left early, by an error or
    by Ctrl-C, what has not begun yet is dropped.
    """
    # More threads than cores: they mostly wait for the disk.
    pool = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 4))
    try:
        results = pool.map(function, items)
        yield from tqdm(results, total=len(items), desc=description, unit=unit, disable=None)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
