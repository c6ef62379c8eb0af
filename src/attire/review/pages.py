"""The HTML pages (queues, product, grid, precision, name) and their photos."""

from __future__ import annotations

import secrets
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from attire.review.audit import audit
from attire.review.context import REVIEWER, Context, Reviewer, clean_name
from attire.review.photos import Encoded
from attire.review.queues import Filters, after, waiting
from attire.review.security import inside
from attire.review.store.claims import viewers
from attire.taxonomy import CATEGORY

GRID = 48  # products per page
YEAR_S = 365 * 24 * 3600
pages = APIRouter(default_response_class=HTMLResponse)
FilterQuery = Annotated[Filters, Query()]


class GridQuery(Filters):
    """Filters of a grid that starts after the product `last`."""

    last: str = ""


@pages.get("/")
def home(context: Context, reviewer: Reviewer) -> str:
    """Show the queues with their undecided fields, the active reviewers, and the measured precision."""
    decided = context.store.decided()
    counts = {}
    for name in context.queues.offered:
        items = context.queues.of(Filters(queue=name))
        left = items.join(decided, on=["product", "key"], how="anti")
        counts[name] = {"fields": len(items), "left": len(left), "products": left["product"].n_unique()}
    others = sorted(set(viewers(context.store).values()) - {reviewer})
    return context.draw(
        "home.html",
        reviewer=reviewer,
        filters=Filters(),
        counts=counts,
        decided=len(decided),
        others=others,
        products=len(context.data.products),
        wanted=context.data.precision,
        audit=audit(context.queues, context.store),
        learning=None if context.learner is None else context.learner.view(context.store),
    )


@pages.get("/review")
def review(context: Context, reviewer: Reviewer, filters: FilterQuery) -> str:
    """Show one product at a time; the page's script requests the products."""
    left = waiting(context.queues, context.store, filters)
    return context.draw(
        "review.html",
        reviewer=reviewer,
        filters=filters,
        query=_query(filters),
        left=len(left),
        page=secrets.token_urlsafe(),
    )


@pages.get("/grid")
def grid(context: Context, reviewer: Reviewer, grid_query: Annotated[GridQuery, Query()]) -> str:
    """Show one key of many products, equal proposals together. Default: the key with the most undecided fields."""
    filters = Filters(**grid_query.model_dump(exclude={"last"}))
    left = waiting(context.queues, context.store, filters)
    by_key = left.group_by("key").len("count").sort("count", "key", descending=[True, False])
    key = filters.key or (by_key["key"][0] if len(by_key) else CATEGORY)
    key_filters = filters.model_copy(update={"key": key})
    candidates = left.filter(left["key"] == key)["product"].to_list()
    page = secrets.token_urlsafe()
    shown = context.lease(reviewer, page, after(context.queues, key_filters, candidates, grid_query.last), GRID)
    cells = sorted(context.cells(shown, key), key=lambda cell: (cell.proposal, -(cell.confidence or 0)))
    return context.draw(
        "grid.html",
        reviewer=reviewer,
        filters=key_filters,
        query=_query(key_filters),
        left=len(candidates),
        key=key,
        keys=by_key.rows(),
        cells=cells,
        last=shown[-1] if shown else "",
        catalog=context.data.catalog,
        page=page,
    )


@pages.get("/audit")
def figures(context: Context, reviewer: Reviewer) -> str:
    """Show the precision of filled values, measured on the random sample."""
    return context.draw(
        "audit.html",
        reviewer=reviewer,
        filters=Filters(queue="audit"),
        audit=audit(context.queues, context.store),
        wanted=context.data.precision,
    )


@pages.get("/name")
def ask_name(context: Context, back: str = "/") -> str:
    """Show the form for the reviewer's name."""
    return context.draw("name.html", reviewer="", filters=Filters(), back=inside(back))


@pages.post("/name")
def take_name(name: Annotated[str, Form()], back: Annotated[str, Form()] = "/") -> Response:
    """Save the reviewer's name in a cookie."""
    if not clean_name(name):
        return RedirectResponse(f"/name?back={quote(inside(back))}", 303)
    response = RedirectResponse(inside(back), 303)
    response.set_cookie(REVIEWER, quote(clean_name(name)), max_age=YEAR_S, httponly=True, samesite="strict")
    return response


@pages.get("/photo")
def photo(context: Context, product: str, index: int, small: bool = False) -> Response:
    """Return a photo of a product; `small`: at most 240 px."""
    return _image(context.photos.thumb(product, index) if small else context.photos.photo(product, index))


@pages.get("/heat")
def heat(context: Context, product: str, index: int, key: str, value: str) -> Response:
    """Return the photo with a heat map of the evidence for a value."""
    return _image(context.photos.heat(product, index, key, value))


@pages.get("/seen")
def seen(context: Context, product: str, key: str) -> str:
    """Return the labelled photos that are most similar to the product's first one, with their values of a key."""
    neighbours, opinion = context.seen.like(product, key, context.store.held)
    return context.draw("seen.html", key=key, neighbours=neighbours, opinion=opinion)


@pages.get("/words.json")
def words(context: Context) -> Response:
    """Return all values with titles and aliases, for the search."""
    return Response(context.words(), media_type="application/json")


def _query(filters: Filters) -> str:
    return urlencode(filters.model_dump(exclude_defaults=True))


def _image(encoded: Encoded) -> Response:
    content, media = encoded
    return Response(content, media_type=media, headers={"Cache-Control": "private, max-age=3600"})
