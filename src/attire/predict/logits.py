"""Products in, logits out: photos are decoded by threads ahead of the engine, and averaged over a product's photos."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attire.bundle import ModelBundle
from attire.catalog.images import open_photo
from attire.catalog.store import Catalog
from attire.errors import ConfigError, PhotoError
from attire.pixels.preprocess import Preprocess
from attire.predict.engines import Engine, TitleEngine, TorchEngine
from attire.titles import TitleReader

BATCH = 32  # photos
AHEAD = 3  # batches that are being decoded while the engine computes

Photo = Path | bytes | Image.Image
Pixels = NDArray[np.uint8]
Inputs = Literal["photo", "title", "both"]  # what a product is answered from


@dataclass(frozen=True, slots=True)
class ProductPhotos:
    """A product to be answered.

    `faults` are reasons, known before, why some of its photos cannot be used. An empty `title` is none; `category` is
    the known one, in the taxonomy's word.
    """

    id: str
    photos: Sequence[Photo]
    faults: tuple[str, ...] = ()
    title: str = ""
    category: str | None = None


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
    engine: Engine,
    preprocess: Preprocess,
    products: Iterable[ProductPhotos],
    batch_size: int = BATCH,
    reader: TitleReader | None = None,
) -> Iterator[ProductLogits]:
    """Logits of each product, in order; with a `reader`, from its title too. Memory does not grow with their number."""
    waiting: deque[tuple[list[ProductPhotos], list[list[Future[Pixels | str]]]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in _chunks(products, batch_size):
            decoding = [[pool.submit(_pixels, preprocess, photo) for photo in product.photos] for product in chunk]
            waiting.append((chunk, decoding))
            if len(waiting) > AHEAD:
                yield from _answer(engine, *waiting.popleft(), batch_size, reader)
        while waiting:
            yield from _answer(engine, *waiting.popleft(), batch_size, reader)


@dataclass(frozen=True, slots=True)
class CatalogLogits:
    """category: float32[N, C] and attributes: float32[N, K] of the products `ids`; `failed`: why others have none."""

    ids: list[str]
    category: NDArray[np.float32]
    attributes: NDArray[np.float32]
    failed: dict[str, str]


def catalog_logits(
    bundle: ModelBundle,
    catalog: Catalog,
    ids: Sequence[str],
    engine: Engine | None = None,
    batch_size: int = BATCH,
    inputs: Inputs = "photo",
) -> CatalogLogits:
    """Logits of the catalog's products `ids` from those `inputs`, with a progress bar.

    Raises `ConfigError` where the bundle does not read titles and they are asked for.
    """
    engine, reader = engine or TorchEngine(bundle), title_reader(bundle, inputs)
    photos, titles = catalog.photo_paths(), catalog.products["title"].to_list()
    rows = zip(ids, catalog.rows_of(ids).tolist(), strict=True)
    products = [ProductPhotos(id, photos[row], title=titles[row]) for id, row in rows]
    if inputs == "title":
        assert reader is not None
        answers = _title_stream(engine, reader, products, batch_size)
    else:
        answers = stream(engine, bundle.preprocess, products, batch_size, reader)
    answered, failed = [], {}
    for found in tracked(answers, len(products)):
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


def title_reader(bundle: ModelBundle, inputs: Inputs) -> TitleReader | None:
    """What reads titles where `inputs` has them; raises `ConfigError` for a bundle that cannot."""
    if inputs == "photo":
        return None
    if bundle.title_reader is None:
        raise ConfigError(
            f"{bundle.path} reads photos only, so it cannot be asked with a title. Train one that can: --text title."
        )
    return bundle.title_reader


def _titled(engine: Engine) -> TitleEngine:
    if not isinstance(engine, TitleEngine):
        raise ConfigError(f"{type(engine).__name__} reads photos only, and this bundle titles too: use --engine torch.")
    return engine


def _title_stream(
    engine: Engine, reader: TitleReader, products: Sequence[ProductPhotos], batch_size: int
) -> Iterator[ProductLogits]:
    """Logits of each product from its title alone."""
    for start in range(0, len(products), batch_size):
        chunk = products[start : start + batch_size]
        text = reader([product.title for product in chunk])
        for product, ids, category, attributes in zip(
            chunk, text, *_titled(engine).titled_logits(None, text), strict=True
        ):
            if ids.any():
                yield ProductLogits(product.id, category, attributes, ())
            else:
                yield ProductLogits(product.id, None, None, ("no title",))


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
        return preprocess.resize(photo.convert("RGB"))
    try:
        return preprocess.resize(open_photo(photo, target_px=preprocess.size_px))
    except PhotoError as error:
        return f"{photo.name}: {error}" if isinstance(photo, Path) else str(error)


def _answer(
    engine: Engine,
    chunk: Sequence[ProductPhotos],
    decoding: Sequence[Sequence[Future[Pixels | str]]],
    batch_size: int,
    reader: TitleReader | None,
) -> Iterator[ProductLogits]:
    results = [[future.result() for future in futures] for futures in decoding]
    pixels = [result for found in results for result in found if not isinstance(result, str)]
    titles = [p.title for p, found in zip(chunk, results, strict=True) for r in found if not isinstance(r, str)]
    batches = []
    for start in range(0, len(pixels), batch_size):
        batch = slice(start, start + batch_size)
        photos = np.stack(pixels[batch])
        batches.append(
            engine.logits(photos) if reader is None else _titled(engine).titled_logits(photos, reader(titles[batch]))
        )
    rows = iter(zip(*(np.concatenate(part) for part in zip(*batches, strict=True)), strict=True) if batches else ())
    for product, found in zip(chunk, results, strict=True):
        own = [next(rows) for result in found if not isinstance(result, str)]
        faults = (*product.faults, *(result for result in found if isinstance(result, str)))
        if own:
            category, attributes = (np.mean(part, axis=0) for part in zip(*own, strict=True))
            yield ProductLogits(product.id, category, attributes, faults)
        else:
            yield ProductLogits(product.id, None, None, faults)
