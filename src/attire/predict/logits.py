"""Products in, logits out: photos are decoded by threads ahead of the engine, and averaged over a product's photos."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attire.bundle import ModelBundle
from attire.catalog.images import open_photo
from attire.catalog.store import Catalog
from attire.errors import PhotoError
from attire.pixels.preprocess import Preprocess
from attire.predict.engines import Engine, TorchEngine

BATCH = 32  # photos
AHEAD = 3  # batches that are being decoded while the engine computes

Photo = Path | bytes | Image.Image
Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ProductPhotos:
    """A product to be answered. `faults` are reasons, known before, why some of its photos cannot be used."""

    id: str
    photos: Sequence[Photo]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProductLogits:
    """Mean logits over a product's readable photos: float32[C] and float32[K], or None where it has none.

    `faults` names each photo that could not be used, with the reason.
    """

    id: str
    category: NDArray[np.float32] | None
    attributes: NDArray[np.float32] | None
    faults: tuple[str, ...]


def stream(
    engine: Engine, preprocess: Preprocess, products: Iterable[ProductPhotos], batch_size: int = BATCH
) -> Iterator[ProductLogits]:
    """Logits of each product, in order. Memory does not grow with the number of products."""
    waiting: deque[tuple[list[ProductPhotos], list[list[Future[Pixels | str]]]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in _chunks(products, batch_size):
            decoding = [[pool.submit(_pixels, preprocess, photo) for photo in product.photos] for product in chunk]
            waiting.append((chunk, decoding))
            if len(waiting) > AHEAD:
                yield from _answer(engine, *waiting.popleft(), batch_size)
        while waiting:
            yield from _answer(engine, *waiting.popleft(), batch_size)


@dataclass(frozen=True, slots=True)
class CatalogLogits:
    """category: float32[N, C] and attributes: float32[N, K] of the products `ids`; `failed`: why others have none."""

    ids: list[str]
    category: NDArray[np.float32]
    attributes: NDArray[np.float32]
    failed: dict[str, str]


def catalog_logits(
    bundle: ModelBundle, catalog: Catalog, ids: Sequence[str], engine: Engine | None = None, batch_size: int = BATCH
) -> CatalogLogits:
    """Logits of the catalog's products `ids`, with a progress bar."""
    photos = catalog.photo_paths()
    products = [ProductPhotos(id, photos[row]) for id, row in zip(ids, catalog.rows_of(ids).tolist(), strict=True)]
    answered, failed = [], {}
    for found in tracked(stream(engine or TorchEngine(bundle), bundle.preprocess, products, batch_size), len(products)):
        if found.category is None:
            failed[found.id] = "; ".join(found.faults) or "no readable photo"
        else:
            answered.append(found)
    taxonomy = bundle.taxonomy
    category = np.zeros((len(answered), len(taxonomy.categories)), dtype=np.float32)
    attributes = np.zeros((len(answered), taxonomy.width), dtype=np.float32)
    for row, found in enumerate(answered):
        category[row], attributes[row] = found.category, found.attributes
    return CatalogLogits([found.id for found in answered], category, attributes, failed)


def tracked(products: Iterable[ProductLogits], total: int, done: int = 0) -> Iterator[ProductLogits]:
    """`products`, with a progress bar on stderr that starts at `done` of `total`."""
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, completed=done, speed="")
        for product in products:
            yield product
            speed = progress.tasks[task].speed
            progress.update(task, advance=1, speed=f"{speed:,.0f} products/s" if speed else "")


def _chunks(products: Iterable[ProductPhotos], batch_size: int) -> Iterator[list[ProductPhotos]]:
    """Products that together have a batch of photos."""
    chunk: list[ProductPhotos] = []
    photos = 0
    for product in products:
        chunk.append(product)
        photos += max(1, len(product.photos))
        if photos >= batch_size:
            yield chunk
            chunk, photos = [], 0
    if chunk:
        yield chunk


def _pixels(preprocess: Preprocess, photo: Photo) -> Pixels | str:
    """The network's pixels, or the reason why there are none."""
    if isinstance(photo, Image.Image):
        return preprocess(photo.convert("RGB"))
    try:
        return preprocess(open_photo(photo, target_px=preprocess.size_px))
    except PhotoError as error:
        return f"{photo.name}: {error}" if isinstance(photo, Path) else str(error)


def _answer(
    engine: Engine, chunk: Sequence[ProductPhotos], decoding: Sequence[Sequence[Future[Pixels | str]]], batch_size: int
) -> Iterator[ProductLogits]:
    results = [[future.result() for future in futures] for futures in decoding]
    pixels = [result for found in results for result in found if not isinstance(result, str)]
    batches = [engine.logits(np.stack(pixels[i : i + batch_size])) for i in range(0, len(pixels), batch_size)]
    rows = iter(zip(*(np.concatenate(part) for part in zip(*batches, strict=True)), strict=True) if batches else ())
    for product, found in zip(chunk, results, strict=True):
        own = [next(rows) for result in found if not isinstance(result, str)]
        faults = (*product.faults, *(result for result in found if isinstance(result, str)))
        if own:
            category, attributes = (np.mean(part, axis=0) for part in zip(*own, strict=True))
            yield ProductLogits(product.id, category, attributes, faults)
        else:
            yield ProductLogits(product.id, None, None, faults)
