"""Products in, logits out: full batches of photos for the engine, averaged over each product's photos."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.engines.engine import Engine, TitleEngine
from attire.errors import ConfigError
from attire.inference.decoding import Pixels, ProductPhotos, decoded
from attire.inference.product_logits import LogitsTable, ProductLogits
from attire.pixels.preprocess import Preprocess
from attire.progress import track
from attire.titles import TitleReader

BATCH = 32  # photos
AHEAD = 3  # batches that are decoded, or being decoded, while the engine computes

Inputs = Literal["photo", "title", "both"]  # what a product is answered from


def stream(
    engine: Engine,
    preprocess: Preprocess,
    products: Iterable[ProductPhotos],
    batch_size: int = BATCH,
    reader: TitleReader | None = None,
    chunk: int | None = None,
) -> Iterator[ProductLogits]:
    """Logits of each product, in order; with a `reader`, from its title too. Memory does not grow with their number.

    Photos of several products share a batch, and those of one may lie in two: engines are fast on full batches only.
    But a batch ends, full or not, after every `chunk` products: an engine may round otherwise in other company, and a
    chunk is to come out the same whatever was computed before it.
    """
    opened: deque[_Opened] = deque()
    batch: list[tuple[_Opened, Pixels]] = []
    begun = 0
    for item in decoded(preprocess, products, AHEAD * batch_size):
        if isinstance(item, ProductPhotos):
            if batch and chunk and begun % chunk == 0:
                _compute(engine, batch, reader)
                batch = []
            begun += 1
            opened.append(_Opened(item, len(item.photos)))
        elif isinstance(item, str):
            opened[-1].faults.append(item)
            opened[-1].missing -= 1
        else:
            batch.append((opened[-1], item))
            if len(batch) == batch_size:
                _compute(engine, batch, reader)
                batch = []
        while opened and not opened[0].missing:
            yield opened.popleft().mean()
    if batch:
        _compute(engine, batch, reader)
    yield from (product.mean() for product in opened)


def catalog_logits(
    bundle: ModelBundle,
    catalog: Catalog,
    ids: Sequence[str],
    engine: Engine,
    batch_size: int = BATCH,
    inputs: Inputs = "photo",
) -> LogitsTable:
    """Logits of the catalog's products `ids` from those `inputs`, with a progress bar.

    Raises `ConfigError` where the bundle does not read titles and they are asked for.
    """
    reader = title_reader(bundle, inputs)
    rows = catalog.rows_of(ids)
    said = zip(ids, catalog.photo_paths(rows), catalog.products["title"].gather(rows), strict=True)
    products = [ProductPhotos(id, photos, title=title) for id, photos, title in said]
    if inputs == "title":
        assert reader is not None
        answers = _title_stream(engine, reader, products, batch_size)
    else:
        answers = stream(engine, bundle.preprocess, products, batch_size, reader)
    return LogitsTable.take(track(answers, "predicting", "products", len(products)), len(products), bundle.taxonomy)


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
        batch = products[start : start + batch_size]
        text = reader([product.title for product in batch])
        for product, ids, category, attributes in zip(
            batch, text, *_titled(engine).titled_logits(None, text), strict=True
        ):
            if ids.any():
                yield ProductLogits(product.id, category, attributes, ())
            else:
                yield ProductLogits(product.id, None, None, ("no title",))


@dataclass(slots=True)
class _Opened:
    """A product some of whose photos are still `missing`: neither computed nor known to be unreadable."""

    product: ProductPhotos
    missing: int
    logits: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def mean(self) -> ProductLogits:
        product, faults = self.product, (*self.product.faults, *self.faults)
        if not self.logits:
            return ProductLogits(product.id, None, None, faults, product.category, bool(product.title))
        category, attributes = (np.mean(logits, axis=0) for logits in zip(*self.logits, strict=True))
        return ProductLogits(product.id, category, attributes, faults, product.category, bool(product.title))


def _compute(engine: Engine, batch: Sequence[tuple[_Opened, Pixels]], reader: TitleReader | None) -> None:
    """Give each product the logits of its photos in the batch."""
    photos = np.stack([pixels for _, pixels in batch])
    if reader is None:
        found = engine.logits(photos)
    else:
        found = _titled(engine).titled_logits(photos, reader([opened.product.title for opened, _ in batch]))
    for (opened, _), category, attributes in zip(batch, *found, strict=True):
        opened.logits.append((category, attributes))
        opened.missing -= 1
