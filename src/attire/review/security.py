"""Who may talk to the page: this machine, or who has the token; and nobody through a page of another site."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

TOKEN = "attire-token"  # the cookie
SAFE = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Answer = Callable[[Request], Awaitable[Response]]


def is_local(host: str) -> bool:
    """Whether a host name or address means this machine.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0"), is_local("shop.example")
    (True, True, False, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guard(app: FastAPI, *, host: str, token: str = "") -> None:
    """Refuse what is not for the page: before anything else looks at a request."""

    @app.middleware("http")
    async def _guard(request: Request, answer: Answer) -> Response:
        response = _refusal(request, local=is_local(host), token=token) or await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _refusal(request: Request, *, local: bool, token: str) -> Response | None:
    # A page of another site can make a browser send requests here: under a name of its own that it lets lead to this
    # machine (the first check), or as plain cross-site requests (the second one).
    if local and not is_local(urlsplit(f"//{request.headers.get('host', '')}").hostname or ""):
        return PlainTextResponse("This page answers on 127.0.0.1 and localhost only.", 421)
    if request.method not in SAFE and not _same_origin(request):
        return PlainTextResponse("Refused: this request did not come from attire's own page.", 403)
    return _without_token(request, token) if token else None


def _same_origin(request: Request) -> bool:
    if site := request.headers.get("sec-fetch-site"):
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def _without_token(request: Request, token: str) -> Response | None:
    """None for who has the token; a link that holds it becomes a cookie, and leaves the address bar."""
    if hmac.compare_digest(request.cookies.get(TOKEN, "").encode(), token.encode()):
        return None
    if request.method in SAFE and hmac.compare_digest(request.query_params.get("token", "").encode(), token.encode()):
        rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
        response = RedirectResponse(f"{request.url.path}{f'?{rest}' if rest else ''}", 303)
        response.set_cookie(TOKEN, token, httponly=True, samesite="strict")
        return response
    return PlainTextResponse("Open the link that `attire review` printed: it holds the token.", 401)
