"""Compare bulk prediction with its engine alone on decoded photos, and with a plain DataLoader loop.

python benchmarks/bulk.py BUNDLE PHOTOS [--engine torch] [--sizes 1000 2000 5000 10000] [--rounds 2] [--json FILE]

BUNDLE is a model bundle, PHOTOS a folder of photos (repeated if there are too few). The first rows are photos/s at the
first size, the best of all rounds, with ratios; the others are seconds and peak memory as the number of photos grows.
Every run has its own process; times exclude imports and loading.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from PIL import Image
from support.common import Row, report
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from attire.bundle import ModelBundle
from attire.engines.engine import open_engine
from attire.inference.bulk import predict
from attire.inference.logits import BATCH
from attire.memory import keep_freed_memory
from attire.photos.folder import photos_below

Run = Callable[[Path, Path, str], float]  # bundle, photos, engine -> seconds


def engine_alone(bundle: Path, photos: Path, engine: str) -> float:
    """Run the engine on the same number of photos of random pixels, already in memory."""
    keep_freed_memory()  # as the command line does
    loaded = ModelBundle.load(bundle)
    runner = open_engine(loaded, engine)
    batch = np.random.default_rng(0).integers(0, 256, (BATCH, 3, *loaded.preprocess.size_px), dtype=np.uint8)
    runner.logits(batch)
    count = sum(1 for _ in photos_below(photos))
    start = time.perf_counter()
    for _ in range(count // BATCH):
        runner.logits(batch)
    if remainder := count % BATCH:
        runner.logits(batch[:remainder])
    return time.perf_counter() - start


def end_to_end(bundle: Path, photos: Path, engine: str) -> float:
    """Run `attire predict` from a folder of photos to a Parquet file."""
    keep_freed_memory()
    loaded = ModelBundle.load(bundle)
    runner = open_engine(loaded, engine)
    runner.logits(np.zeros((BATCH, 3, *loaded.preprocess.size_px), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        predict(loaded, photos, Path(folder) / "out.parquet", engine=runner)
        return time.perf_counter() - start


class Photos(Dataset[tuple[str, Tensor]]):
    """A folder of photos as a plain PyTorch data set."""

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.transform = sorted(folder.iterdir()), transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, n: int) -> tuple[str, Tensor]:
        return self.paths[n].stem, self.transform(Image.open(self.paths[n]).convert("RGB"))


def plain_loop(bundle: Path, photos: Path, _engine: str) -> float:
    """A DataLoader with torchvision transforms, the network in eager float32, and a CSV written at the end."""
    from torchvision.transforms import (  # after attire: see attire.pixels.torchvision_ops
        Compose,
        Normalize,
        Resize,
        ToTensor,
    )

    loaded = ModelBundle.load(bundle)
    taxonomy, preprocess = loaded.taxonomy, loaded.preprocess
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        transform = Compose([Resize(preprocess.size_px), ToTensor(), Normalize(preprocess.mean, preprocess.std)])
        loader = DataLoader(Photos(photos, transform), batch_size=BATCH, num_workers=os.cpu_count() or 1)
        rows: list[dict[str, Any]] = []
        for ids, pixels in loader:
            with torch.no_grad():
                logits = loaded.network(pixels, None)
            category = logits.category.softmax(dim=1)
            for row, id in enumerate(ids):
                confidence, best = category[row].max(dim=0)
                record = {"id": id, "category": taxonomy.categories[best], "category_confidence": confidence.item()}
                for key, columns in taxonomy.columns.items():
                    confidence, best = logits.attributes[row, columns].softmax(dim=0).max(dim=0)
                    record |= {key: taxonomy.keys[key].values[best], f"{key}__confidence": confidence.item()}
                rows.append(record)
        with (Path(folder) / "out.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return time.perf_counter() - start


RUNS: dict[str, Run] = {
    "engine alone, ready pixels": engine_alone,
    "attire predict, end to end": end_to_end,
    "plain DataLoader loop": plain_loop,
}


def main(
    bundle: Path,
    photos: Path,
    /,
    *,
    engine: str = "torch",
    sizes: Annotated[list[int], Parameter(consume_multiple=True)] = [1000, 2000, 5000, 10000],  # noqa: B006
    rounds: int = 2,
    json: Path | None = None,
) -> None:
    """Measure, print the results and write them to `json` if given."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {size: _folder(photos, Path(temporary) / str(size), size) for size in sizes}
        first = folders[sizes[0]]
        seconds = {name: float("inf") for name in RUNS}
        for _ in range(rounds):
            for name, run in RUNS.items():
                seconds[name] = min(seconds[name], _measure(run, bundle, first, engine)[0])
        growth = [(size, *_measure(end_to_end, bundle, folder, engine)) for size, folder in folders.items()]
    rows = []
    for name, time_s in seconds.items():
        rate = sizes[0] / time_s
        rows += [
            Row(name, rate, "photos/s", seconds[against] / time_s, against) for against in seconds if against != name
        ]
    for size, time_s, peak_mb in growth:
        smallest, first_s, first_mb = growth[0]
        rows.append(Row(f"{size:,} photos", time_s, "s", time_s / first_s / (size / smallest), "linear growth"))
        rows.append(Row(f"{size:,} photos, peak memory", peak_mb, "MB", peak_mb / first_mb, f"{smallest:,} photos"))
    report(f"attire predict, {ModelBundle.load(bundle).spec.network.backbone}, engine {engine}", rows, json)


def _folder(photos: Path, folder: Path, size: int) -> Path:
    """Create a folder with `size` links to the photos."""
    folder.mkdir()
    files = [path for _, path in photos_below(photos)]
    for number, path in enumerate(islice(cycle(files), size)):
        (folder / f"{number:06d}{path.suffix}").symlink_to(path)
    return folder


def _measure(run: Run, bundle: Path, photos: Path, engine: str) -> tuple[float, float]:
    """The run's seconds and its process's peak resident memory in MB, without DataLoader workers."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(run, bundle, photos, engine, sender))
    process.start()
    sender.close()
    try:
        seconds, peak_mb = receiver.recv()
    except EOFError:
        raise SystemExit(f"{run.__name__} failed: see above.") from None
    process.join()
    return seconds, peak_mb


def _run(run: Run, bundle: Path, photos: Path, engine: str, sender: Any) -> None:
    seconds = run(bundle, photos, engine)
    sender.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


if __name__ == "__main__":
    cyclopts.run(main)
