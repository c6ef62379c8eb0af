"""Shared by all benchmarks: rows, output as a table and JSON, and fair timing."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, and its ratio to the baseline `against` (above 1: `what` is higher or faster)."""

    what: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""


def report(title: str, rows: Sequence[Row], file: Path | None) -> None:
    """Print the rows as a table, and write them to `file` as JSON {title, machine, rows}."""
    Console().print(table(title, [asdict(row) for row in rows]))
    if file is not None:
        content = {"title": title, "machine": machine(), "rows": [asdict(row) for row in rows]}
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of rows, each a dict with the fields of `Row`."""
    grid = Table("what", title=title, title_justify="left")
    for name in ("value", "unit", "ratio", "against"):
        grid.add_column(name, justify="right" if name in ("value", "ratio") else "left")
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        grid.add_row(row["what"], f"{row['value']:,.4g}", row["unit"], ratio, row["against"])
    return grid


def machine() -> dict[str, Any]:
    """The hardware and torch version of this measurement."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu, "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def interleaved(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each run over `rounds`, after one warm-up round.

    Every round calls each run once, so that other load on the machine affects all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round in range(rounds + 1):
        for name, run in runs.items():
            settle()
            start = time.perf_counter()
            run()
            settle()
            if round:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def settle() -> None:
    """Wait until the GPU, if any, has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device() -> torch.device:
    """The device on which networks run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
