"""Everything that a request needs, and who sends it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import quote, unquote

from fastapi import Depends, HTTPException, Request
from jinja2 import Environment, PackageLoader, StrictUndefined

from attire.review.data import CATEGORY, ReviewData, values_of
from attire.review.photos import Photos
from attire.review.queues import QUEUES, Filters, Queues
from attire.review.store.claims import claim, looking, release
from attire.review.store.events import Store
from attire.review.views import FieldView, ProductView, field_view, product_view, title_of, value_title

REVIEWER = "attire-reviewer"  # the cookie
NAME_LENGTH = 60


@dataclass(frozen=True)
class ReviewContext:
    """The open catalog with its predictions, the store of decisions, and how pages are drawn."""

    data: ReviewData
    queues: Queues
    store: Store
    photos: Photos
    reviewer: str = ""
    # Pages that have said goodbye. Of this process only: a page talks to the process that drew it. Where a balancer
    # sends its goodbye elsewhere, what it had just asked for stays leased for `LEASE`, and nothing more is lost.
    gone: deque[str] = field(default_factory=lambda: deque(maxlen=1000))
    templates: Environment = field(
        default_factory=lambda: Environment(
            loader=PackageLoader("attire.review"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
    )

    def draw(self, template: str, **about: object) -> str:
        catalog = self.data.catalog
        return self.templates.get_template(template).render(
            CATEGORY=CATEGORY,
            QUEUES=QUEUES,
            taxonomy=catalog.taxonomy,
            key_title=lambda key: title_of(catalog, key),
            value_title=lambda key, value: value_title(catalog, key, value),
            explains=self.photos.explains,
            **about,
        )

    def lease(self, reviewer: str, page: str, products: Sequence[str], count: int) -> list[str]:
        """The first `count` of `products` that nobody else looks at, now leased to the reviewer's page."""
        claimed = claim(self.store, reviewer, page, products, count)
        if page in self.gone:  # its goodbye has overtaken what it had asked for before
            release(self.store, page)
        return claimed

    def give_back(self, page: str) -> None:
        """End the leases of a page that goes, except those that a later page has taken over."""
        self.gone.append(page)
        release(self.store, page)

    def product(self, id: str, filters: Filters, reviewer: str) -> ProductView:
        """The product as the reviewer is to see it; raises `CatalogError` for an id that is not there."""
        items = self.queues.of(filters)
        wanted = set(items.filter(items["product"] == id)["key"])
        other = looking(self.store).get(id, "")
        return product_view(
            self.data,
            id,
            self.store.held([id]),
            wanted=wanted,
            sampled=self.queues.sampled,
            looking=other if other != reviewer else "",
        )

    def card(self, id: str, filters: Filters, reviewer: str) -> str:
        """The product as HTML."""
        return self.draw("card.html", view=self.product(id, filters, reviewer))

    def cells(self, products: list[str], key: str) -> list[FieldView]:
        """One field of many products, for the grid."""
        held, catalog, sampled = self.store.held(products), self.data.catalog, self.queues.sampled

        def cell(id: str) -> FieldView:
            field, said = (id, key), self.data.said(id).get(key)
            return field_view(catalog, catalog[id], key, said, held.get(field), True, field in sampled)

        return [cell(id) for id in products]

    def words(self) -> str:
        """Every key's values with their titles and aliases, as JSON: what the search looks through."""
        catalog = self.data.catalog
        taxonomy = catalog.taxonomy
        aliases = {CATEGORY: taxonomy.category_aliases} | {name: key.aliases for name, key in taxonomy.keys.items()}
        return json.dumps(
            {
                key: [
                    [
                        value,
                        value_title(catalog, key, value),
                        *(a for a, leads_to in spellings.items() if leads_to == value),
                    ]
                    for value in values_of(catalog, key)
                ]
                for key, spellings in aliases.items()
            }
        )


def desk_of(request: Request) -> ReviewContext:
    return cast(ReviewContext, request.app.state.context)


def known_reviewer(request: Request) -> str:
    """The name in the cookie, or the one that the server was started with; "" where nobody said."""
    return clean_name(unquote(request.cookies.get(REVIEWER, ""))) or desk_of(request).reviewer


def the_reviewer(request: Request) -> str:
    """The same; asks for the name where nobody said."""
    name = known_reviewer(request)
    if name:
        return name
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    if path.startswith("/api/"):
        raise HTTPException(401, "Say who you are first: open / in this browser.")
    back = path + (f"?{query}" if query else "")
    raise HTTPException(303, headers={"Location": f"/name?back={quote(back)}"})


def clean_name(text: str) -> str:
    """One line of at most `NAME_LENGTH` characters that can be seen."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:NAME_LENGTH]


TheDesk = Annotated[ReviewContext, Depends(desk_of)]
TheReviewer = Annotated[str, Depends(the_reviewer)]
