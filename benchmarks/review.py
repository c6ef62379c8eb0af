"""Measures how long it takes to save a decision: synced to disk (as attire does), and without the sync.

python benchmarks/review.py [--decisions 1000] [--before 20000] [--folder FOLDER] [--json FILE]

Two SQLite stores, each with `before` earlier decisions, save one decision after the other in turns. The stores are
created in FOLDER: choose one on the disk that the real store will use, because the disk is what is measured.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
from sqlalchemy import event
from support.common import Row, report

from attire.review.store.events import Store, Verdict

AT_ONCE = 1000


def main(*, decisions: int = 1000, before: int = 20_000, folder: Path | None = None, json: Path | None = None) -> None:
    """Measure, print the rows, and write them to `json` if it is set."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        stores = {name: Store(Path(temporary) / f"{name}.sqlite") for name in ("on disk", "with the system")}
        _disable_sync(stores["with the system"])
        for store in stores.values():
            for start in range(0, before, AT_ONCE):
                store.decide("Ann", [_verdict(f"earlier {n}") for n in range(start, min(start + AT_ONCE, before))])
        seconds: dict[str, list[float]] = {name: [] for name in stores}
        for number in range(decisions):
            for name, store in stores.items():
                start_s = time.perf_counter()
                store.decide("Ann", [_verdict(f"product {number}")])
                seconds[name].append(time.perf_counter() - start_s)
        for store in stores.values():
            store.close()
    rows = []
    for share in (50, 95, 99):
        fast, slow = (statistics.quantiles(seconds[name], n=100)[share - 1] for name in ("with the system", "on disk"))
        rows.append(Row(f"decision with the system, p{share}", fast * 1000, "ms"))
        rows.append(Row(f"decision on disk, p{share}", slow * 1000, "ms", slow / fast, "with the system"))
    report(f"Saving {decisions:,} decisions, one at a time, on {before:,} earlier ones", rows, json)


def _disable_sync(store: Store) -> None:
    """Let the store acknowledge a decision before the system has written it to disk."""

    @event.listens_for(store.engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    store.engine.dispose()


def _verdict(product: str) -> Verdict:
    return Verdict(product, "colour", "set", ("red",), 0)


if __name__ == "__main__":
    cyclopts.run(main)
