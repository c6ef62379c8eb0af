"""Compare ingest with a minimal loop that opens, rotates and resizes every photo with Pillow in one process.

python benchmarks/ingest.py ../shared/benchmarks/myntra26

Prints seconds, photos/s and peak memory (of the process and its largest child) of the plain loop, a first ingest, and a
second ingest with nothing new, each in its own process, and the ratios to the loop.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from myntra26 import main as make_catalog
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table


def plain_loop(photos: Path) -> None:
    """Decode each photo as ingest does, without verifying or hashing it."""
    for path in photos.rglob("*.jpg"):
        with Image.open(path) as photo:
            ImageOps.exif_transpose(photo).convert("RGB").resize((224, 224))


def main(data: Path) -> None:
    """Run all three on the photos and labels in `data`, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        photos, catalog = Path(folder) / "photos", Path(folder) / "catalog"
        for archive in sorted(data.glob("*.tar")):
            with tarfile.open(archive) as tar:
                tar.extractall(photos, filter="data")
        count = sum(1 for _ in photos.rglob("*.jpg"))
        runs: dict[str, Callable[[], None]] = {
            "Pillow open + resize, one process": lambda: plain_loop(photos),
            "attire ingest (unpack, verify, hash, tie, split)": lambda: make_catalog(data, catalog),
            "attire ingest again, nothing new": lambda: make_catalog(data, catalog),
        }
        results = {name: _in_own_process(run) for name, run in runs.items()}
    base = next(iter(results.values()))[0]
    table = Table("run", "seconds", "photos/s", "peak MB", "time / loop")
    for name, (seconds, peak_mb) in results.items():
        table.add_row(name, f"{seconds:.1f}", f"{count / seconds:,.0f}", f"{peak_mb:,.0f}", f"{seconds / base:.2f}")
    Console().print(table)


def _in_own_process(run: Callable[[], None]) -> tuple[float, float]:
    """Run in a new process; returns seconds, and the peak resident memory in MB of the process or its largest child."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def measure() -> None:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        sender.send(json.dumps([seconds, max(peaks) / 1024]))

    process = multiprocessing.get_context("fork").Process(target=measure)
    process.start()
    process.join()
    seconds, peak_mb = json.loads(receiver.recv())
    return seconds, peak_mb


if __name__ == "__main__":
    main(Path(sys.argv[1]))
