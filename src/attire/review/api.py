"""The JSON API of the page's script: get products, save decisions, undo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from attire.review.context import Context, ReviewContext, Reviewer
from attire.review.data import ordered
from attire.review.queues import Filters, Text, after, waiting
from attire.review.store.claims import renew
from attire.review.store.events import Action, Decision, Result, Verdict
from attire.taxonomy import CATEGORY

AHEAD = 5  # products per request
AT_ONCE = 500  # verdicts per request
actions = APIRouter(prefix="/api")
ClientName = Annotated[str, Field(pattern=r"^[\w.-]{8,64}$")]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _PageRequest(_Message):
    """A request of a page that may hold leases; `page` is the id that the server gave it."""

    page: ClientName


class NextRequest(_PageRequest):
    """Asks for at most `count` products after `last` in the queue."""

    filters: Filters
    last: Text = ""
    count: int = Field(default=1, ge=1, le=AHEAD)


class CardRequest(_PageRequest):
    """Asks for the product `id`, which the page is about to show."""

    id: Text
    filters: Filters = Filters()


class HoldRequest(_PageRequest):
    """Renews the leases of products that the page shows."""

    products: list[Text] = Field(max_length=AT_ONCE)


class ReleaseRequest(_PageRequest):
    """Ends the leases of a page that is being closed."""


class Card(_Message):
    """A product as HTML."""

    id: str
    html: str
    left: int


class Cards(_Message):
    """Products of a queue. `left`: undecided fields of the queue; `elsewhere`: its products leased to others."""

    cards: list[Card]
    left: int
    elsewhere: int


class FieldVerdict(_Message):
    """A verdict on one field; `version` is the version of the field that the reviewer saw."""

    product: Text
    key: Text
    action: Action
    values: tuple[Text, ...] = Field(default=(), max_length=AT_ONCE)
    version: int = Field(ge=0)


class DecideRequest(_PageRequest):
    """Saves verdicts that belong together.

    batch: an id made by the client, so that it can safely send the verdicts again.
    card: the product to return as HTML.
    """

    batch: ClientName
    verdicts: list[FieldVerdict] = Field(min_length=1, max_length=AT_ONCE)
    filters: Filters = Filters()
    card: Text | None = None


class UndoRequest(_PageRequest):
    """Undoes the reviewer's last action. batch: as in `DecideRequest`, so that it is undone once."""

    batch: ClientName
    filters: Filters = Filters()


class FieldDecision(_Message):
    """The current decision on a field, with its reviewer and time."""

    product: str
    key: str
    version: int
    state: str
    values: tuple[str, ...]
    reviewer: str
    at: str


class Decisions(_Message):
    """`saved` decisions, and `conflicts`: decisions of others that were made first and stay in force."""

    saved: list[FieldDecision]
    conflicts: list[FieldDecision]
    card: Card | None = None
    left: int


@actions.post("/next")
def next_products(context: Context, reviewer: Reviewer, body: NextRequest) -> Cards:
    """Return the next undecided products and lease them to the page."""
    left = waiting(context.queues, context.store, body.filters)
    products = left["product"].unique(maintain_order=True).to_list()
    candidates = after(context.queues, body.filters, products, body.last)
    claimed = context.lease(reviewer, body.page, candidates, body.count)
    elsewhere = len(candidates) if len(claimed) < body.count else 0
    return Cards(
        cards=[_card(context, id, body.filters, reviewer) for id in claimed],
        left=len(left),
        elsewhere=max(0, elsewhere - len(claimed)),
    )


@actions.post("/card")
def card(context: Context, reviewer: Reviewer, body: CardRequest) -> Card:
    """Return one product, and lease it to the page unless another reviewer has it."""
    context.data.catalog.rows_of([body.id])
    context.lease(reviewer, body.page, [body.id], 1)
    return _card(context, body.id, body.filters, reviewer)


@actions.post("/hold", status_code=204)
def hold(context: Context, reviewer: Reviewer, body: HoldRequest) -> None:
    """Renew the leases of a page that was in the background, perhaps for longer than a lease lasts."""
    context.data.catalog.rows_of(body.products)
    context.lease(reviewer, body.page, body.products, len(body.products))


