"""Bulk prediction on this machine: one engine, and a thread that writes chunks while it computes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from attire.engines.engine import Engine
from attire.engines.runtimes import runtime_versions
from attire.inference.chunks import Chunks, Counts, RowBuilder, encode
from attire.inference.inputs import Products
from attire.inference.logits import stream
from attire.inference.product_logits import LogitsTable
from attire.progress import track


@dataclass(frozen=True, slots=True)
class SingleMachine:
    """Computes chunks on this machine with one engine."""

    engine: Engine
    batch_size: int
    by_shard: ClassVar = False  # a chunk is a number of products, not a shard

    @property
    def name(self) -> str:
        """The engine's name; a resumed run must use the same one."""
        return self.engine.name

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the engine's runtime."""
        return runtime_versions(self.name)

    def __call__(self, chunks: Chunks, done: Mapping[int, Counts], builder: RowBuilder, products: Products) -> None:
        """Compute the chunks that are not `done`; each is saved while the next one is computed."""
        bundle = builder.bundle
        todo = (product for number, product in enumerate(products) if number // chunks.size not in done)
        results = stream(self.engine, bundle.preprocess, todo, self.batch_size, bundle.title_reader, chunks.size)
        answers = track(results, "predicting", "products", products.total, done=Counts.total(done.values()).products)
        missing = (number for number in count() if number not in done)

        def save(number: int, logits: LogitsTable) -> None:
            rows, counts = builder.rows(logits), builder.counts(logits)
            chunks.add(number, encode(rows, chunks.origin(number), Counts.of(logits), counts))

        with ThreadPoolExecutor(1, "write") as writer:
            saved: Future[None] | None = None
            while chunk := LogitsTable.take(answers, chunks.size, bundle.taxonomy):
                if saved is not None:
                    saved.result()
                saved = writer.submit(save, next(missing), chunk)
            if saved is not None:
                saved.result()
