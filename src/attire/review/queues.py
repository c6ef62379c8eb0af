"""The queues of fields to review, their order, and filters for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from attire.catalog.suggestions import suggestions_of
from attire.catalog.suspects import suspects_of
from attire.review.data import ReviewData, ordered, values_of
from attire.review.store.events import Store
from attire.taxonomy import CATEGORY, SEPARATOR

Name = Literal["abstained", "useful", "suspect", "audit", "all"]
Text = Annotated[str, Field(max_length=10_000)]  # the limit also makes pydantic refuse lone surrogates


class Queue(BaseModel):
    """A queue: `pick` selects its fields, given the size of the sample; `urgency` sorts products, lowest first."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    title: str
    purpose: str
    pick: Callable[[pl.DataFrame, int], pl.Expr]
    urgency: pl.Expr


class Filters(BaseModel):
    """Filters of a queue; empty ones do not apply. Confidence is that of the answer or of the best alternative."""

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
        purpose="The model was not sure enough and the feed has no label. Products with the most such fields first.",
        pick=lambda fields, audit: _ABSTAINED,  # noqa: ARG005
        urgency=-pl.len().over("product").cast(pl.Float64),
    ),
    "useful": Queue(
        title="Most useful",
        purpose="Fields without a label whose answers teach the next model most, by attire suggest. The best first.",
        pick=lambda fields, audit: pl.col("rank").is_not_null() & pl.col("stated").is_null(),  # noqa: ARG005
        urgency=pl.col("rank").min().over("product").cast(pl.Float64),
    ),
    "suspect": Queue(
        title="Suspected wrong labels",
        purpose="Labels that are probably wrong: found by attire audit or, without one, contradicted by a sure answer. "
        "Most suspicious first.",
        pick=lambda fields, audit: pl.col("suspicion").is_not_null(),  # noqa: ARG005
        urgency=-pl.col("suspicion").max().over("product"),
    ),
    "audit": Queue(
        title="Random sample",
        purpose="Randomly chosen filled values. Judging them measures how often the model is right.",
        pick=lambda fields, audit: pl.col("ticket") <= _last_ticket(fields, audit),
        urgency=pl.col("ticket").min().over("product").cast(pl.Float64),
    ),
    "all": Queue(
        title="Everything",
        purpose="Every field that the model filled or left open, in the catalog's order, and suspected labels.",
        pick=lambda fields, audit: pl.lit(True),  # noqa: ARG005
        urgency=pl.lit(0.0),
    ),
}


class Queues:
    """The queues of one predictions file. `audit` is the size of the random sample, `seed` its random seed.

    offered: the names of those to show; "useful" is one if suggestions are kept in the catalog.

    Every filled field has a ticket, a hash of seed, product and key, and the sample is the fields with the lowest
    tickets. So a larger sample contains a smaller one, and fields that are filled again by a new model keep their place
    in it: judged fields keep counting.
    """

    def __init__(self, data: ReviewData, *, audit: int = 300, seed: int = 0) -> None:
        self.data, self.audit = data, audit
        fields = _with_suspicion(data)
        tickets = [
            None if answer is None else _ticket(seed, product, key)
            for product, key, answer in fields.select("product", "key", "answer").iter_rows()
        ]
        titles = data.catalog.products.select(product="id", title="title")
        self.fields = fields.with_columns(ticket=pl.Series(tickets, dtype=pl.UInt64)).join(
            titles, on="product", how="left", maintain_order="left"
        )
        suggestions = suggestions_of(data.catalog)
        self.offered = [name for name in QUEUES if name != "useful" or suggestions is not None]
        self.fields = _ranked(self.fields, suggestions)
        self.of = lru_cache(maxsize=64)(self._of)

    def _of(self, filters: Filters) -> pl.DataFrame:
        """Return product and key of every field that passes the filters, decided or not, in order of review.

        Raises `TaxonomyError` for an unknown category or key.
        """
        queue = QUEUES[filters.queue]
        conditions = [queue.pick(self.fields, self.audit), pl.col("confidence").is_between(filters.low, filters.high)]
        if filters.category:
            ordered(self.data.catalog, CATEGORY, (filters.category,))
            conditions.append(pl.col("category") == filters.category)
        if filters.key:
            values_of(self.data.catalog, filters.key)
            conditions.append(pl.col("key") == filters.key)
        if filters.value:
            conditions.append(
                pl.any_horizontal(
                    pl.col(column).str.split(SEPARATOR).list.contains(filters.value).fill_null(False)
                    for column in ("answer", "stated")
                )
                | (pl.col("answer").is_null() & (_best_alternative() == filters.value)).fill_null(False)
            )
        if filters.text:
            texts = (pl.col(column).str.to_lowercase() for column in ("product", "title"))
            query = filters.text.lower()
            conditions.append(pl.any_horizontal(text.str.contains(query, literal=True) for text in texts))
        fields = self.fields.with_row_index("place").filter(*conditions)
        return fields.with_columns(urgency=queue.urgency).sort("urgency", "place").select("product", "key")

    def sample(self) -> pl.DataFrame:
        """Return the fields of the random sample; filters do not apply."""
        return self.fields.filter(QUEUES["audit"].pick(self.fields, self.audit)).sort("ticket")

    @cached_property
    def suspected(self) -> frozenset[tuple[str, str]]:
        """The fields (product, key) of the queue of suspected labels, without filters."""
        return frozenset(self.of(Filters(queue="suspect")).iter_rows())

    @cached_property
    def sampled(self) -> frozenset[tuple[str, str]]:
        """The fields (product, key) of the random sample."""
        return frozenset(self.sample().select("product", "key").iter_rows())


