"""What a browser opens: the queues, one product at a time, the grid, the audit; and the photos on them."""

from __future__ import annotations

import secrets
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from attire.review.audit import audit
from attire.review.context import REVIEWER, TheDesk, TheReviewer, clean_name
from attire.review.data import CATEGORY
from attire.review.photos import Encoded
from attire.review.queues import QUEUES, Filters, after, waiting
from attire.review.security import inside
from attire.review.store.claims import looking

GRID = 48  # products on a screen
YEAR_S = 365 * 24 * 3600
pages = APIRouter(default_response_class=HTMLResponse)
TheFilters = Annotated[Filters, Query()]


class Screen(Filters):
    """A grid behind the product `last`."""

    last: str = ""


@pages.get("/")
def home(context: TheDesk, reviewer: TheReviewer) -> str:
    """The queues with what waits in each, who is at work, and the measured precision."""
    decided = context.store.decided()
    counts = {}
    for name in QUEUES:
        items = context.queues.of(Filters(queue=name))
        left = items.join(decided, on=["product", "key"], how="anti")
        counts[name] = {"fields": len(items), "left": len(left), "products": left["product"].n_unique()}
    others = sorted(set(looking(context.store).values()) - {reviewer})
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
    )


@pages.get("/review")
def review(context: TheDesk, reviewer: TheReviewer, filters: TheFilters) -> str:
    """One product a screen; the page's script asks for products one after the other."""
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
def grid(context: TheDesk, reviewer: TheReviewer, screen: Annotated[Screen, Query()]) -> str:
    """One key of many products; without a filter the key that has most to do. Equal proposals stand together."""
    filters = Filters(**screen.model_dump(exclude={"last"}))
    left = waiting(context.queues, context.store, filters)
    by_key = left.group_by("key").len("count").sort("count", "key", descending=[True, False])
    key = filters.key or (by_key["key"][0] if len(by_key) else CATEGORY)
    narrowed = filters.model_copy(update={"key": key})
    candidates = left.filter(left["key"] == key)["product"].to_list()
    page = secrets.token_urlsafe()
    shown = context.lease(reviewer, page, after(context.queues, narrowed, candidates, screen.last), GRID)
    cells = sorted(context.cells(shown, key), key=lambda cell: (cell.proposal, -(cell.confidence or 0)))
    return context.draw(
        "grid.html",
        reviewer=reviewer,
        filters=narrowed,
        query=_query(narrowed),
        left=len(candidates),
        key=key,
        keys=by_key.rows(),
        cells=cells,
        last=shown[-1] if shown else "",
        catalog=context.data.catalog,
        page=page,
    )


@pages.get("/audit")
def figures(context: TheDesk, reviewer: TheReviewer) -> str:
    """How often filled values are right, on the random sample."""
    return context.draw(
        "audit.html",
        reviewer=reviewer,
        filters=Filters(queue="audit"),
        audit=audit(context.queues, context.store),
        wanted=context.data.precision,
    )


@pages.get("/name")
def ask_name(context: TheDesk, back: str = "/") -> str:
    """Who are you?"""
    return context.draw("name.html", reviewer="", filters=Filters(), back=inside(back))


@pages.post("/name")
def take_name(name: Annotated[str, Form()], back: Annotated[str, Form()] = "/") -> Response:
    """Remember who decides, in a cookie."""
    if not clean_name(name):
        return RedirectResponse(f"/name?back={quote(inside(back))}", 303)
    response = RedirectResponse(inside(back), 303)
    response.set_cookie(REVIEWER, quote(clean_name(name)), max_age=YEAR_S, httponly=True, samesite="strict")
    return response


@pages.get("/photo")
def photo(context: TheDesk, product: str, index: int, small: bool = False) -> Response:
    """A photo of a product; `small`: at most 240 px."""
    return _image(context.photos.thumb(product, index) if small else context.photos.photo(product, index))


@pages.get("/heat")
def heat(context: TheDesk, product: str, index: int, key: str, value: str) -> Response:
    """The photo under the heat map of what spoke for a value."""
    return _image(context.photos.heat(product, index, None if key == CATEGORY else key, value))


@pages.get("/words.json")
def words(context: TheDesk) -> Response:
    """The taxonomy's words, for the search."""
    return Response(context.words(), media_type="application/json")


def _query(filters: Filters) -> str:
    return urlencode(filters.model_dump(exclude_defaults=True))


def _image(encoded: Encoded) -> Response:
    content, media = encoded
    return Response(content, media_type=media, headers={"Cache-Control": "private, max-age=3600"})
