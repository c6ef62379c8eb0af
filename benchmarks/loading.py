"""Compare loading training examples from the photo cache with Pillow in a DataLoader, with equal workers.

python benchmarks/loading.py CATALOG [--generate 300] [--photos 1000] [--workers 1] [--rounds 3] [--json FILE]

On photos of CATALOG, and on drawn photos of 1500 x 2000 px, a common size in shops: images/s with and without
augmentation; and for the cache, the seconds until the first batch and the memory with 1, 2 and 4 workers. Only
anonymous memory is counted, because pages of the mapped file are page cache, which the system can reclaim.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from PIL import Image
from support.common import Row, interleaved, report
from support.drawn import draw_shop
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import attire
from attire.catalog.store import Catalog
from attire.pixels import torchvision_ops  # noqa: F401
from attire.pixels.dataset import DrawSampler
from attire.pixels.photo_cache import cache_photos
from attire.pixels.preprocess import Preprocess
from attire.training.data import Subset

from torchvision.transforms import v2  # isort: skip  (after ops)

SIZE_PX = (224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CACHE_PX, BATCH, LARGE_PX = 256, 32, (2000, 1500)
PREPROCESS = Preprocess(size_px=SIZE_PX, mean=MEAN, std=STD)
NORMALISED = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
BICUBIC = v2.InterpolationMode.BICUBIC
BASELINES = {  # torchvision transforms for each of attire's augmentations
    "none": v2.Compose([v2.Resize(SIZE_PX, BICUBIC), *NORMALISED]),
    "light": v2.Compose(
        [
            v2.RandomResizedCrop(SIZE_PX, scale=(0.65, 1.0), ratio=(0.85, 1 / 0.85), interpolation=BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.15, contrast=0.15),
            *NORMALISED,
        ]
    ),
}


class PillowDataset(Dataset[Tensor]):
    """The usual dataset: open with Pillow, transform with torchvision."""

    def __init__(self, paths: list[Path], transform: v2.Transform) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as photo:
            pixels: Tensor = self.transform(photo.convert("RGB"))
        return pixels


def loader(examples: Dataset[Any], workers: int, seed: int | None = 0, **options: Any) -> DataLoader[Any]:
    """A DataLoader: with attire's sampler for its own examples, shuffled for others."""
    order = {"shuffle": True} if isinstance(examples, PillowDataset) else {"sampler": DrawSampler(len(examples), seed)}  # type: ignore[arg-type]
    return DataLoader(examples, BATCH, num_workers=workers, **order, **options)


def exhaust(batches: DataLoader[Any]) -> None:
    """Load all batches."""
    for _ in batches:
        pass


def measure(name: str, catalog: Catalog, ids: list[str], workers: int, rounds: int) -> Iterator[Row]:
    """Images/s of three ways to load photos, with and without augmentation."""
    cache = cache_photos(catalog, CACHE_PX)
    part = Subset(catalog, ids, name)
    first = [views[0] for views in part.photos]
    for augment, baseline in BASELINES.items():
        ways: dict[str, Dataset[Any]] = {
            "Pillow": PillowDataset(first, baseline),
            "attire, files": part.photo_examples(PREPROCESS, augment),
            "attire, cache": part.photo_examples(PREPROCESS, augment, cache),
        }
        loaders = {
            way: loader(examples, workers, None if augment == "none" else 0, persistent_workers=workers > 0)
            for way, examples in ways.items()
        }
        times = interleaved({way: partial(exhaust, batches) for way, batches in loaders.items()}, rounds)
        for way, seconds in times.items():
            ratio = None if way == "Pillow" else times["Pillow"] / seconds
            yield Row(
                f"{name}, augment {augment}: {way}", len(ids) / seconds, "images/s", ratio, "Pillow" if ratio else ""
            )


def first_batch_s(examples: Dataset[Any], workers: int) -> float:
    """Seconds from starting to iterate until the first batch."""
    batches = loader(examples, workers)
    start = time.perf_counter()
    next(iter(batches))
    return time.perf_counter() - start


def memory(catalog: Catalog, ids: list[str], workers: int) -> float:
    """Anonymous memory in MB of all loading processes together, with each shared page counted once."""

    def load(sender: Any) -> None:
        examples = Subset(catalog, ids, "memory").photo_examples(PREPROCESS, "light", cache_photos(catalog, CACHE_PX))
        batches = loader(examples, workers, persistent_workers=True)
        exhaust(batches)
        processes = [multiprocessing.current_process(), *multiprocessing.active_children()]
        sender.send(sum(_anonymous_mb(process.pid) for process in processes))

    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=load, args=(sender,))
    process.start()
    used_mb: float = receiver.recv()
    process.join()
    return used_mb


def _anonymous_mb(pid: int | None) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss_Anon:")) / 1024


def main(
    catalog: Path,
    /,
    *,
    generate: int = 300,
    photos: int = 1000,
    workers: int = 1,
    rounds: int = 3,
    json: Path | None = None,
) -> None:
    """Measure on the first `photos` products of a copy of CATALOG, and on `generate` drawn products."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "catalog"
        shutil.copytree(catalog, copy, ignore=shutil.ignore_patterns("cache"))
        small = Catalog.load(copy)
        rows = list(measure(f"{catalog.name}", small, small.ids[:photos], workers, rounds))
        if generate:
            feed = draw_shop(Path(folder) / "shop", generate, LARGE_PX)
            large = attire.ingest(feed, feed.parent / "photos", Path(folder) / "large")
            rows += measure("drawn, 1500 x 2000 px", large, large.ids, workers, rounds)
        examples = Subset(small, small.ids, "all").photo_examples(PREPROCESS, "light", cache_photos(small, CACHE_PX))
        starts = {count: float(np.median([first_batch_s(examples, count) for _ in range(3)])) for count in (1, 4)}
        rows += [Row(f"first batch from the cache, {n} workers", s, "s") for n, s in starts.items()]
        used = {count: memory(small, small.ids[:photos], count) for count in (1, 2, 4)}
        rows += [Row(f"memory, {n} workers", mb, "MB", mb / used[1], "one worker") for n, mb in used.items()]
    report(f"Loading at {SIZE_PX[0]} px, {workers} workers", rows, json)


if __name__ == "__main__":
    cyclopts.run(main)
