"""The state that all requests share, and the reviewer who sends a request."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import quote, unquote

from fastapi import Depends, HTTPException, Request
from jinja2 import Environment, PackageLoader, StrictUndefined

from attire.review.data import ReviewData, values_of
from attire.review.learner import Learner
from attire.review.photos import Photos
from attire.review.queues import QUEUES, Filters, Queues
from attire.review.seen import Seen
from attire.review.store.claims import claim, release, viewers
from attire.review.store.events import Store
from attire.review.views import FieldView, ProductView, field_view, product_view, title_of, value_title
from attire.taxonomy import CATEGORY

REVIEWER = "attire-reviewer"  # the cookie
NAME_LENGTH = 60


@dataclass(frozen=True)
class ReviewContext:
    """The open catalog with its predictions, the store of decisions, the photos and the templates."""

    data: ReviewData
    queues: Queues
    store: Store
    photos: Photos
    seen: Seen
    reviewer: str = ""
    learner: Learner | None = None  # None without a bundle
    # Pages that were closed, as far as this process knows. If a load balancer sends a page's last message to another
    # process, products that the page requested just before stay leased for `LEASE`; nothing else is lost.
    closed_pages: deque[str] = field(default_factory=lambda: deque(maxlen=1000))
    templates: Environment = field(
        default_factory=lambda: Environment(
            loader=PackageLoader("attire.review"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
    )

    def draw(self, template: str, **variables: object) -> str:
        """Render a template as HTML."""
        catalog = self.data.catalog
        return self.templates.get_template(template).render(
            CATEGORY=CATEGORY,
            QUEUES=QUEUES,
            taxonomy=catalog.taxonomy,
            key_title=lambda key: title_of(catalog, key),
            value_title=lambda key, value: value_title(catalog, key, value),
            explains=self.photos.explains,
            **variables,
        )

    def lease(self, reviewer: str, page: str, products: Sequence[str], count: int) -> list[str]:
        """Lease the first `count` of `products` that no other reviewer has to the page, and return their ids."""
        claimed = claim(self.store, reviewer, page, products, count)
        if page in self.closed_pages:  # its release arrived before this request
            release(self.store, page)
        return claimed

    def give_back(self, page: str) -> None:
        """End the leases of a closed page, except those that a later page of the same reviewer took over."""
        self.closed_pages.append(page)
        release(self.store, page)

    def product(self, id: str, filters: Filters, reviewer: str) -> ProductView:
        """Return the product as the reviewer sees it; raises `CatalogError` for an unknown id."""
        items = self.queues.of(filters)
        wanted = set(items.filter(items["product"] == id)["key"])
        viewer = viewers(self.store).get(id, "")
        return product_view(
            self.data,
            id,
            self.store.held([id]),
            wanted=wanted,
            sampled=self.queues.sampled,
            suspected=self.queues.suspected,
            other_viewer=viewer if viewer != reviewer else "",
        )

    def card(self, id: str, filters: Filters, reviewer: str) -> str:
        """Render the product as HTML."""
        return self.draw("card.html", view=self.product(id, filters, reviewer))

    def cells(self, products: list[str], key: str) -> list[FieldView]:
        """Return one field of many products, for the grid."""
        decisions, catalog, queues = self.store.held(products), self.data.catalog, self.queues

        def cell(id: str) -> FieldView:
            field, answer = (id, key), self.data.answers(id).get(key)
            return field_view(
                catalog,
                catalog[id],
                key,
                answer,
                decisions.get(field),
                wanted=True,
                sampled=field in queues.sampled,
                suspected=field in queues.suspected,
            )

        return [cell(id) for id in products]

    def words(self) -> str:
        """Return the values of every key with their titles and aliases as JSON, for the search."""
        catalog = self.data.catalog
        taxonomy = catalog.taxonomy
        spellings = {key: [*taxonomy.other_spellings(key)] for key in (CATEGORY, *taxonomy.keys)}
        return json.dumps(
            {
                key: [
                    [
                        value,
                        value_title(catalog, key, value),
                        *(spelling for spelling, word in others if word == value),
                    ]
                    for value in values_of(catalog, key)
                ]
                for key, others in spellings.items()
            }
        )


def context_of(request: Request) -> ReviewContext:
    return cast(ReviewContext, request.app.state.context)


def known_reviewer(request: Request) -> str:
    """Return the name in the cookie, else the server's default name, else ""."""
    return clean_name(unquote(request.cookies.get(REVIEWER, ""))) or context_of(request).reviewer


def require_reviewer(request: Request) -> str:
    """Return the reviewer's name; raises `HTTPException` (a redirect to /name, or 401 for the API) if it is unknown."""
    name = known_reviewer(request)
    if name:
        return name
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    if path.startswith("/api/"):
        raise HTTPException(401, "The reviewer's name is unknown. Open / in this browser and enter it.")
    back = path + (f"?{query}" if query else "")
    raise HTTPException(303, headers={"Location": f"/name?back={quote(back)}"})


def clean_name(text: str) -> str:
    """Return `text` as one line of at most `NAME_LENGTH` printable characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:NAME_LENGTH]


Context = Annotated[ReviewContext, Depends(context_of)]
Reviewer = Annotated[str, Depends(require_reviewer)]