def _ranked(fields: pl.DataFrame, suggestions: pl.DataFrame | None) -> pl.DataFrame:
    """The fields with a column `rank`: that of the suggestion to label it, null if there is none."""
    if suggestions is None:
        return fields.with_columns(rank=pl.lit(None, pl.Int64))
    ranks = suggestions.select("product", "key", "rank")
    return fields.join(ranks, on=["product", "key"], how="left", maintain_order="left")


def _with_suspicion(data: ReviewData) -> pl.DataFrame:
    """The fields with a column `suspicion`: the score that the last audit gave to a label, null if it suspects none.

    Labels of keys that do not apply, so that the model has no answer, are fields only if they are suspected. If the
    catalog was not audited, the suspicion is the confidence of answers that contradict a label.
    """
    suspects = suspects_of(data.catalog)
    if suspects is None:
        return data.fields.with_columns(suspicion=pl.when("suspect").then("confidence"))
    suspects = suspects.select("product", "key", "stated", suspicion="score")
    scored = data.fields.join(suspects.drop("stated"), on=["product", "key"], how="left", maintain_order="left")
    categories = data.fields.select("product", "category").unique("product")
    unanswered = (
        suspects.join(data.fields, on=["product", "key"], how="anti", maintain_order="left")
        .join(categories, on="product", maintain_order="left")
        .with_columns(confidence=pl.lit(0.0), suspect=pl.lit(False))
    )
    places = pl.DataFrame({"product": data.products}).with_row_index("place")
    fields = pl.concat([scored, unanswered], how="diagonal_relaxed").join(places, on="product", maintain_order="left")
    return fields.sort("place", maintain_order=True).drop("place")


def _best_alternative() -> pl.Expr:
    return pl.col("alternatives").list.first().struct.field("value")


def _ticket(seed: int, product: str, key: str) -> int:
    content = f"{seed}\0{product}\0{key}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def _last_ticket(fields: pl.DataFrame, audit: int) -> int:
    tickets = fields["ticket"].drop_nulls().sort()
    return int(tickets[min(audit, len(tickets)) - 1]) if audit and len(tickets) else -1


def waiting(queues: Queues, store: Store, filters: Filters) -> pl.DataFrame:
    """Return product and key of the undecided fields of the queue, in order of review."""
    return queues.of(filters).join(store.decided(), on=["product", "key"], how="anti", maintain_order="left")


def after(queues: Queues, filters: Filters, products: list[str], last: str) -> list[str]:
    """Return those of `products` that come after `last` in the queue, or all of them if `last` is not in the queue."""
    order = {product: place for place, product in enumerate(queues.of(filters)["product"].unique(maintain_order=True))}
    return [product for product in products if order[product] > order.get(last, -1)]
