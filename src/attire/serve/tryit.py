"""The page at `/` for trying the model: choose a photo, see the answer. It only calls this server's API."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, select_autoescape

from attire.serve.service import can_explain
from attire.serve.settings import MIB, Settings
from attire.theme import THEME

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def tryit(settings: Settings) -> APIRouter:
    """Return the routes of the page, its style sheet and its script."""
    files = resources.files("attire.serve.page")
    pages = Environment(
        loader=PackageLoader("attire.serve", "page"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = pages.get_template("tryit.html").render(
        keyed=bool(settings.keys),
        explains=can_explain(),
        photos=settings.photos,
        photo_mib=f"{settings.photo_bytes / MIB:g}",
        photo_bytes=settings.photo_bytes,
    )
    style = THEME + files.joinpath("tryit.css").read_text(encoding="utf-8")
    script = files.joinpath("tryit.js").read_text(encoding="utf-8")
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers=HEADERS)

    @router.get("/tryit.css")
    async def css() -> Response:
        return Response(style, media_type="text/css", headers=HEADERS)

    @router.get("/tryit.js")
    async def js() -> Response:
        return Response(script, media_type="text/javascript", headers=HEADERS)

    @router.get("/favicon.ico")
    async def icon() -> Response:
        return Response(status_code=204)

    return router
