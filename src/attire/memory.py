"""Memory settings of processes that run a network."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

# glibc settings: the variable that a child process reads -> (option number in malloc.h, value).
SETTINGS = {
    "MALLOC_MMAP_MAX_": (-4, 0),  # allocate large blocks from the heap instead of mapping each one
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # free bytes at the end of the heap before any are returned
    "MALLOC_ARENA_MAX": (-8, 1),  # a single heap, because per-thread heaps are too small for large blocks
}


def keep_freed_memory() -> None:
    """Let this process and its children reuse freed memory instead of returning it to the system.

    A network on the CPU allocates and frees gigabytes per second. By default glibc maps each large block again, and the
    system zeroes its pages, which takes up to a third of the time (docs/experiments.md). The cost is a higher peak.
    Call this before starting threads. It does nothing without glibc, or if the environment already configures malloc or
    preloads another allocator.
    """
    if not _glibc() or os.environ.keys() & {*SETTINGS, "GLIBC_TUNABLES", "LD_PRELOAD"}:
        return
    libc = ctypes.CDLL(None)
    for variable, (option, value) in SETTINGS.items():
        libc.mallopt(option, value)
        os.environ[variable] = str(value)


def give_freed_memory_back() -> None:
    """Return freed memory to the system, after work that took far more than usual."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Resident memory of this process; 0 on systems other than Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
