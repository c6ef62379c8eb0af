"""Threads for what computes beside the engine."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def once(job: Callable[..., T], *args: object) -> T:
    """Run a job that computes in a thread that ends with it, and wait for it.

    OpenMP keeps threads for every thread that has ever computed. Where they are more than the cores, all of them sleep
    as soon as they wait for each other, and a lone photo takes a tenth longer, or more (docs/experiments.md).
    """
    with ThreadPoolExecutor(1, "once") as thread:
        return thread.submit(job, *args).result()
