"""Which fields are to be looked at, and in which order: four queues, and filters that narrow each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from attire.review.data import CATEGORY, ReviewData, ordered, values_of
from attire.review.store.events import Store
from attire.taxonomy import SEPARATOR

Name = Literal["abstained", "suspect", "audit", "all"]
Text = Annotated[str, Field(max_length=10_000)]  # the bound also refuses what UTF-8 cannot carry


class Queue(BaseModel):
    """What a queue is for, and what is in it: `pick` of all fields, the most urgent product first by `urgency`."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    title: str
    purpose: str
    pick: Callable[[pl.DataFrame, int], pl.Expr]
    urgency: pl.Expr


class Filters(BaseModel):
    """What a reviewer wants to see. Empty fields do not narrow; confidence is that of the answer, or of the guess."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: Name = "abstained"
    category: Text = ""
    key: Text = ""
    value: Text = ""
    low: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    high: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    text: Text = ""


_ABSTAINED = pl.col("answer").is_null() & pl.col("stated").is_null()
QUEUES: dict[Name, Queue] = {
    "abstained": Queue(
        title="Left open",
        purpose="The model was not sure enough and the feed says nothing. Products with most such fields first.",
        pick=lambda fields, audit: _ABSTAINED,  # noqa: ARG005
        urgency=-pl.len().over("product").cast(pl.Float64),
    ),
    "suspect": Queue(
        title="Suspected wrong labels",
        purpose="The model is sure of a value that the feed does not state. The surest first.",
        pick=lambda fields, audit: pl.col("suspect"),  # noqa: ARG005
        urgency=-pl.col("confidence").max().over("product"),
    ),
    "audit": Queue(
        title="Random sample",
        purpose="Filled values drawn at random: judging them measures how often the model is right.",
        pick=lambda fields, audit: pl.col("ticket") <= _last_ticket(fields, audit),
        urgency=pl.col("ticket").min().over("product").cast(pl.Float64),
    ),
    "all": Queue(
        title="Everything",
        purpose="Every field that the model answered or left open, in the catalog's order.",
        pick=lambda fields, audit: pl.lit(True),  # noqa: ARG005
        urgency=pl.lit(0.0),
    ),
}


class Queues:
    """The queues of one file of predictions. `audit` is the size of the random sample, `seed` what draws it.

    Every filled field has a ticket, a hash of seed, product and key; the sample is those with the lowest. So a larger
    sample contains the smaller one, and after new predictions the fields that are filled again keep their place in it:
    what was judged once goes on to count.
    """

    def __init__(self, data: ReviewData, *, audit: int = 300, seed: int = 0) -> None:
        self.data, self.audit = data, audit
        answered = data.fields["answer"].is_not_null()
        tickets = [
            _ticket(seed, product, key) if filled else None
            for product, key, filled in zip(data.fields["product"], data.fields["key"], answered, strict=True)
        ]
        titles = data.catalog.products.select(product="id", title="title")
        self.fields = data.fields.with_columns(ticket=pl.Series(tickets, dtype=pl.UInt64)).join(
            titles, on="product", how="left", maintain_order="left"
        )
        self.of = lru_cache(maxsize=64)(self._of)

    def _of(self, filters: Filters) -> pl.DataFrame:
        """product, key of every field that passes, in order of review, decided or not.

        Raises `TaxonomyError` for a category or key that is not there.
        """
        queue = QUEUES[filters.queue]
        wanted = [queue.pick(self.fields, self.audit), pl.col("confidence").is_between(filters.low, filters.high)]
        if filters.category:
            ordered(self.data.catalog, CATEGORY, (filters.category,))
            wanted.append(pl.col("category") == filters.category)
        if filters.key:
            values_of(self.data.catalog, filters.key)
            wanted.append(pl.col("key") == filters.key)
        if filters.value:
            wanted.append(
                pl.any_horizontal(
                    pl.col(column).str.split(SEPARATOR).list.contains(filters.value).fill_null(False)
                    for column in ("answer", "stated")
                )
                | (pl.col("answer").is_null() & (_likeliest() == filters.value)).fill_null(False)
            )
        if filters.text:
            spelt = (pl.col(column).str.to_lowercase() for column in ("product", "title"))
            wanted.append(pl.any_horizontal(words.str.contains(filters.text.lower(), literal=True) for words in spelt))
        chosen = self.fields.with_row_index("place").filter(*wanted)
        return chosen.with_columns(urgency=queue.urgency).sort("urgency", "place").select("product", "key")

    def sample(self) -> pl.DataFrame:
        """The fields of the random sample, whatever a reviewer filters by."""
        return self.fields.filter(QUEUES["audit"].pick(self.fields, self.audit)).sort("ticket")

    @cached_property
    def sampled(self) -> frozenset[tuple[str, str]]:
        """(product, key) of the sample."""
        return frozenset(self.sample().select("product", "key").iter_rows())


def _likeliest() -> pl.Expr:
    return pl.col("alternatives").list.first().struct.field("value")


def _ticket(seed: int, product: str, key: str) -> int:
    content = f"{seed}\0{product}\0{key}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def _last_ticket(fields: pl.DataFrame, audit: int) -> int:
    tickets = fields["ticket"].drop_nulls().sort()
    return int(tickets[min(audit, len(tickets)) - 1]) if audit and len(tickets) else -1


def waiting(queues: Queues, store: Store, filters: Filters) -> pl.DataFrame:
    """product, key of the fields of the queue that nobody has decided yet, in order of review."""
    return queues.of(filters).join(store.decided(), on=["product", "key"], how="anti", maintain_order="left")


def after(queues: Queues, filters: Filters, products: list[str], last: str) -> list[str]:
    """Those of `products` that come behind `last` in the queue, decided or not; all where it is not in the queue."""
    order = {product: place for place, product in enumerate(queues.of(filters)["product"].unique(maintain_order=True))}
    return [product for product in products if order[product] > order.get(last, -1)]
