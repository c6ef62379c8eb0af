"""Builds and serves the web application of the review page."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from attire.catalog.store import Catalog
from attire.errors import ConfigError
from attire.hosts import not_answering
from attire.review.api import actions
from attire.review.bodies import Bodies
from attire.review.context import ReviewContext, clean_name
from attire.review.data import ReviewData
from attire.review.options import Options
from attire.review.pages import pages
from attire.review.photos import Photos
from attire.review.queues import Queues
from attire.review.refusals import refuse_by_error
from attire.review.security import guard
from attire.review.seen import Seen
from attire.review.store.events import STORE, Store
from attire.review.store.samples import add_sampled
from attire.theme import THEME

STATIC = Path(__file__).with_name("static")


def open_review(catalog: Path, options: Options) -> ReviewContext:
    """Open the catalog, the predictions, the store and the photos.

    Raises `CatalogError`, `FeedError`, `ConfigError`, `ReviewStoreError`, `BundleError`.
    """
    if options.audit < 0:
        raise ConfigError(f"--audit {options.audit}: expected the number of fields to sample, 0 or more.")
    if options.embed and options.bundle is None:
        raise ConfigError("--embed needs the model that is to look at the photos: add --bundle BUNDLE.")
    opened = Catalog.load(catalog)
    store = Store(options.store or catalog / STORE)
    opened = opened.before_review(store.held())  # the page shows what the feed states next to the decisions
    data = ReviewData(opened, options.predictions)
    queues = Queues(data, audit=options.audit, seed=options.seed)
    photos = Photos(opened, options.bundle)
    seen = Seen(opened, photos.bundle, embed=options.embed)
    add_sampled(store, queues.sampled)
    return ReviewContext(data, queues, store, photos, seen, clean_name(options.reviewer))


def review_app(context: ReviewContext, *, host: str = "127.0.0.1", token: str = "") -> FastAPI:
    """Create the application. `host` is the address it will listen on; a `token`, if set, is required for access."""
    app = FastAPI(title="attire review", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    app.add_middleware(Bodies)
    guard(app, host=host, token=token)  # runs before `Bodies`: middleware that is added last runs first
    refuse_by_error(app)
    app.include_router(pages)
    app.include_router(actions)

    @app.get("/static/theme.css")
    def theme() -> Response:
        return Response(THEME, media_type="text/css")

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until interrupted; raises `ConfigError` if the address is not available."""
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError, ValueError) as error:
        raise not_answering(host, port, error) from None
    # h11 limits the headers of a request to 64 KiB; httptools has no limit.
    config = uvicorn.Config(app, http="h11", ws="none", log_level="warning", server_header=False)
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
