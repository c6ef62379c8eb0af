"""Builds and serves the web application of the review page."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from attire.hosts import not_answering
from attire.review.api import actions
from attire.review.bodies import Bodies
from attire.review.context import ReviewContext
from attire.review.learning import learning
from attire.review.opening import open_review as open_review
from attire.review.pages import pages
from attire.review.refusals import refuse_by_error
from attire.review.security import guard
from attire.theme import THEME

STATIC = Path(__file__).with_name("static")


def review_app(context: ReviewContext, *, host: str = "127.0.0.1", token: str = "") -> FastAPI:
    """Create the application. `host` is the address it will listen on; a `token`, if set, is required for access."""
    app = FastAPI(title="attire review", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    app.add_middleware(Bodies)
    guard(app, host=host, token=token)  # runs before `Bodies`: middleware that is added last runs first
    refuse_by_error(app)
    app.include_router(pages)
    app.include_router(actions)
    app.include_router(learning)

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
