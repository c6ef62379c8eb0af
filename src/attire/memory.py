"""How the process that computes keeps its memory."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

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
    if not _glibc() or os.environ.keys() & {*SETTINGS, "GLIBC_TUNABLES", "LD_PRELOAD"}:
        return
    libc = ctypes.CDLL(None)
    for variable, (option, value) in SETTINGS.items():
        libc.mallopt(option, value)
        os.environ[variable] = str(value)


def give_freed_memory_back() -> None:
    """Let the system have what this process has freed, after something that took far more than usual."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """The memory that this process holds; 0 where the system does not tell (it is not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
