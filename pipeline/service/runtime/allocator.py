"""Memory that is free goes back to the system: pictures come and go in many threads.

glibc gives every thread a part of the heap of its own, up to eight for each processor, and once a
large block was freed it takes later ones of that size from there, where they leave holes. Of 64
threads that hold two pictures each for a moment, 215 MB stay behind, and 42 MB with these settings.
"""

from __future__ import annotations

import ctypes
import os
import sys

from PIL import Image

# malloc.h of glibc; see mallopt(3).
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
ARENAS = 4
LARGE = 2**20  # bytes; blocks from this size are the system's own and go back when freed
BLOCKS = 4  # of 16 MB at most; a decoder and a resizer in each of two threads need no more


def give_memory_back() -> bool:
    """Settle this for the process, before threads start; whether anything was settled.

    Only glibc has these settings. What the environment says (MALLOC_ARENA_MAX,
    MALLOC_MMAP_THRESHOLD_) stays.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    settled = 0
    if "MALLOC_ARENA_MAX" not in os.environ:
        settled += mallopt(M_ARENA_MAX, ARENAS)
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        settled += mallopt(M_MMAP_THRESHOLD, LARGE)
    return settled > 0


def keep_picture_blocks() -> None:
    """Have Pillow use the memory of one picture for the next, instead of asking for it each time.

    The system clears every page that it gives: 4 ms of 80 for each picture that is served. What
    the environment says (PILLOW_BLOCKS_MAX) stays.
    """
    if "PILLOW_BLOCKS_MAX" not in os.environ:
        Image.core.set_blocks_max(BLOCKS)
