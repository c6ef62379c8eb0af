"""Who may talk to the page: this machine, or who has the token; and nobody through a page of another site."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from attire.errors import ConfigError
from attire.hosts import host_of, is_local
from attire.review.refusals import refusal

TOKEN = "attire-token"  # noqa: S105  (the name of the cookie)
SHORTEST = 16  # characters of a token
TOKENS = re.compile(rf"[A-Za-z0-9._~-]{{{SHORTEST},}}")
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


def read_token(given: str, file: Path | None) -> str:
    """The token in the first line of a file, or else the given one; "" for none.

    Raises `ConfigError` for a file that cannot be read, and for a token that is no part of a link or could be guessed.
    """
    token, where = given, "the token"
    if file is not None:
        where = f"the token in {file}"
        try:
            token = next(iter(file.read_text(encoding="utf-8").splitlines()), "").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {where}: {error}") from None
    if (token or file is not None) and not TOKENS.fullmatch(token):
        raise ConfigError(f"{where} is not {SHORTEST} letters, digits and - . _ ~ or more. Try `openssl rand -hex 24`.")
    return token


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
    if local and not is_local(host_of(request.headers.get("host", ""))):
        return refusal(421, "This page answers on 127.0.0.1 and localhost only.")
    if request.method not in SAFE and not _same_origin(request):
        return refusal(403, "Refused: this request did not come from attire's own page.")
    return _without_token(request, token) if token else None


def _same_origin(request: Request) -> bool:
    if site := request.headers.get("sec-fetch-site"):
        return site == "same-origin"
    host = request.headers.get("host", "")
    return request.headers.get("origin") in (f"http://{host}", f"https://{host}")


def _without_token(request: Request, token: str) -> Response | None:
    """None for who has the token; a link that holds it becomes a cookie, and leaves the address bar."""
    if hmac.compare_digest(request.cookies.get(TOKEN, "").encode(), token.encode()):
        return None
    if request.method in SAFE and hmac.compare_digest(request.query_params.get("token", "").encode(), token.encode()):
        rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
        response = RedirectResponse(f"{inside(request.scope['path'])}{f'?{rest}' if rest else ''}", 303)
        response.set_cookie(TOKEN, token, httponly=True, samesite="strict")
        return response
    return refusal(401, "Open the link that `attire review` printed: it holds the token.")


def inside(path: str) -> str:
    """A path of this page; never another site, which `//` and `/\\` would lead to."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