@actions.post("/release", status_code=204)
def give_back(context: Context, body: ReleaseRequest) -> None:
    """End the leases of the page."""
    context.give_back(body.page)


@actions.post("/decide")
def decide(context: Context, reviewer: Reviewer, body: DecideRequest) -> Decisions:
    """Save verdicts. Those on fields that changed since the reviewer saw them are returned as conflicts."""
    _check_answer(context, body.filters, body.card)
    verdicts = [_check_verdict(context, verdict) for verdict in body.verdicts]
    verdicts += [more for verdict in verdicts if verdict.key == CATEGORY for more in _rule_out_keys(context, verdict)]
    result = context.store.decide(reviewer, verdicts, body.batch, context.data.digest)
    renew(context.store, body.page)
    return _decisions(context, reviewer, body.filters, result, body.card)


@actions.post("/undo")
def undo(context: Context, reviewer: Reviewer, body: UndoRequest) -> Decisions:
    """Undo the reviewer's last action; the answer includes the product, if there is only one."""
    _check_answer(context, body.filters)
    result = context.store.undo(reviewer, body.batch, context.data.digest)
    products = {decision.product for decision in result.saved}
    context.lease(reviewer, body.page, list(products), len(products))
    return _decisions(context, reviewer, body.filters, result, products.pop() if len(products) == 1 else None)


def _check_answer(context: ReviewContext, filters: Filters, card: str | None = None) -> None:
    """Raise `CatalogError` or `TaxonomyError` for bad filters or an unknown card, before anything is saved."""
    context.queues.of(filters)
    context.data.catalog.rows_of([] if card is None else [card])


def _check_verdict(context: ReviewContext, verdict: FieldVerdict) -> Verdict:
    """Return the verdict for the store; raises `CatalogError`, `TaxonomyError` or `HTTPException` if it is invalid."""
    context.data.catalog.rows_of([verdict.product])
    values = ordered(context.data.catalog, verdict.key, verdict.values)
    needs_values = verdict.action in ("accept", "set")
    if needs_values != bool(verdict.values):
        raise HTTPException(422, f"'{verdict.action}' must be sent {'with' if needs_values else 'without'} values.")
    if verdict.key == CATEGORY and verdict.action == "not applicable":
        raise HTTPException(422, "A category always applies. Clear it or set another one.")
    return Verdict(verdict.product, verdict.key, verdict.action, values, verdict.version)


def _rule_out_keys(context: ReviewContext, verdict: Verdict) -> Iterable[Verdict]:
    """Yield "not applicable" verdicts for undecided keys that do not apply to the category of `verdict`."""
    if not verdict.values:
        return
    decisions = context.store.held([verdict.product])
    product, taxonomy = context.data.catalog[verdict.product], context.data.catalog.taxonomy
    for key in {*context.data.answers(verdict.product), *product.labels} - {CATEGORY}:
        decision = decisions.get((verdict.product, key))
        if verdict.values[0] not in taxonomy.keys[key].categories and not (decision and decision.decided):
            yield Verdict(verdict.product, key, "not applicable", (), decision.version if decision else 0)


def _card(context: ReviewContext, id: str, filters: Filters, reviewer: str) -> Card:
    view = context.product(id, filters, reviewer)
    return Card(id=id, html=context.draw("card.html", view=view), left=view.left)


def _decisions(context: ReviewContext, reviewer: str, filters: Filters, result: Result, id: str | None) -> Decisions:
    return Decisions(
        saved=[_field_decision(decision) for decision in result.saved],
        conflicts=[_field_decision(decision) for decision in result.conflicts],
        card=None if id is None else _card(context, id, filters, reviewer),
        left=len(waiting(context.queues, context.store, filters)),
    )


def _field_decision(decision: Decision) -> FieldDecision:
    return FieldDecision(
        product=decision.product,
        key=decision.key,
        version=decision.version,
        state=decision.state,
        values=decision.values,
        reviewer=decision.reviewer,
        at=decision.at.isoformat(timespec="seconds"),
    )
