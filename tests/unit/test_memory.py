"""Freed memory is reused, or returned to the system on request."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from attire.memory import SETTINGS

# Page faults of allocating and freeing 64 MiB twenty times, in a thread, like the engine of a server.
FAULTS = """
import resource, threading
from attire.memory import keep_freed_memory
keep_freed_memory()

def work():
    for turn in range(21):
        block = b"." * (64 << 20)
        if turn == 0:
            del block
            start.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start[0])

start = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
PAGES = 64 * 1024 // 4  # of one block


# Resident MiB before, while 300 MiB are held, after they are freed, and after they are returned to the system.
GIVEN_BACK = """
from attire.memory import give_freed_memory_back, keep_freed_memory, resident_bytes
keep_freed_memory()
for step in ("before", "held", "freed", "back"):
    if step == "held":
        blocks = [b"." * (1 << 20) for _ in range(300)]
        last = b"."  # on the heap behind the blocks
    elif step == "freed":
        del blocks
    elif step == "back":
        give_freed_memory_back()
    print(resident_bytes() >> 20)
"""

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


@glibc_only
def test_freed_memory_is_returned_on_request() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {*SETTINGS, "GLIBC_TUNABLES"}}
    process = subprocess.run(
        [sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    before, held, freed, back = map(int, process.stdout.split())
    assert held - before > 290
    assert freed > held - 10
    assert back < before + 30


@glibc_only
@pytest.mark.parametrize(("settings", "reused"), [({}, True), ({"MALLOC_ARENA_MAX": "4"}, False)])
def test_large_blocks_are_reused_unless_the_environment_configures_malloc(
    settings: dict[str, str], reused: bool
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in {*SETTINGS, "GLIBC_TUNABLES"}}
    environment = inherited | settings
    process = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert (int(process.stdout) < 3 * PAGES) is reused
