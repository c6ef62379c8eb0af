"""How the process that computes keeps its memory."""

from __future__ import annotations

import ctypes
import os
import platform

# What glibc is told, by number in malloc.h and by the variable that a child process reads.
SETTINGS = {
    "MALLOC_MMAP_MAX_": (-4, 0),  # large blocks are taken from the heap, not mapped anew each time
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # bytes at its end before the heap gives any back
    "MALLOC_ARENA_MAX": (-8, 1),  # one heap: those of threads are too small for large blocks
}


def keep_freed_memory() -> None:
    """Let this process, and those that it starts, reuse what they free instead of giving it back to the system.

    A network on the CPU allocates and frees gigabytes a second. glibc maps each large block anew, and the system fills
    each of its pages with zeros, which takes up to a third of the time (docs/experiments.md). The price is a higher
    peak. To be called before other threads start. Without glibc, or where the environment has settings of its own
    (or another allocator), nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc" or os.environ.keys() & {*SETTINGS, "GLIBC_TUNABLES", "LD_PRELOAD"}:
        return
    libc = ctypes.CDLL(None)
    for variable, (option, value) in SETTINGS.items():
        libc.mallopt(option, value)
        os.environ[variable] = str(value)
