"""What the page's script asks for: the next products, decisions to keep, the last one undone. JSON both ways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from attire.review.context import ReviewContext, TheDesk, TheReviewer
from attire.review.data import CATEGORY, ordered
from attire.review.queues import Filters, Text, after, waiting
from attire.review.store.claims import renew
from attire.review.store.events import Action, Held, Result, Verdict

AHEAD = 5  # products that a client may ask for at once
AT_ONCE = 500  # verdicts of one request
actions = APIRouter(prefix="/api")
ClientName = Annotated[str, Field(pattern=r"^[\w.-]{8,64}$")]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _FromPage(_Message):
    """What a page sends that may have products leased; `page` is the name that the server gave it."""

    page: ClientName


class Next(_FromPage):
    """Products behind `last` in the queue, at most `count`."""

    filters: Filters
    last: Text = ""
    count: int = Field(default=1, ge=1, le=AHEAD)


class One(_FromPage):
    """The product `id`, which the page is about to show."""

    id: Text
    filters: Filters = Filters()


class Hold(_FromPage):
    """Products that the page shows still, or again."""

    products: list[Text] = Field(max_length=AT_ONCE)


class Release(_FromPage):
    """The page goes."""


class Card(_Message):
    """A product as HTML."""

    id: str
    html: str
    left: int


class Cards(_Message):
    """`left` fields of the queue are not decided yet; `elsewhere` products of it are with others at the moment."""

    cards: list[Card]
    left: int
    elsewhere: int


class Said(_Message):
    """A verdict on one field, by who saw `version` events of it."""

    product: Text
    key: Text
    action: Action
    values: tuple[Text, ...] = Field(default=(), max_length=AT_ONCE)
    version: int = Field(ge=0)


class Decide(_FromPage):
    """Verdicts that belong together. `batch` is the client's own name for them, so that it can send them twice.

    card: the product to draw again.
    """

    batch: ClientName
    verdicts: list[Said] = Field(min_length=1, max_length=AT_ONCE)
    filters: Filters = Filters()
    card: Text | None = None


class Undo(_FromPage):
    filters: Filters = Filters()


class Fate(_Message):
    """What holds of a field, and who said so when."""

    product: str
    key: str
    version: int
    state: str
    values: tuple[str, ...]
    reviewer: str
    at: str


class Fates(_Message):
    """What was saved, and what others had decided before, which holds instead."""

    saved: list[Fate]
    conflicts: list[Fate]
    card: Card | None = None
    left: int


@actions.post("/next")
def next_products(context: TheDesk, reviewer: TheReviewer, asked: Next) -> Cards:
    """Products that wait, leased to the page for some minutes."""
    left = waiting(context.queues, context.store, asked.filters)
    products = left["product"].unique(maintain_order=True).to_list()
    behind = after(context.queues, asked.filters, products, asked.last)
    claimed = context.lease(reviewer, asked.page, behind, asked.count)
    elsewhere = len(behind) if len(claimed) < asked.count else 0
    return Cards(
        cards=[_card(context, id, asked.filters, reviewer) for id in claimed],
        left=len(left),
        elsewhere=max(0, elsewhere - len(claimed)),
    )


@actions.post("/card")
def card(context: TheDesk, reviewer: TheReviewer, asked: One) -> Card:
    """One product, whoever has it; leased to the page where nobody has."""
    context.data.catalog.rows_of([asked.id])
    context.lease(reviewer, asked.page, [asked.id], 1)
    return _card(context, asked.id, asked.filters, reviewer)


@actions.post("/hold", status_code=204)
def hold(context: TheDesk, reviewer: TheReviewer, asked: Hold) -> None:
    """Lease again what the page shows: it was out of sight, perhaps for long."""
    context.data.catalog.rows_of(asked.products)
    context.lease(reviewer, asked.page, asked.products, len(asked.products))


@actions.post("/release", status_code=204)
def give_back(context: TheDesk, asked: Release) -> None:
    """Give back what the page had leased."""
    context.give_back(asked.page)


@actions.post("/decide")
def decide(context: TheDesk, reviewer: TheReviewer, asked: Decide) -> Fates:
    """Keep verdicts; those on fields that changed since they were seen are refused, and told."""
    _check_answer(context, asked.filters, asked.card)
    verdicts = [_verdict(context, said) for said in asked.verdicts]
    verdicts += [more for verdict in verdicts if verdict.key == CATEGORY for more in _ruled_out(context, verdict)]
    result = context.store.decide(reviewer, verdicts, asked.batch, context.data.digest)
    renew(context.store, asked.page)
    return _fates(context, reviewer, asked.filters, result, asked.card)


@actions.post("/undo")
def undo(context: TheDesk, reviewer: TheReviewer, asked: Undo) -> Fates:
    """Undo the reviewer's last stroke; the product that it was on comes with the answer."""
    _check_answer(context, asked.filters)
    result = context.store.undo(reviewer, context.data.digest)
    products = {held.product for held in result.saved}
    context.lease(reviewer, asked.page, list(products), len(products))
    return _fates(context, reviewer, asked.filters, result, products.pop() if len(products) == 1 else None)


def _check_answer(context: ReviewContext, filters: Filters, card: str | None = None) -> None:
    """Raise `CatalogError` or `TaxonomyError` for what an answer could not show, before anything is saved."""
    context.queues.of(filters)
    context.data.catalog.rows_of([] if card is None else [card])


def _verdict(context: ReviewContext, said: Said) -> Verdict:
    """`said`, checked; raises `CatalogError`, `TaxonomyError`, or an HTTP error for what makes no sense."""
    context.data.catalog.rows_of([said.product])
    values = ordered(context.data.catalog, said.key, said.values)
    needs_values = said.action in ("accept", "set")
    if needs_values != bool(said.values):
        raise HTTPException(422, f"'{said.action}' goes {'with' if needs_values else 'without'} values.")
    if said.key == CATEGORY and said.action == "not applicable":
        raise HTTPException(422, "A category always applies: clear it, or set another.")
    return Verdict(said.product, said.key, said.action, values, said.version)


def _ruled_out(context: ReviewContext, verdict: Verdict) -> Iterable[Verdict]:
    """Verdicts that a category brings with it: keys that it rules out do not apply, whatever was said of them."""
    if not verdict.values:
        return
    held = context.store.held([verdict.product])
    product, taxonomy = context.data.catalog[verdict.product], context.data.catalog.taxonomy
    for key in {*context.data.said(verdict.product), *product.labels} - {CATEGORY}:
        said = held.get((verdict.product, key))
        if verdict.values[0] not in taxonomy.keys[key].categories and not (said and said.decided):
            yield Verdict(verdict.product, key, "not applicable", (), said.version if said else 0)


def _card(context: ReviewContext, id: str, filters: Filters, reviewer: str) -> Card:
    view = context.product(id, filters, reviewer)
    return Card(id=id, html=context.draw("card.html", view=view), left=view.left)


def _fates(context: ReviewContext, reviewer: str, filters: Filters, result: Result, id: str | None) -> Fates:
    return Fates(
        saved=[_fate(held) for held in result.saved],
        conflicts=[_fate(held) for held in result.conflicts],
        card=None if id is None else _card(context, id, filters, reviewer),
        left=len(waiting(context.queues, context.store, filters)),
    )


def _fate(held: Held) -> Fate:
    return Fate(
        product=held.product,
        key=held.key,
        version=held.version,
        state=held.state,
        values=held.values,
        reviewer=held.reviewer,
        at=held.at.isoformat(timespec="seconds"),
    )
