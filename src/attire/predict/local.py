"""Bulk prediction on this machine: one engine, and a thread that writes while it computes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from attire.predict.blocks import Block
from attire.predict.engines import Engine
from attire.predict.inputs import Products
from attire.predict.logits import stream
from attire.predict.parts import Answering, Counts, Parts, encoded
from attire.predict.runtimes import runtime_versions
from attire.progress import track


@dataclass(frozen=True, slots=True)
class Local:
    """Computes on this machine, with one engine."""

    engine: Engine
    batch_size: int
    by_shard: ClassVar = False  # whether an archive makes a part, or so many products

    @property
    def name(self) -> str:
        """The engine's, by which work is told from other work."""
        return self.engine.name

    @property
    def versions(self) -> dict[str, str]:
        """Of what runs the engine."""
        return runtime_versions(self.name)

    def __call__(self, parts: Parts, done: Mapping[int, Counts], answering: Answering, products: Products) -> None:
        """Make the parts that are not `done`: decide and save one after the other, while the next is being computed."""
        bundle = answering.bundle
        todo = (product for number, product in enumerate(products) if number // parts.size not in done)
        found = stream(self.engine, bundle.preprocess, todo, self.batch_size, bundle.title_reader, parts.size)
        answers = track(found, "predicting", "products", products.total, done=Counts.total(done.values()).products)
        missing = (number for number in count() if number not in done)

        def save(number: int, found: Block) -> None:
            parts.add(number, encoded(answering.table(found), parts.origin(number), Counts.of(found)))

        with ThreadPoolExecutor(1, "write") as writer:
            saved: Future[None] | None = None
            while part := Block.take(answers, parts.size, bundle.taxonomy):
                if saved is not None:
                    saved.result()
                saved = writer.submit(save, next(missing), part)
            if saved is not None:
                saved.result()
