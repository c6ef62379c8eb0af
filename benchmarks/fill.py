"""Seconds and peak memory of `attire fill` as a feed grows, with an engine that costs nothing.

python benchmarks/fill.py BUNDLE [--sizes 20000 100000] [--formats csv jsonl parquet xlsx] [--keys 12] [--json FILE]

The feeds have a row per product with id, photo, title and category, and columns for the first keys of the BUNDLE's
taxonomy, a third of them with a value. All rows share 20 small photos, so that what is measured is the filling. Every
run has its own process; times exclude imports and loading.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import polars as pl
from cyclopts import Parameter
from PIL import Image
from support.common import Row, report

from attire.bundle import ModelBundle
from attire.catalog.sources import SourceOptions
from attire.filling.fill import fill
from attire.inference.bulk import predict
from attire.taxonomy import Taxonomy

PHOTOS = 20
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


class FreeEngine:
    """An engine with logits that are a fixed linear map of a photo's mean colour."""

    name = "free"

    def __init__(self, taxonomy: Taxonomy) -> None:
        random = np.random.default_rng(0)
        self.category = random.normal(size=(3, len(taxonomy.categories))).astype(np.float32) * 20
        self.attributes = random.normal(size=(3, taxonomy.width)).astype(np.float32) * 20

    def logits(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Category and attribute logits."""
        colour = pixels.mean(axis=(2, 3), dtype=np.float32) / 255
        return colour @ self.category, colour @ self.attributes


def write_feed(folder: Path, taxonomy: Taxonomy, rows: int, keys: int, format: str) -> Path:
    """Write a feed with that many rows and its photos."""
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(PHOTOS):
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        Image.new("RGB", (72, 96), colour).save(folder / "photos" / f"{number}.jpg")
    columns: dict[str, Any] = {
        "sku": [f"00{number:07d}" for number in range(rows)],
        "image": [f"{number % PHOTOS}.jpg" for number in range(rows)],
        "title": [f'Acme "{number}", cut to fit, with a description of some length' for number in range(rows)],
        "category": random.choice(taxonomy.categories, rows),
    }
    for key in islice(taxonomy.keys, keys):
        words = random.choice(taxonomy.keys[key].values, rows)
        columns[key] = np.where(random.random(rows) < 1 / 3, words, "")
    table = pl.DataFrame(columns)
    feed = folder / f"feed.{format}"
    if format == "xlsx":
        _write_workbook(table, feed)
    else:
        writers: dict[str, Any] = {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}
        writers[format](feed)
    return feed


def _write_workbook(table: pl.DataFrame, feed: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Products")
    sheet.append(table.columns)
    for row in table.iter_rows():
        sheet.append([cell or None for cell in row])
    book.save(feed)


def _run(bundle: Path, feed: Path, verb: str, results: Connection) -> None:
    loaded = ModelBundle.load(bundle)
    engine, options = FreeEngine(loaded.taxonomy), SourceOptions(id="sku")
    start = time.perf_counter()
    if verb == "fill":
        fill(
            loaded,
            feed,
            feed.with_name(f"filled{feed.suffix}"),
            images=feed.parent / "photos",
            engine=engine,
            options=options,
        )
    else:
        out = feed.with_name("predicted.parquet")
        predict(loaded, feed, out, images=feed.parent / "photos", engine=engine, options=options, known_category=True)
    seconds = time.perf_counter() - start
    results.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(bundle: Path, feed: Path, verb: str) -> tuple[float, float]:
    """Seconds and peak resident memory in MB of a process that fills or predicts the feed."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(bundle, feed, verb, sender))
    process.start()
    sender.close()
    result: tuple[float, float] = receiver.recv()
    process.join()
    return result


def main(
    bundle: Path,
    /,
    *,
    sizes: Annotated[list[int], Parameter(consume_multiple=True)] = [20_000, 100_000],  # noqa: B006
    formats: Annotated[list[str], Parameter(consume_multiple=True)] = ["csv", "jsonl", "parquet", "xlsx"],  # noqa: B006
    keys: int = 12,
    json: Path | None = None,
) -> None:
    """Measure, print the results and write them to `json` if given."""
    taxonomy = ModelBundle.load(bundle).taxonomy
    rows = []
    for format in formats:
        first: tuple[float, float] | None = None
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                feed = write_feed(Path(folder), taxonomy, size, keys, format)
                if format == formats[0]:
                    predicted_s, predicted_mb = measure(bundle, feed, "predict")
                    rows.append(Row(f"predict, {size:,} rows", predicted_s, "s"))
                    rows.append(Row(f"predict, {size:,} rows, peak memory", predicted_mb, "MB"))
                seconds, peak_mb = measure(bundle, feed, "fill")
            first = first or (seconds / size, peak_mb)
            what = f"{format}, {size:,} rows"
            rows.append(Row(what, seconds, "s", seconds / size / first[0], "linear growth"))
            rows.append(Row(f"{what}, peak memory", peak_mb, "MB", peak_mb / first[1], f"{sizes[0]:,} rows"))
    report(f"attire fill, {keys} keys", rows, json)


if __name__ == "__main__":
    cyclopts.run(main)
