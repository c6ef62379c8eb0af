"""Logits of products: photos go through the engine in full batches and are averaged per product."""

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
from attire.inference.decoding import Pixels, ProductPhotos, decode
from attire.inference.embedded import EmbeddedEngine
from attire.inference.product_logits import LogitsTable, ProductLogits
from attire.pixels.preprocess import Preprocess
from attire.progress import track
from attire.titles import TitleReader

BATCH = 32  # photos
AHEAD = 3  # batches that are decoded in advance

Inputs = Literal["photo", "title", "both"]  # what the model reads


def stream(
    engine: Engine,
    preprocess: Preprocess,
    products: Iterable[ProductPhotos],
    batch_size: int = BATCH,
    reader: TitleReader | None = None,
    chunk: int | None = None,
) -> Iterator[ProductLogits]:
    """Yield the logits of each product, in order, in constant memory; with a `reader`, the title is read too.

    A batch holds photos of several products, and a product may span two batches, because engines are fast on full
    batches only. After every `chunk` products the batch ends even if it is not full: rounding can depend on the other
    photos in a batch, and a chunk must not depend on what was computed before it. An `EmbeddedEngine` looks photos up
    instead of decoding them.
    """
    pending: deque[_Pending] = deque()
    batch: list[tuple[_Pending, Pixels]] = []
    started = 0
    items: Iterator[ProductPhotos | Pixels | str] = (
        engine.inputs(products)
        if isinstance(engine, EmbeddedEngine)
        else decode(preprocess, products, AHEAD * batch_size)
    )
    for item in items:
        if isinstance(item, ProductPhotos):
            if batch and chunk and started % chunk == 0:
                _compute(engine, batch, reader)
                batch = []
            started += 1
            pending.append(_Pending(item, len(item.photos)))
        elif isinstance(item, str):
            pending[-1].faults.append(item)
            pending[-1].missing -= 1
        else:
            batch.append((pending[-1], item))
            if len(batch) == batch_size:
                _compute(engine, batch, reader)
                batch = []
        while pending and not pending[0].missing:
            yield pending.popleft().mean()
    if batch:
        _compute(engine, batch, reader)
    yield from (product.mean() for product in pending)


def catalog_logits(
    bundle: ModelBundle,
    catalog: Catalog,
    ids: Sequence[str],
    engine: Engine,
    batch_size: int = BATCH,
    inputs: Inputs = "photo",
) -> LogitsTable:
    """Logits of the catalog's products `ids` from `inputs`, with a progress bar.

    Raises `ConfigError` if `inputs` has titles and the bundle does not read them.
    """
    reader = title_reader(bundle, inputs)
    rows = catalog.rows_of(ids)
    columns = zip(ids, catalog.photo_paths(rows), catalog.products["title"].gather(rows), strict=True)
    products = [ProductPhotos(id, photos, title=title) for id, photos, title in columns]
    if inputs == "title":
        assert reader is not None
        answers = _title_stream(engine, reader, products, batch_size)
    else:
        answers = stream(engine, bundle.preprocess, products, batch_size, reader)
    return LogitsTable.take(track(answers, "predicting", "products", len(products)), len(products), bundle.taxonomy)


def title_reader(bundle: ModelBundle, inputs: Inputs) -> TitleReader | None:
    """The bundle's title reader, None if `inputs` has no titles; raises `ConfigError` if the bundle has none."""
    if inputs == "photo":
        return None
    if bundle.title_reader is None:
        raise ConfigError(
            f"{bundle.path} reads photos only, but got a title. Train a bundle that reads titles with --text title."
        )
    return bundle.title_reader


def _require_titles(engine: Engine) -> TitleEngine:
    if not isinstance(engine, TitleEngine):
        raise ConfigError(
            f"{type(engine).__name__} reads photos only, but this bundle reads titles too: use --engine torch."
        )
    return engine


def _title_stream(
    engine: Engine, reader: TitleReader, products: Sequence[ProductPhotos], batch_size: int
) -> Iterator[ProductLogits]:
    """Logits of each product from its title alone."""
    for start in range(0, len(products), batch_size):
        batch = products[start : start + batch_size]
        text = reader([product.title for product in batch])
        for product, ids, category, attributes in zip(
            batch, text, *_require_titles(engine).titled_logits(None, text), strict=True
        ):
            if ids.any():
                yield ProductLogits(product.id, category, attributes, ())
            else:
                yield ProductLogits(product.id, None, None, ("no title",))


@dataclass(slots=True)
class _Pending:
    """A product with `missing` photos left that are neither computed nor known to be unreadable."""

    product: ProductPhotos
    missing: int
    logits: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def mean(self) -> ProductLogits:
        product, faults = self.product, (*self.product.faults, *self.faults)
        if not self.logits:
            return ProductLogits(product.id, None, None, faults, product.category, bool(product.title))
        category, attributes = (np.mean(logits, axis=0) for logits in zip(*self.logits, strict=True))
        titled = bool(product.title)
        return ProductLogits(product.id, category, attributes, faults, product.category, titled, product.group)


def _compute(engine: Engine, batch: Sequence[tuple[_Pending, Pixels]], reader: TitleReader | None) -> None:
    """Compute the batch and add the logits of each photo to its product."""
    photos = np.stack([pixels for _, pixels in batch])
    if reader is None:
        logits = engine.logits(photos)
    else:
        logits = _require_titles(engine).titled_logits(photos, reader([product.product.title for product, _ in batch]))
    for (product, _), category, attributes in zip(batch, *logits, strict=True):
        if np.isfinite(category).all() and np.isfinite(attributes).all():
            product.logits.append((category, attributes))
        else:
            product.faults.append("the network's output for a photo is not a number")
        product.missing -= 1
